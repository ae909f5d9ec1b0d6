//! Every flag in every form: long, short, aliased, negated, and from the environment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{collections::BTreeMap, ffi::OsString};

use provider_libvirt::args::{Args, Switch};

/// The program with these words after it and these variables around it.
fn read(words: &[&str], variables: &[(&str, &str)]) -> Result<Args, clap::Error> {
    let line = ["provider-libvirt"].iter().chain(words).map(OsString::from);
    let environment: BTreeMap<&str, &str> = variables.iter().copied().collect();
    Args::read(line, |name| environment.get(name).map(OsString::from))
}

fn refusal(words: &[&str]) -> String {
    read(words, &[]).unwrap_err().to_string()
}

/// What a flag comes to, as text.
type Show = fn(&Args) -> String;

/// Flag, variable, what it is when nobody says anything, another value, what it comes to.
const FLAGS: [(&str, &str, &str, &str, Show); 24] = [
    ("debug", "DEBUG", "false", "true", |args| args.debug.to_string()),
    ("poll", "POLL", "60s", "90s", |args| format!("{:?}", args.poll)),
    ("min-poll-interval", "MIN_POLL_INTERVAL", "1s", "20s", |args| format!("{:?}", args.min_poll_interval)),
    ("poll-jitter-percentage", "POLL_JITTER_PERCENTAGE", "10", "0", |args| args.poll_jitter_percentage.to_string()),
    ("poll-state-metric", "POLL_STATE_METRIC", "5s", "15s", |args| format!("{:?}", args.poll_state_metric)),
    ("sync", "SYNC", "3600s", "120s", |args| format!("{:?}", args.sync)),
    ("max-reconcile-rate", "MAX_RECONCILE_RATE", "100", "7", |args| args.max_reconcile_rate.to_string()),
    ("leader-election", "LEADER_ELECTION", "true", "false", |args| args.leader_election.to_string()),
    ("enable-management-policies", "ENABLE_MANAGEMENT_POLICIES", "true", "false", |args| {
        args.enable_management_policies.to_string()
    }),
    ("leader-election-lease-duration", "LEADER_ELECTION_LEASE_DURATION", "60s", "90s", |args| {
        format!("{:?}", args.timing().lease)
    }),
    ("leader-election-renew-deadline", "LEADER_ELECTION_RENEW_DEADLINE", "50s", "40s", |args| {
        format!("{:?}", args.timing().renew)
    }),
    ("leader-election-retry-period", "LEADER_ELECTION_RETRY_PERIOD", "2s", "3s", |args| {
        format!("{:?}", args.timing().retry)
    }),
    ("default-provider-config", "DEFAULT_PROVIDER_CONFIG", "", "ClusterProviderConfig/a", |args| {
        args.default_provider_config
            .as_ref()
            .map_or_else(String::new, |config| format!("{:?}/{}", config.kind, config.name))
    }),
    ("startup-checks", "STARTUP_CHECKS", "warn", "strict", |args| format!("{:?}", args.startup_checks).to_lowercase()),
    ("image-stall-timeout", "IMAGE_STALL_TIMEOUT", "30s", "10s", |args| format!("{:?}", args.image_stall_timeout)),
    ("metrics-bind-address", "METRICS_BIND_ADDRESS", "[::]:8080", "127.0.0.1:1", |args| {
        args.metrics_bind_address.to_string()
    }),
    ("health-probe-bind-addr", "HEALTH_PROBE_BIND_ADDRESS", "[::]:8081", "127.0.0.1:2", |args| {
        args.health_probe_bind_addr.to_string()
    }),
    ("enable-webhooks", "ENABLE_WEBHOOKS", "auto", "false", |args| {
        let word = match args.webhooks.enable_webhooks {
            Switch::Auto => "auto",
            Switch::On => "true",
            Switch::Off => "false",
        };
        word.to_owned()
    }),
    ("webhook-bind-address", "WEBHOOK_BIND_ADDRESS", "", "fd00::1", |args| {
        args.webhooks.webhook_bind_address.map_or_else(String::new, |address| address.to_string())
    }),
    ("webhook-port", "WEBHOOK_PORT", "9443", "10443", |args| args.webhooks.webhook_port.to_string()),
    ("webhook-cert-dir", "WEBHOOK_TLS_CERT_DIR", "", "/certs", |args| {
        args.webhooks.webhook_cert_dir.as_ref().map_or_else(String::new, |folder| folder.display().to_string())
    }),
    ("webhook-self-signed", "WEBHOOK_SELF_SIGNED", "false", "true", |args| {
        args.webhooks.webhook_self_signed.to_string()
    }),
    ("namespace", "POD_NAMESPACE", "", "crossplane-system", |args| args.namespace.clone().unwrap_or_default()),
    ("changelogs-socket-path", "CHANGELOGS_SOCKET_PATH", "", "/var/run/changelogs/changelogs.sock", |args| {
        if args.without_effect().is_empty() { String::new() } else { "/var/run/changelogs/changelogs.sock".to_owned() }
    }),
];

