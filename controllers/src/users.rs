//! Who uses which config: the names of the usages, which are all that is kept of them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use apis::{ProviderConfigUsage, placement::ConfigId};
use kube::runtime::watcher::Event;

type Names = HashMap<ConfigId, HashSet<Box<str>>>;

/// The usages of all configs, as the watch last showed them.
#[derive(Debug, Default)]
pub struct Users(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    names: Names,
    /// The list that is coming in; it counts only when it is whole.
    listed: Names,
}

impl Users {
    /// How many objects use a config.
    pub fn of(&self, config: &ConfigId) -> usize {
        self.lock().names.get(config).map_or(0, HashSet::len)
    }

    /// Takes in what the watch shows.
    pub fn apply(&self, event: &Event<ProviderConfigUsage>) {
        let Known { names, listed } = &mut *self.lock();
        match event {
            Event::Apply(usage) => put(names, usage),
            Event::Delete(usage) => take(names, &name(usage)),
            Event::Init => *listed = Names::new(),
            Event::InitApply(usage) => put(listed, usage),
            Event::InitDone => *names = std::mem::take(listed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put(names: &mut Names, usage: &ProviderConfigUsage) {
    let name = name(usage);
    // It may have named another config before.
    take(names, &name);
    let namespace = usage.metadata.namespace.as_deref().unwrap_or_default();
    let config = ConfigId::resolve(&usage.spec.provider_config_ref, namespace);
    names.entry(config).or_default().insert(name);
}

fn take(names: &mut Names, name: &str) {
    names.retain(|_, of| {
        of.remove(name);
        !of.is_empty()
    });
}

fn name(usage: &ProviderConfigUsage) -> Box<str> {
    let meta = &usage.metadata;
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    format!("{namespace}/{name}").into()
}

#[cfg(test)]
mod tests {
    use apis::managed::ConfigKind;
    use serde_json::json;

    use super::*;

    fn usage(name: &str, config: &str) -> ProviderConfigUsage {
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "ProviderConfigUsage",
            "metadata": {"name": name, "namespace": "n"},
            "providerConfigRef": {"kind": "ProviderConfig", "name": config},
            "resourceRef": {"apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool", "name": "p"},
        }))
        .unwrap()
    }

    fn counts(users: &Users) -> [usize; 2] {
        ["a", "b"].map(|name| {
            users.of(&ConfigId { kind: ConfigKind::ProviderConfig, namespace: "n".to_owned(), name: name.to_owned() })
        })
    }

    #[test]
    fn a_usage_counts_for_the_config_it_names_last() {
        let users = Users::default();
        users.apply(&Event::Apply(usage("1", "a")));
        users.apply(&Event::Apply(usage("2", "a")));
        users.apply(&Event::Apply(usage("2", "a")));
        assert_eq!(counts(&users), [2, 0]);
        users.apply(&Event::Apply(usage("2", "b")));
        assert_eq!(counts(&users), [1, 1]);
        users.apply(&Event::Delete(usage("1", "a")));
        assert_eq!(counts(&users), [0, 1]);
    }

    #[test]
    fn a_new_list_counts_once_it_is_whole() {
        let users = Users::default();
        users.apply(&Event::Apply(usage("gone", "a")));
        users.apply(&Event::Init);
        users.apply(&Event::InitApply(usage("1", "b")));
        assert_eq!(counts(&users), [1, 0]);
        users.apply(&Event::InitDone);
        assert_eq!(counts(&users), [0, 1]);
    }
}
