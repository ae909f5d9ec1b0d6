//! The command line, as people and Crossplane's `DeploymentRuntimeConfigs` write it.
//!
//! Go providers read theirs with kingpin, so this one takes kingpin's forms as well (`--no-debug`, `--debug=true`), and each flag from
//! the environment too: its own variable, or `PROVIDER_LIBVIRT_` with the flag's name. What stands on the command line counts first.

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use apis::{managed::ProviderConfigReference, placement::parse_reference, quantity::parse_span};
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches, Parser, builder::Resettable, error::ErrorKind};
use managed::lease::Timing;

use crate::checks::Strictness;

/// Makes libvirt hosts declarable: Domain, Volume, Pool, CloudInit and Network objects become true on the hosts that `ProviderConfigs` name.
#[derive(Clone, Debug, Parser)]
#[command(name = "provider-libvirt", version, max_term_width = 100, args_override_self = true)]
pub struct Args {
    /// Log every step of every pass
    #[arg(short, long, env = "DEBUG", default_value = "false", value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub debug: bool,
    /// How often each object and each host is looked at for changes that libvirt announces to nobody. An object's own annotation crossplane.io/poll-interval counts for the object
    #[arg(long, env = "POLL", default_value = "1m", value_parser = second_or_more, alias = "poll-interval")]
    pub poll: Duration,
    /// No object is looked at more often than this, whatever its annotation and --poll say
    #[arg(long, env = "MIN_POLL_INTERVAL", default_value = "1s", value_parser = second_or_more)]
    pub min_poll_interval: Duration,
    /// By how many per cent of it a poll is early or late at random, so that not all come at once
    #[arg(long, env = "POLL_JITTER_PERCENTAGE", default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=50))]
    pub poll_jitter_percentage: u8,
    /// How often the figures of how many objects exist, are Ready and are Synced are counted anew
    #[arg(long, env = "POLL_STATE_METRIC", default_value = "5s", value_parser = span)]
    pub poll_state_metric: Duration,
    /// How often everything is gone through again, whatever the objects' own poll intervals
    #[arg(short, long, env = "SYNC", default_value = "1h", value_parser = second_or_more)]
    pub sync: Duration,
    /// How many passes over objects may begin in a second, all kinds together (ten seconds' worth at once after a rest), and how many objects of a kind are worked on at once
    #[arg(long, env = "MAX_RECONCILE_RATE", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_reconcile_rate: u16,
    /// Of several providers on one cluster, let one work: the holder of the Lease crossplane-leader-election-provider-libvirt. The others wait, and take over when it ends
    #[arg(short, long, env = "LEADER_ELECTION", default_value = "true", value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub leader_election: bool,
    /// Honour spec.managementPolicies. If false, everything is done with every object, an object that says anything but the default is refused, and an empty list does not pause
    #[arg(long, env = "ENABLE_MANAGEMENT_POLICIES", default_value = "true", value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub enable_management_policies: bool,
    /// How long others wait after the leader's last renewal
    #[arg(long, env = "LEADER_ELECTION_LEASE_DURATION", default_value = "60s", value_parser = span, hide = true)]
    pub leader_election_lease_duration: Duration,
    /// How long the leader works on without a renewal
    #[arg(long, env = "LEADER_ELECTION_RENEW_DEADLINE", default_value = "50s", value_parser = span, hide = true)]
    pub leader_election_renew_deadline: Duration,
    /// How often the lease is renewed, or asked for
    #[arg(long, env = "LEADER_ELECTION_RETRY_PERIOD", default_value = "2s", value_parser = span, hide = true)]
    pub leader_election_retry_period: Duration,
    /// The config of objects that name none: ProviderConfig/NAME or ClusterProviderConfig/NAME
    #[arg(long, env = "DEFAULT_PROVIDER_CONFIG", value_parser = parse_reference)]
    pub default_provider_config: Option<ProviderConfigReference>,
    /// What is done where a CRD is older than this provider or the host of a ClusterProviderConfig does not answer: warn tells of it; strict is also not ready until everything has been in order once. A provider that waits for another's lease calls no host and counts none
    #[arg(long, env = "STARTUP_CHECKS", default_value = "warn", value_parser = strictness)]
    pub startup_checks: Strictness,
    /// How long an image server may send nothing before the import is given up and tried again
    #[arg(long, env = "IMAGE_STALL_TIMEOUT", default_value = "30s", value_parser = span)]
    pub image_stall_timeout: Duration,
    /// Where /metrics is served
    #[arg(long, env = "METRICS_BIND_ADDRESS", default_value = ":8080", value_parser = address, alias = "metrics-addr")]
    pub metrics_bind_address: SocketAddr,
    /// Where /healthz and /readyz are served
    #[arg(long, env = "HEALTH_PROBE_BIND_ADDRESS", default_value = ":8081", value_parser = address)]
    pub health_probe_bind_addr: SocketAddr,
    /// The admission webhook
    #[command(flatten)]
    pub webhooks: Webhooks,
    /// The namespace of the provider itself, where the Secret provider-libvirt-ownership and the Lease are kept. Default: that of the kubeconfig
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: Option<String>,
    #[command(flatten)]
    unused: Unused,
}