/// The flags that are on or off.
const BOOLEANS: [(&str, &str, Show); 6] = [
    ("debug", "DEBUG", |args| args.debug.to_string()),
    ("leader-election", "LEADER_ELECTION", |args| args.leader_election.to_string()),
    ("enable-management-policies", "ENABLE_MANAGEMENT_POLICIES", |args| args.enable_management_policies.to_string()),
    ("webhook-self-signed", "WEBHOOK_SELF_SIGNED", |args| args.webhooks.webhook_self_signed.to_string()),
    ("enable-changelogs", "ENABLE_CHANGE_LOGS", |args| unused(args, "change logs")),
    ("enable-secret-cache", "ENABLE_SECRET_CACHE", |args| unused(args, "Secrets")),
];

fn unused(args: &Args, why: &str) -> String {
    assert!(args.without_effect().iter().any(|line| line.contains(why)), "{why}: {:?}", args.without_effect());
    "any".to_owned()
}

#[test]
fn every_flag_has_its_default_and_is_read_in_every_form() {
    for (flag, variable, default, value, show) in FLAGS {
        let own = format!("PROVIDER_LIBVIRT_{}", flag.to_uppercase().replace('-', "_"));
        assert_eq!(show(&read(&[], &[]).unwrap()), default, "{flag}");
        let joined = format!("--{flag}={value}");
        assert_eq!(show(&read(&[&joined], &[]).unwrap()), value, "{joined}");
        for name in [variable, own.as_str()] {
            assert_eq!(show(&read(&[], &[(name, value)]).unwrap()), value, "{name}={value}");
            assert_eq!(show(&read(&[], &[(name, "")]).unwrap()), default, "{name} is empty");
        }
        let is_switch = BOOLEANS.iter().any(|(boolean, ..)| *boolean == flag) || flag == "enable-webhooks";
        if !is_switch {
            let apart = [format!("--{flag}"), value.to_owned()];
            assert_eq!(show(&read(&[&apart[0], &apart[1]], &[]).unwrap()), value, "{apart:?}");
        }
    }
}

#[test]
fn what_is_on_or_off_is_read_as_kingpin_reads_it() {
    for (flag, variable, show) in BOOLEANS {
        let is = |words: &[&str], variables: &[(&str, &str)], wished: &str| {
            let found = show(&read(words, variables).unwrap());
            assert!(found == wished || found == "any", "{words:?} {variables:?}: {found}");
        };
        is(&[&format!("--{flag}")], &[], "true");
        is(&[&format!("--no-{flag}")], &[], "false");
        for (text, wished) in [("true", "true"), ("1", "true"), ("T", "true"), ("false", "false"), ("0", "false")] {
            is(&[&format!("--{flag}={text}")], &[], wished);
            is(&[], &[(variable, text)], wished);
        }
        is(&[&format!("--no-{flag}")], &[(variable, "true")], "false");
        assert!(refusal(&[&format!("--{flag}=perhaps")]).contains("\"perhaps\" is neither true nor false"), "{flag}");
    }
    assert!(read(&["-d"], &[]).unwrap().debug);
    assert!(read(&["-l"], &[("LEADER_ELECTION", "false")]).unwrap().leader_election);
}

#[test]
fn webhooks_are_on_off_or_on_where_a_certificate_is_and_not_on_without_one() {
    let of = |words: &[&str], variables: &[(&str, &str)]| read(words, variables).unwrap().webhooks.enable_webhooks;
    let folder = "--webhook-cert-dir=/certs";
    for (words, wished) in [
        (vec![folder], Switch::Auto),
        (vec![folder, "--enable-webhooks=auto"], Switch::Auto),
        (vec![folder, "--enable-webhooks"], Switch::On),
        (vec![folder, "--enable-webhooks=1"], Switch::On),
        (vec!["--webhook-self-signed", "--enable-webhooks"], Switch::On),
        (vec!["--no-enable-webhooks"], Switch::Off),
        (vec!["--enable-webhooks=false"], Switch::Off),
    ] {
        assert_eq!(of(&words, &[]), wished, "{words:?}");
    }
    assert_eq!(of(&[], &[("ENABLE_WEBHOOKS", "true"), ("TLS_SERVER_CERTS_DIR", "/tls/server")]), Switch::On);
    assert_eq!(of(&["--enable-webhooks=false"], &[("PROVIDER_LIBVIRT_ENABLE_WEBHOOKS", "true")]), Switch::Off);
    let lacking = refusal(&["--enable-webhooks"]);
    assert!(lacking.contains("--enable-webhooks=true needs a certificate: name its directory"), "{lacking}");
    let odd = refusal(&["--enable-webhooks=perhaps"]);
    assert!(odd.contains("\"perhaps\" is neither auto nor true nor false"), "{odd}");
}

