//! How a host differs from the others that the same objects may be on: a guest that is written for one of them may not start on it.

use std::collections::BTreeSet;

use apis::{managed::ConfigKind, placement::ConfigId};
use libvirt::Facts;

/// How many of a list's entries are named.
const NAMED: usize = 6;

/// Takes what is compared out of what a host says.
type Read = fn(&Facts) -> Trait;

/// What is compared of a host, by its name in messages.
const KEYS: [(&str, Read); 6] = [
    ("libvirt", |facts| Trait::One(facts.libvirt_version.clone())),
    ("hypervisor", |facts| Trait::One(facts.hypervisor_version.clone().unwrap_or_else(|| "none".to_owned()))),
    ("driver", |facts| Trait::One(facts.driver.clone())),
    ("arch", |facts| Trait::One(facts.arch.clone().unwrap_or_else(|| "unknown".to_owned()))),
    ("domainTypes", |facts| Trait::Many(facts.domain_types.iter().cloned().collect())),
    ("machineTypes", |facts| Trait::Many(facts.machines.iter().cloned().collect())),
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Trait {
    One(String),
    Many(BTreeSet<String>),
}

impl Trait {
    /// How it differs from the usual.
    fn unlike(&self, usual: &Self) -> String {
        match (self, usual) {
            (Self::Many(own), Self::Many(usual)) => {
                let lacks = listed("lack", usual.difference(own));
                let adds = listed("add", own.difference(usual));
                [lacks, adds].into_iter().flatten().collect::<Vec<_>>().join(" and ")
            }
            (Self::One(own), Self::One(usual)) => format!("is {own} instead of {usual}"),
            // A key has one kind of values.
            (Self::One(_), Self::Many(_)) | (Self::Many(_), Self::One(_)) => String::new(),
        }
    }
}

/// `lack a, b and 3 others`; None for nothing.
fn listed<'a>(verb: &str, names: impl Iterator<Item = &'a String>) -> Option<String> {
    let names: Vec<&str> = names.map(String::as_str).collect();
    let (named, rest) = names.split_at(names.len().min(NAMED));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} others", rest.len()) };
    (!names.is_empty()).then(|| format!("{verb} {}{more}", named.join(", ")))
}

/// Whether the objects of one config may look at the other: nobody is told of hosts of other namespaces.
pub(crate) fn may_compare(own: &ConfigId, other: &ConfigId) -> bool {
    other.kind == ConfigKind::ClusterProviderConfig || (own.kind, &own.namespace) == (other.kind, &other.namespace)
}

/// How the host of a config differs from the others, in the order of their names: for each key from what most of them have, and of as many
/// from the first. None where it does not, or there are no others.
pub(crate) fn skew(own: &ConfigId, hosts: &[(&ConfigId, &Facts)]) -> Option<String> {
    let (_, mine) = hosts.iter().find(|(config, _)| *config == own)?;
    let mut found: Vec<(&ConfigId, Vec<String>)> = Vec::new();
    for (key, read) in KEYS {
        let (whose, usual) = usual(hosts, read)?;
        let value = read(mine);
        if value == usual {
            continue;
        }
        let difference = format!("{key} {}", value.unlike(&usual));
        match found.iter_mut().find(|(config, _)| *config == whose) {
            Some((_, differences)) => differences.push(difference),
            None => found.push((whose, vec![difference])),
        }
    }
    let told = found.iter().map(|(config, differences)| format!("unlike {config}: {}", differences.join("; ")));
    (!found.is_empty()).then(|| told.collect::<Vec<_>>().join(". "))
}

/// What most hosts have, and the first that has it.
fn usual<'a>(hosts: &[(&'a ConfigId, &Facts)], read: Read) -> Option<(&'a ConfigId, Trait)> {
    let mut tally: Vec<(&ConfigId, Trait, usize)> = Vec::new();
    for (config, facts) in hosts {
        let value = read(facts);
        match tally.iter_mut().find(|(_, known, _)| *known == value) {
            Some((_, _, count)) => *count += 1,
            None => tally.push((*config, value, 1)),
        }
    }
    // Of several that are as many, the last is taken: so from behind.
    tally.into_iter().rev().max_by_key(|(_, _, count)| *count).map(|(config, value, _)| (config, value))
}

