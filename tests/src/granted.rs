//! The role that Crossplane gives a provider, and which of its rights this provider uses.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// An API group, a resource and a verb.
pub type Right = (&'static str, &'static str, &'static str);

/// The provider's own group.
pub const OWN: &str = "libvirt.m.nourspeed.io";
const LEASES: &str = "coordination.k8s.io";
const KINDS: &str = "apiextensions.k8s.io";

/// Plural names of all kinds of the package.
pub const RESOURCES: [&str; 8] = [
    "cloudinits",
    "clusterproviderconfigs",
    "domains",
    "networks",
    "pools",
    "providerconfigs",
    "providerconfigusages",
    "volumes",
];

const OWN_VERBS: [&str; 6] = ["get", "list", "watch", "update", "patch", "create"];

/// What Crossplane grants, by group and resource. It grants no deletion of a kind of the package.
pub fn granted() -> BTreeSet<(String, String, String)> {
    let mut all = BTreeSet::new();
    let mut add = |group: &str, resource: &str, verbs: &[&str]| {
        all.extend(verbs.iter().map(|verb| (group.to_owned(), resource.to_owned(), (*verb).to_owned())));
    };
    for resource in RESOURCES {
        add(OWN, resource, &OWN_VERBS);
        add(OWN, &format!("{resource}/status"), &OWN_VERBS);
    }
    add(OWN, "*/finalizers", &["update"]);
    for group in ["", LEASES] {
        for resource in ["secrets", "configmaps", "events", "leases"] {
            add(group, resource, &["*"]);
        }
    }
    add(KINDS, "customresourcedefinitions", &["get", "list", "watch"]);
    all
}

/// Every right of rules, one by one.
pub fn rights(rules: &Value) -> BTreeSet<(String, String, String)> {
    let words = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|word| Some(word.as_str()?.to_owned())).collect()
    };
    let mut all = BTreeSet::new();
    for rule in rules.as_array().into_iter().flatten() {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                all.extend(words(&rule["verbs"]).into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    all
}

/// The kinds of what is managed.
pub const MANAGED: [&str; 5] = ["cloudinits", "domains", "networks", "pools", "volumes"];

/// What the README lists as needed.
pub fn needed() -> Vec<Right> {
    let mut all = Vec::new();
    for kind in MANAGED {
        all.extend(["get", "list", "watch", "patch"].map(|verb| (OWN, kind, verb)));
    }
    for kind in ["clusterproviderconfigs", "providerconfigs"] {
        all.extend(["list", "watch", "patch"].map(|verb| (OWN, kind, verb)));
    }
    all.extend(["list", "watch", "get", "create", "patch"].map(|verb| (OWN, "providerconfigusages", verb)));
    for status in [
        "cloudinits/status",
        "domains/status",
        "networks/status",
        "pools/status",
        "volumes/status",
        "clusterproviderconfigs/status",
        "providerconfigs/status",
    ] {
        all.push((OWN, status, "patch"));
    }
    all.extend(["get", "list", "watch", "create", "patch"].map(|verb| ("", "secrets", verb)));
    all.extend(["list", "watch"].map(|verb| ("", "configmaps", verb)));
    all.extend(["create", "patch"].map(|verb| ("", "events", verb)));
    all.extend(["get", "create", "update"].map(|verb| (LEASES, "leases", verb)));
    all.extend(["get", "list", "watch"].map(|verb| (KINDS, "customresourcedefinitions", verb)));
    all
}

/// A role with exactly these rights, for the group that the provider of a plain control plane is in, and its binding, as YAML.
pub fn role(rights: &[Right]) -> String {
    let rules: Vec<Value> = rights
        .iter()
        .map(|(group, resource, verb)| json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]}))
        .collect();
    let api = "rbac.authorization.k8s.io";
    let role = json!({
        "apiVersion": format!("{api}/v1"), "kind": "ClusterRole", "metadata": {"name": "provider"}, "rules": rules,
    });
    let binding = json!({
        "apiVersion": format!("{api}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "provider"},
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": "provider"},
        "subjects": [{"apiGroup": api, "kind": "Group", "name": "providers"}],
    });
    format!("---\n{role}\n---\n{binding}\n")
}