/// Why the webhook cannot be served.
const NO_CERTIFICATE: &str = "--enable-webhooks=true needs a certificate: name its directory with --webhook-cert-dir or TLS_SERVER_CERTS_DIR, or have one made with --webhook-self-signed";

/// On, off, or on where what it needs is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// On where what it needs is there.
    Auto,
    /// On.
    On,
    /// Off.
    Off,
}

/// The other variables of a flag, as Crossplane and others set them.
const ALSO: [(&str, &str); 2] = [("webhook-cert-dir", "TLS_SERVER_CERTS_DIR"), ("webhook-cert-dir", "CERTS_DIR")];

/// The admission webhook.
#[derive(Clone, Debug, clap::Args)]
pub struct Webhooks {
    /// Serve the admission webhook: auto does so where the certificate directory is there, or --webhook-self-signed is set
    #[arg(long, env = "ENABLE_WEBHOOKS", default_value = "auto", value_parser = switch, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub enable_webhooks: Switch,
    /// The address that the admission webhook is served on. Default: every address, IPv4 and IPv6
    #[arg(long, env = "WEBHOOK_BIND_ADDRESS")]
    pub webhook_bind_address: Option<IpAddr>,
    /// The port that the admission webhook is served on
    #[arg(long, env = "WEBHOOK_PORT", default_value_t = 9443, value_parser = clap::value_parser!(u16).range(1..))]
    pub webhook_port: u16,
    /// The directory of the admission webhook's certificate: tls.crt and tls.key, read again when they change
    #[arg(long, env = "WEBHOOK_TLS_CERT_DIR", alias = "certs-dir")]
    pub webhook_cert_dir: Option<PathBuf>,
    /// Where the certificate directory is not there, make a certificate, keep it in the Secret provider-libvirt-webhook, and have the API server trust it
    #[arg(long, env = "WEBHOOK_SELF_SIGNED", default_value = "false", value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub webhook_self_signed: bool,
}

/// What runtime configs that several providers share give to all of them. Refusing it would keep this one from starting.
#[derive(Clone, Debug, clap::Args)]
struct Unused {
    /// Change logs are not written
    #[arg(long, env = "ENABLE_CHANGE_LOGS", value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set, hide = true)]
    enable_changelogs: Option<bool>,
    /// Change logs are not written
    #[arg(long, env = "CHANGELOGS_SOCKET_PATH", hide = true)]
    changelogs_socket_path: Option<String>,
    /// Secrets are read by name and never kept
    #[arg(long, env = "ENABLE_SECRET_CACHE", value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set, hide = true)]
    enable_secret_cache: Option<bool>,
}

