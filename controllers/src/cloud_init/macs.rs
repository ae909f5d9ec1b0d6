//! Interfaces that are told by their name alone: their addresses are those that the one Domain with this seed has, or will have.

use std::{borrow::Cow, sync::Arc};

use anyhow::{Context, bail};
use apis::{CloudInit, Domain, Managed, cloud_init::GuestInterface, domain::NetworkInterface, managed::annotation};
use managed::{creation::was_created, plan::only_observes};

use crate::{cluster::Cluster, index::ReferrerKind, mark};

/// What an object is told to do that lacks an address.
const CURE: &str = "set their mac";

/// Whether what the object says depends on the Domain that refers to it.
pub(crate) fn follows(object: &CloudInit) -> bool {
    unnamed(object.held().parameters().network_interfaces.as_deref().unwrap_or_default()).next().is_some()
}

fn unnamed(interfaces: &[GuestInterface]) -> impl Iterator<Item = &GuestInterface> {
    interfaces.iter().filter(|one| one.mac.is_none())
}

/// The interfaces, each with its address.
pub(super) fn with_macs<'a>(
    cluster: &Cluster,
    object: &CloudInit,
    interfaces: &'a [GuestInterface],
) -> anyhow::Result<Cow<'a, [GuestInterface]>> {
    if unnamed(interfaces).next().is_none() {
        return Ok(Cow::Borrowed(interfaces));
    }
    let domain = the_domain(cluster, object, interfaces)?;
    let mut all = interfaces.to_vec();
    for one in all.iter_mut().filter(|one| one.mac.is_none()) {
        one.mac = Some(mac(&domain, &one.name)?);
    }
    Ok(Cow::Owned(all))
}

/// The one Domain of the object's namespace that refers to it: those of others have no say in what a guest of this one is told.
fn the_domain(cluster: &Cluster, object: &CloudInit, interfaces: &[GuestInterface]) -> anyhow::Result<Arc<Domain>> {
    let own = object.metadata.namespace.as_deref().unwrap_or_default();
    let users = cluster.users_of(object, ReferrerKind::Domain);
    let ours = users.iter().filter(|user| user.namespace == own);
    let mut domains: Vec<Arc<Domain>> = ours.filter_map(|user| cluster.domains.get(own, &user.name)).collect();
    if domains.iter().any(|domain| domain.metadata.deletion_timestamp.is_none()) {
        // One that goes makes room for its successor.
        domains.retain(|domain| domain.metadata.deletion_timestamp.is_none());
    }
    let names: Vec<&str> = unnamed(interfaces).map(|one| one.name.as_str()).collect();
    let names = names.join(", ");
    match domains.as_slice() {
        [domain] => Ok(domain.clone()),
        [] => bail!("{names}: waiting for the Domain of this namespace that refers to this CloudInit; or {CURE}"),
        [one, other, ..] => bail!(
            "{names}: Domains {} and {} both refer to this CloudInit, and their addresses differ: give each guest a CloudInit of its own, or {CURE}",
            one.full_name(),
            other.full_name()
        ),
    }
}

