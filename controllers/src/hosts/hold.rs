//! Hosts that are left alone: in maintenance, or only to be read.

use apis::{placement::ConfigId, provider_config::HostSpec};
use libvirt::HostState;
use managed::external::Refusal;

use super::Connector;

/// Why the host of a config is left alone, as the config itself says.
pub(super) fn hold(config: &ConfigId, spec: &HostSpec) -> Option<Refusal> {
    let (reason, why) = if spec.maintenance == Some(true) {
        ("Maintenance", "is in maintenance (spec.maintenance)")
    } else if spec.read_only == Some(true) {
        ("ReadOnly", "only reads (spec.readOnly)")
    } else {
        return None;
    };
    Some(Refusal { reason, message: format!("{config} {why}: nothing is made, changed or deleted on its host") })
}

impl Connector {
    /// Why a config's host is left alone though the config itself does not say so: another config of the cluster leads there and is in
    /// maintenance. One of a namespace holds up no others, or any tenant could.
    pub(super) fn hold_of_twin(&self, config: &ConfigId) -> Option<Refusal> {
        let held = self.cluster.in_maintenance();
        if held.is_empty() {
            return None;
        }
        let ours = self.identity(config)?;
        let twin = held.into_iter().find(|other| other != config && self.identity(other).as_ref() == Some(&ours))?;
        let message = format!(
            "{config} leads to the same host as {twin}, which is in maintenance (spec.maintenance): nothing is made, changed or deleted there"
        );
        Some(Refusal { reason: "Maintenance", message })
    }

    /// By what it is known which host a config leads to: as the host says, or, while it is away, as it was seen last.
    fn identity(&self, config: &ConfigId) -> Option<(String, String)> {
        let host = self.endpoint(config).ok().and_then(|(key, ..)| self.hosts.peek(&key));
        let connected = host.and_then(|host| match &*host.state().borrow() {
            HostState::Up { facts } => Some((facts.uuid.clone().unwrap_or_default(), facts.hostname.clone())),
            HostState::Connecting | HostState::Down { .. } => None,
        });
        let seen = || self.cluster.host_seen(config).map(|seen| (seen.uuid, seen.hostname));
        connected.or_else(seen).filter(|(uuid, _)| !uuid.is_empty())
    }
}