impl Args {
    /// Reads a command line, its program first, and the environment.
    ///
    /// # Errors
    /// With what is wrong and what would be right, or with the help that was asked for.
    pub fn read(
        line: impl IntoIterator<Item = OsString>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, clap::Error> {
        let declared = Self::command();
        let mut line = line.into_iter();
        let mut whole: Vec<OsString> = line.next().into_iter().collect();
        whole.extend(declared.get_arguments().filter_map(|arg| from_environment(arg, &environment)));
        whole.extend(line.map(|word| negated(&declared, &word).unwrap_or(word)));
        let mut command = declared.mut_args(show_variables);
        let mut matches = command.try_get_matches_from_mut(whole)?;
        let args = Self::from_arg_matches_mut(&mut matches)?;
        args.timing().check().map_err(|wrong| command.error(ErrorKind::ValueValidation, wrong))?;
        let Webhooks {
            enable_webhooks,
            webhook_bind_address: _,
            webhook_port: _,
            webhook_cert_dir,
            webhook_self_signed,
        } = &args.webhooks;
        if *enable_webhooks == Switch::On && webhook_cert_dir.is_none() && !webhook_self_signed {
            return Err(command.error(ErrorKind::ValueValidation, NO_CERTIFICATE));
        }
        Ok(args)
    }

    /// How patient a leader and its followers are.
    pub fn timing(&self) -> Timing {
        Timing {
            lease: self.leader_election_lease_duration,
            renew: self.leader_election_renew_deadline,
            retry: self.leader_election_retry_period,
        }
    }

    /// What was given and has no effect, each with why.
    pub fn without_effect(&self) -> Vec<&'static str> {
        let Unused { enable_changelogs, changelogs_socket_path, enable_secret_cache } = &self.unused;
        let all = [
            (enable_changelogs.is_some(), "--enable-changelogs has no effect: change logs are not written"),
            (changelogs_socket_path.is_some(), "--changelogs-socket-path has no effect: change logs are not written"),
            (
                enable_secret_cache.is_some(),
                "--enable-secret-cache has no effect: Secrets are read by name and never kept",
            ),
        ];
        all.into_iter().filter(|(given, _)| *given).map(|(_, why)| why).collect()
    }
}

/// The variables that a flag may come from, the first of those that are set counts.
fn variables(arg: &Arg) -> impl Iterator<Item = String> {
    let own = arg.get_long().map(|long| format!("PROVIDER_LIBVIRT_{}", long.to_uppercase().replace('-', "_")));
    let common = arg.get_env().map(|name| name.to_string_lossy().into_owned());
    let also = ALSO.iter().filter(|(flag, _)| arg.get_long() == Some(flag)).map(|(_, name)| (*name).to_owned());
    own.into_iter().chain(common).chain(also)
}

/// The flag as the environment has it, written as on a command line. An empty variable is none, as for kingpin.
fn from_environment(arg: &Arg, environment: impl Fn(&str) -> Option<OsString>) -> Option<OsString> {
    let value = variables(arg).filter_map(|name| environment(&name)).find(|value| !value.is_empty())?;
    let mut word = OsString::from(format!("--{}=", arg.get_long()?));
    word.push(value);
    Some(word)
}

/// Variables are read by [`from_environment`]; to the command they are only words of its help.
fn show_variables(arg: Arg) -> Arg {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let Some(name) = arg.get_env().map(|name| name.to_string_lossy().into_owned()) else { return arg };
    arg.help(format!("{help} [env: {name}]")).env(Resettable::Reset)
}

/// kingpin's other way to say `--debug=false`: `--no-debug`.
fn negated(command: &Command, word: &OsString) -> Option<OsString> {
    let name = word.to_str()?.strip_prefix("--no-")?;
    let is_boolean =
        |arg: &Arg| arg.get_long() == Some(name) && arg.get_num_args().is_some_and(|count| count.min_values() == 0);
    command.get_arguments().any(is_boolean).then(|| format!("--{name}=false").into())
}

/// What Go's `strconv.ParseBool` takes.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

fn switch(text: &str) -> Result<Switch, String> {
    match text {
        "auto" => Ok(Switch::Auto),
        text => match boolean(text) {
            Ok(true) => Ok(Switch::On),
            Ok(false) => Ok(Switch::Off),
            Err(_) => Err(format!("{text:?} is neither auto nor true nor false")),
        },
    }
}

fn strictness(text: &str) -> Result<Strictness, String> {
    match text {
        "warn" => Ok(Strictness::Warn),
        "strict" => Ok(Strictness::Strict),
        _ => Err(format!("{text:?} is neither warn nor strict")),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    at_least(Duration::from_millis(100), text)
}

fn second_or_more(text: &str) -> Result<Duration, String> {
    at_least(Duration::from_secs(1), text)
}

fn at_least(least: Duration, text: &str) -> Result<Duration, String> {
    let span = parse_span(text).ok_or_else(|| format!("{text:?} is not a duration: write it like 30s, 1m30s or 1h"))?;
    if span < least { Err(format!("shorter than {least:?}")) } else { Ok(span) }
}

/// An address as Go programs take it: `:8080` is every address.
fn address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    full.parse().map_err(|_| format!("{text:?} is not an address: write it like :8080 or 127.0.0.1:8080"))
}
