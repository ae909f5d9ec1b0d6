//! What a network reaches on its host, against the policy of its config: pure.
//!
//! A function of a card that a guest has is the guest's to program, as a host device of a Domain is.

use apis::{
    Network,
    network::{NetworkHostDevices, NetworkParameters},
    placement::ConfigId,
    provider_config::Policy,
};

use crate::domain::reach::{fits, now_and_anew, sentence};

/// What the policy does not allow of a Network, neither as it is nor as it would be made anew.
pub(crate) fn refused_of(object: &Network, policy: &Policy, config: &ConfigId) -> Vec<String> {
    now_and_anew(object, |parameters| refused(parameters, policy, config))
}

fn refused(parameters: &NetworkParameters, policy: &Policy, config: &ConfigId) -> Vec<String> {
    let Some(NetworkHostDevices { physical_function, addresses }) = &parameters.host_devices else { return Vec::new() };
    let card = physical_function.iter().map(|card| format!("net/{card}"));
    let lines = card.chain(addresses.iter().flatten().map(|address| format!("pci/{address}")));
    let is_listed = |line: &String| policy.host_devices.iter().flatten().any(|pattern| fits(pattern, line));
    let refused = lines.filter(|line| !is_listed(line));
    refused.map(|line| sentence("hostDevices", &line, &line, ("hostDevices", config))).collect()
}

#[cfg(test)]
mod tests {
    use apis::managed::ConfigKind;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn functions_of_cards_are_had_where_the_policy_lists_the_card_or_the_address() {
        let config =
            ConfigId { kind: ConfigKind::ClusterProviderConfig, namespace: String::new(), name: "c".to_owned() };
        let policy = Policy {
            host_devices: Some(["net/eno1", "pci/0000:03:*"].map(str::to_owned).to_vec()),
            ..Policy::default()
        };
        let refused_of = |devices: Value, policy: &Policy| {
            let parameters = serde_json::from_value(json!({"mode": "HostDevices", "hostDevices": devices})).unwrap();
            refused(&parameters, policy, &config)
        };
        let line = |line: &str| {
            format!(
                "hostDevices: {line} is not allowed on ClusterProviderConfig c; it would be with the line {line} in its spec.policy.hostDevices"
            )
        };
        assert_eq!(refused_of(json!({"physicalFunction": "eno1"}), &policy), [""; 0]);
        assert_eq!(refused_of(json!({"physicalFunction": "eno1"}), &Policy::default()), [line("net/eno1")]);
        let two = json!({"addresses": ["0000:03:10.0", "0000:04:10.0"]});
        assert_eq!(refused_of(two, &policy), [line("pci/0000:04:10.0")]);
    }
}
