//! The command line, as people and Crossplane's `DeploymentRuntimeConfigs` write it.

use std::{net::SocketAddr, time::Duration};

use apis::{managed::ProviderConfigReference, placement::parse_record, quantity::parse_span};
use clap::Parser;

/// Makes libvirt hosts declarable: Domain, Volume, Pool, CloudInit and Network objects become true on the hosts that `ProviderConfigs` name.
#[derive(Clone, Debug, Parser)]
#[command(name = "provider-libvirt", version, max_term_width = 100)]
pub struct Args {
    /// Log every step of every pass
    #[arg(short, long, env = "DEBUG")]
    pub debug: bool,
    /// How often each object and each host is looked at for changes that libvirt announces to nobody
    #[arg(long, env = "POLL", default_value = "1m", value_parser = span, alias = "poll-interval")]
    pub poll: Duration,
    /// How often everything is gone through again, whatever the objects' own poll intervals
    #[arg(short, long, env = "SYNC", default_value = "1h", value_parser = span)]
    pub sync: Duration,
    /// How many objects of a kind are worked on at once
    #[arg(long, env = "MAX_RECONCILE_RATE", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_reconcile_rate: u16,
    /// The config of objects that name none: ProviderConfig/NAME or ClusterProviderConfig/NAME
    #[arg(long, env = "DEFAULT_PROVIDER_CONFIG", value_parser = parse_record)]
    pub default_provider_config: Option<ProviderConfigReference>,
    /// How long an image server may send nothing before the import is given up and tried again
    #[arg(long, env = "IMAGE_STALL_TIMEOUT", default_value = "30s", value_parser = span)]
    pub image_stall_timeout: Duration,
    /// Where /metrics is served
    #[arg(long, env = "METRICS_BIND_ADDRESS", default_value = ":8080", value_parser = address, alias = "metrics-addr")]
    pub metrics_bind_address: SocketAddr,
    /// Where /healthz and /readyz are served
    #[arg(long, env = "HEALTH_PROBE_BIND_ADDRESS", default_value = ":8081", value_parser = address)]
    pub health_probe_bind_addr: SocketAddr,
    /// The namespace of the provider itself, where the Secret provider-libvirt-ownership is kept. Default: that of the kubeconfig
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: Option<String>,
}

fn span(text: &str) -> Result<Duration, String> {
    let span = parse_span(text).ok_or_else(|| format!("{text:?} is not a duration: write it like 30s, 1m30s or 1h"))?;
    if span < Duration::from_millis(100) { Err("shorter than 100ms".to_owned()) } else { Ok(span) }
}

/// An address as Go programs take it: `:8080` is every address.
fn address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    full.parse().map_err(|_| format!("{text:?} is not an address: write it like :8080 or 127.0.0.1:8080"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_read_as_go_programs_write_them() {
        let args = Args::try_parse_from([
            "provider-libvirt",
            "--poll=90s",
            "--metrics-addr",
            ":9090",
            "--default-provider-config=ClusterProviderConfig/a",
        ])
        .unwrap();
        assert_eq!(args.poll, Duration::from_secs(90));
        assert_eq!(args.metrics_bind_address.to_string(), "0.0.0.0:9090");
        assert_eq!(args.default_provider_config.unwrap().name, "a");
    }

    #[test]
    fn a_wrong_value_is_refused_with_what_is_right() {
        let error =
            |args: &[&str]| Args::try_parse_from([&["provider-libvirt"], args].concat()).unwrap_err().to_string();
        assert!(error(&["--poll=soon"]).contains("\"soon\" is not a duration: write it like 30s, 1m30s or 1h"));
        assert!(
            error(&["--metrics-addr=here"])
                .contains("\"here\" is not an address: write it like :8080 or 127.0.0.1:8080")
        );
        assert!(error(&["--max-reconcile-rate=0"]).contains("0 is not in 1..=1000"));
    }
}