#[test]
fn the_certificate_directory_comes_from_whoever_mounts_it() {
    let folder = |variables: &[(&str, &str)]| read(&[], variables).unwrap().webhooks.webhook_cert_dir.unwrap();
    let (own, old, new, others) = (
        ("PROVIDER_LIBVIRT_WEBHOOK_CERT_DIR", "/own"),
        ("WEBHOOK_TLS_CERT_DIR", "/webhook"),
        ("TLS_SERVER_CERTS_DIR", "/tls/server"),
        ("CERTS_DIR", "/others"),
    );
    for (variables, wished) in [
        (vec![others, new, old, own], "/own"),
        (vec![others, new, old], "/webhook"),
        (vec![others, new], "/tls/server"),
        (vec![others], "/others"),
    ] {
        assert_eq!(folder(&variables).display().to_string(), wished);
    }
    let alias = read(&["--certs-dir=/a"], &[new]).unwrap().webhooks.webhook_cert_dir.unwrap();
    assert_eq!(alias.display().to_string(), "/a");
}

#[test]
fn short_names_and_the_names_of_others_are_taken() {
    let sync = |words: &[&str]| read(words, &[]).unwrap().sync.as_secs();
    assert_eq!([sync(&["-s", "30m"]), sync(&["-s30m"])], [1800; 2]);
    assert_eq!(read(&["--poll-interval=5m"], &[]).unwrap().poll.as_secs(), 300);
    assert_eq!(read(&["--metrics-addr", ":9090"], &[]).unwrap().metrics_bind_address.to_string(), "[::]:9090");
}

#[test]
fn the_command_line_counts_before_the_environment_and_the_own_variable_before_the_common_one() {
    let poll = |words: &[&str], variables: &[(&str, &str)]| read(words, variables).unwrap().poll.as_secs();
    let (common, own) = (("POLL", "2m"), ("PROVIDER_LIBVIRT_POLL", "3m"));
    assert_eq!(poll(&["--poll=4m"], &[common, own]), 240);
    assert_eq!(poll(&[], &[common, own]), 180);
    assert_eq!(poll(&["--poll=4m", "--poll=5m"], &[]), 300, "the last counts");
}

#[test]
fn what_has_no_effect_is_taken_and_said() {
    assert_eq!(read(&[], &[]).unwrap().without_effect(), Vec::<&str>::new());
    let shared = ["--no-enable-changelogs", "--changelogs-socket-path=/a", "--enable-secret-cache=false"];
    assert_eq!(
        read(&shared, &[]).unwrap().without_effect(),
        [
            "--enable-changelogs has no effect: change logs are not written",
            "--changelogs-socket-path has no effect: change logs are not written",
            "--enable-secret-cache has no effect: Secrets are read by name and never kept",
        ]
    );
}

#[test]
fn a_wrong_value_is_refused_with_what_is_right() {
    let cases = [
        ("--poll=soon", "\"soon\" is not a duration: write it like 30s, 1m30s or 1h"),
        ("--poll=999ms", "shorter than 1s"),
        ("--sync=0s", "shorter than 1s"),
        ("--image-stall-timeout=1ms", "shorter than 100ms"),
        ("--metrics-addr=here", "\"here\" is not an address: write it like :8080 or 127.0.0.1:8080"),
        ("--max-reconcile-rate=0", "0 is not in 1..=1000"),
        ("--poll-jitter-percentage=51", "51 is not in 0..=50"),
        ("--leader-election-renew-deadline=60s", "the lease duration 60s is not longer than the renew deadline 60s"),
        ("--no-poll", "unexpected argument '--no-poll' found"),
        ("--no-such-flag", "unexpected argument '--no-such-flag' found"),
        ("--frobnicate=1", "unexpected argument '--frobnicate' found"),
    ];
    for (word, wished) in cases {
        let found = refusal(&[word]);
        assert!(found.contains(wished), "{word}: {found}");
    }
    let found = read(&[], &[("SYNC", "often")]).unwrap_err().to_string();
    assert!(found.contains("invalid value 'often' for '--sync <SYNC>'"), "{found}");
}

#[test]
fn the_help_names_every_flag_that_has_an_effect_with_its_variable() {
    // It is wrapped to the width of the terminal.
    let help = refusal(&["--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
    for (flag, variable, ..) in FLAGS {
        let hidden = flag.starts_with("leader-election-") || flag == "changelogs-socket-path";
        assert_eq!(
            help.contains(&format!("--{flag} <")) || help.contains(&format!("--{flag}[=")),
            !hidden,
            "{flag}: {help}"
        );
        assert_eq!(help.contains(&format!("[env: {variable}]")), !hidden, "{variable}: {help}");
    }
    assert!(!help.contains("changelogs") && !help.contains("secret-cache"), "{help}");
}

#[test]
fn a_default_that_names_no_kind_is_refused_by_the_flag_s_own_name() {
    let said = refusal(&["--default-provider-config=rack1"]);
    assert!(said.contains("invalid value 'rack1' for '--default-provider-config <"), "{said}");
    assert!(said.contains("must be ProviderConfig/<name> or ClusterProviderConfig/<name>"), "{said}");
    assert!(!said.contains("annotation"), "{said}");
}