#[cfg(test)]
mod tests {
    use libvirt::CpuSet;

    use super::*;

    fn cluster(name: &str) -> ConfigId {
        ConfigId { kind: ConfigKind::ClusterProviderConfig, namespace: String::new(), name: name.to_owned() }
    }

    fn facts() -> Facts {
        Facts {
            uuid: None,
            hostname: "h".to_owned(),
            libvirt_version: "9.0.0".to_owned(),
            hypervisor_version: Some("7.2.22".to_owned()),
            arch: Some("x86_64".to_owned()),
            domain_types: vec!["kvm".to_owned(), "qemu".to_owned()],
            cpus: CpuSet::default(),
            driver: "QEMU".to_owned(),
            machines: vec!["pc".to_owned(), "pc-i440fx-7.2".to_owned()],
            lacks: Vec::new(),
        }
    }

    fn told(hosts: &[(&str, Facts)]) -> Vec<Option<String>> {
        let configs: Vec<ConfigId> = hosts.iter().map(|(name, _)| cluster(name)).collect();
        let all: Vec<(&ConfigId, &Facts)> = configs.iter().zip(hosts.iter().map(|(_, facts)| facts)).collect();
        configs.iter().map(|own| skew(own, &all)).collect()
    }

    #[test]
    fn hosts_that_are_alike_are_not_told_of_and_one_alone_is_like_all() {
        let other = Facts { hostname: "g".to_owned(), uuid: Some("1".to_owned()), ..facts() };
        assert_eq!(told(&[("a", facts()), ("b", other)]), [None, None]);
        assert_eq!(told(&[("a", facts())]), [None]);
    }

    #[test]
    fn of_two_hosts_the_second_is_told_exactly_what_differs_also_what_the_first_lacks() {
        let newer = Facts {
            libvirt_version: "10.0.0".to_owned(),
            domain_types: vec!["qemu".to_owned()],
            machines: vec!["pc".to_owned(), "pc-i440fx-8.0".to_owned()],
            ..facts()
        };
        let sentence = "unlike ClusterProviderConfig a: libvirt is 10.0.0 instead of 9.0.0; domainTypes lack kvm; \
                        machineTypes lack pc-i440fx-7.2 and add pc-i440fx-8.0";
        assert_eq!(told(&[("a", facts()), ("b", newer)]), [None, Some(sentence.to_owned())]);
    }

    #[test]
    fn what_most_hosts_have_counts_key_by_key() {
        let old = Facts { libvirt_version: "8.0.0".to_owned(), ..facts() };
        let bare = Facts { hypervisor_version: None, ..facts() };
        let hosts = [("a", old), ("b", facts()), ("c", bare)];
        let sentence = |other: &str, what: &str| Some(format!("unlike ClusterProviderConfig {other}: {what}"));
        let wished = [
            sentence("b", "libvirt is 8.0.0 instead of 9.0.0"),
            None,
            sentence("a", "hypervisor is none instead of 7.2.22"),
        ];
        assert_eq!(told(&hosts), wished);
    }

    #[test]
    fn long_lists_are_counted() {
        let many = (10..20).map(|number| format!("m{number}")).collect();
        let hosts = [("a", Facts { machines: many, ..facts() }), ("b", Facts { machines: Vec::new(), ..facts() })];
        let sentence =
            "unlike ClusterProviderConfig a: machineTypes lack m10, m11, m12, m13, m14, m15 and 4 others".to_owned();
        assert_eq!(told(&hosts), [None, Some(sentence)]);
    }

    #[test]
    fn nobody_is_compared_with_the_hosts_of_another_namespace() {
        let own = |namespace: &str| ConfigId {
            kind: ConfigKind::ProviderConfig,
            namespace: namespace.to_owned(),
            name: "c".to_owned(),
        };
        assert!(may_compare(&own("n"), &own("n")) && may_compare(&own("n"), &cluster("c")));
        assert!(!may_compare(&own("n"), &own("m")) && !may_compare(&cluster("c"), &own("n")));
    }
}