/// The address that the interface of a Domain has: what its spec says, else what its host shows, else what it is made with.
fn mac(domain: &Domain, name: &str) -> anyhow::Result<String> {
    let whole = domain.held();
    let said: Option<&NetworkInterface> =
        whole.parameters().network_interfaces.iter().flatten().find(|nic| nic.name.0 == name);
    if let Some(mac) = said.and_then(|nic| nic.mac.as_ref()) {
        return Ok(mac.to_ascii_lowercase());
    }
    let mut seen = domain.observation().into_iter().flat_map(|seen| &seen.network_interfaces);
    if let Some(nic) = seen.find(|nic| nic.name.as_deref() == Some(name)) {
        return Ok(nic.mac.to_ascii_lowercase());
    }
    if domain.annotation(annotation::ADOPT) == Some("true") && !was_created(domain) {
        // It keeps the address that it has on the host, and is looked at only once this seed is there.
        bail!(
            "{name}: Domain {} is to be taken over, and what address its interface has is not known before; {CURE}, here or at the interface of the Domain",
            domain.full_name()
        );
    }
    let made = said.filter(|_| !only_observes(domain)).map(|_| mark::mac(domain.uid(), name));
    made.with_context(|| format!("{name}: Domain {} has no interface of that name; {CURE}", domain.full_name()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn domain(spec: &Value, seen: &Value) -> Domain {
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Domain",
            "metadata": {"namespace": "n", "name": "d", "uid": "11111111-2222-3333-4444-555555555555"},
            "spec": spec, "status": {"atProvider": {"networkInterfaces": seen}},
        }))
        .unwrap()
    }

    #[test]
    fn an_interface_has_the_address_that_is_said_or_seen_or_will_be_made() {
        let seen = json!([{"name": "lan", "mac": "52:54:00:00:00:02"}]);
        let said =
            json!({"forProvider": {"networkInterfaces": [{"name": "lan", "bridge": "b", "mac": "52:54:00:00:00:AB"}]}});
        let derived = json!({"forProvider": {"networkInterfaces": [{"name": "lan", "bridge": "b"}]}});
        let initial =
            json!({"initProvider": {"networkInterfaces": [{"name": "lan", "bridge": "b"}]}, "forProvider": {}});
        let looked_at = json!({"managementPolicies": ["Observe"], "forProvider": {}});
        let table = [
            (&said, &seen, Ok("52:54:00:00:00:ab")),
            (&derived, &seen, Ok("52:54:00:00:00:02")),
            (&derived, &json!([]), Ok("52:54:00:a7:69:4c")),
            (&initial, &json!([]), Ok("52:54:00:a7:69:4c")),
            (&looked_at, &seen, Ok("52:54:00:00:00:02")),
            (&looked_at, &json!([]), Err("lan: Domain n/d has no interface of that name; set their mac")),
        ];
        for (spec, seen, expected) in table {
            let found = mac(&domain(spec, seen), "lan").map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{spec} {seen}");
        }
    }

    #[test]
    fn of_a_guest_that_is_to_be_taken_over_no_address_is_guessed() {
        let mut domain =
            domain(&json!({"forProvider": {"networkInterfaces": [{"name": "lan", "bridge": "b"}]}}), &json!([]));
        let mut annotate = |key: &str, value: &str| {
            domain.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
            mac(&domain, "lan").map_err(|error| error.to_string())
        };
        let why = "lan: Domain n/d is to be taken over, and what address its interface has is not known before; set their mac, here or at the interface of the Domain";
        assert_eq!(annotate(annotation::ADOPT, "true"), Err(why.to_owned()));
        // One that was made is nothing to take over.
        assert_eq!(annotate(annotation::CREATE_SUCCEEDED, "2026-01-01T00:00:00Z"), Ok("52:54:00:a7:69:4c".to_owned()));
    }

    #[test]
    fn a_seed_follows_a_domain_where_an_interface_has_no_address() {
        let seed = |spec: Value| -> CloudInit {
            serde_json::from_value(json!({
                "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "CloudInit",
                "metadata": {"namespace": "n", "name": "s", "uid": "1"}, "spec": spec,
            }))
            .unwrap()
        };
        let with = json!([{"name": "lan", "mac": "52:54:00:00:00:01"}]);
        let without = json!([{"name": "lan", "mac": "52:54:00:00:00:01"}, {"name": "san"}]);
        assert!(!follows(&seed(json!({"forProvider": {}}))));
        assert!(!follows(&seed(json!({"forProvider": {"networkInterfaces": with}}))));
        assert!(follows(&seed(json!({"forProvider": {"networkInterfaces": without}}))));
        assert!(follows(&seed(json!({"initProvider": {"networkInterfaces": without}, "forProvider": {}}))));
    }
}
