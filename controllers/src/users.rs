//! Who uses which config: the names of the usages, which is all that is kept of most of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use apis::{ProviderConfigUsage, placement::ConfigId};
use kube::runtime::watcher::Event;
use managed::usage::{self, Shown};

/// The usages of all configs, as the watch last showed them.
#[derive(Debug, Default)]
pub struct Users(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    table: Table,
    /// The list that is coming in; it counts only when it is whole.
    listed: Table,
}

#[derive(Debug, Default)]
struct Table {
    names: HashMap<ConfigId, HashMap<Box<str>, State>>,
    /// The few that may be left by objects that are gone: those without a controller, and those that are held and being deleted.
    odd: HashMap<Box<str>, Arc<ProviderConfigUsage>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// As it is to be.
    Settled,
    /// It has our finalizer, and is otherwise not as it is to be.
    Held,
    /// Anything else.
    Loose,
}

impl Users {
    /// How many objects use a config.
    pub fn of(&self, config: &ConfigId) -> usize {
        self.lock().table.names.get(config).map_or(0, HashMap::len)
    }

    /// The usages that their objects may have left behind.
    pub fn odd(&self) -> Vec<Arc<ProviderConfigUsage>> {
        self.lock().table.odd.values().cloned().collect()
    }

    /// Takes in what the watch shows.
    pub fn apply(&self, event: &Event<ProviderConfigUsage>) {
        let Known { table, listed } = &mut *self.lock();
        match event {
            Event::Apply(usage) => table.put(usage),
            Event::Delete(usage) => table.take(&name(usage)),
            Event::Init => *listed = Table::default(),
            Event::InitApply(usage) => listed.put(usage),
            Event::InitDone => *table = std::mem::take(listed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown for Users {
    fn is_settled(&self, config: &ConfigId, namespace: &str, uid: &str) -> bool {
        let known = self.lock();
        let state = known.table.names.get(config).and_then(|of| of.get(full_name(namespace, uid).as_ref()));
        state == Some(&State::Settled)
    }

    fn held(&self, namespace: &str, uid: &str) -> Option<ConfigId> {
        let (known, name) = (self.lock(), full_name(namespace, uid));
        let mut all = known.table.names.iter();
        let (config, _) = all.find(|(_, of)| of.get(&name).is_some_and(|state| *state != State::Loose))?;
        Some(config.clone())
    }
}

impl Table {
    fn put(&mut self, usage: &ProviderConfigUsage) {
        let (config, name) = (config(usage), name(usage));
        // It may have named another config before.
        self.take(&name);
        let held = usage::is_held(&usage.metadata);
        let state = match held {
            true if usage::is_settled(usage) => State::Settled,
            true => State::Held,
            false => State::Loose,
        };
        let leaving = held && usage.metadata.deletion_timestamp.is_some();
        if leaving || !usage::has_controller(&usage.metadata) {
            self.odd.insert(name.clone(), Arc::new(usage.clone()));
        }
        self.names.entry(config).or_default().insert(name, state);
    }

    fn take(&mut self, name: &str) {
        self.odd.remove(name);
        self.names.retain(|_, of| {
            of.remove(name);
            !of.is_empty()
        });
    }
}

/// The config that a usage is of.
pub fn config(usage: &ProviderConfigUsage) -> ConfigId {
    ConfigId::resolve(&usage.spec.provider_config_ref, usage.metadata.namespace.as_deref().unwrap_or_default())
}

fn name(usage: &ProviderConfigUsage) -> Box<str> {
    let meta = &usage.metadata;
    full_name(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

fn full_name(namespace: &str, name: &str) -> Box<str> {
    format!("{namespace}/{name}").into()
}

#[cfg(test)]
mod tests {
    use apis::managed::ConfigKind;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
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

    /// The same as it is written and kept.
    fn settled() -> ProviderConfigUsage {
        let mut settled = usage("1", "a");
        let owner = json!([{"apiVersion": "v1", "kind": "Pool", "name": "p", "uid": "1", "controller": true}]);
        let labels =
            json!({"crossplane.io/provider-config": "a", "crossplane.io/provider-config-kind": "ProviderConfig"});
        settled.metadata.owner_references = serde_json::from_value(owner).unwrap();
        settled.metadata.labels = serde_json::from_value(labels).unwrap();
        settled.metadata.finalizers = Some(vec![usage::FINALIZER.to_owned()]);
        settled
    }

    /// Whether it is settled, whether it is held, and how many are odd.
    fn shown(usage: ProviderConfigUsage) -> (bool, bool, usize) {
        let users = Users::default();
        let config = config(&usage);
        users.apply(&Event::Apply(usage));
        (users.is_settled(&config, "n", "1"), users.held("n", "1").is_some(), users.odd().len())
    }

    #[test]
    fn a_usage_is_settled_as_it_is_written_and_odd_when_its_object_may_have_left_it() {
        let changed = |change: fn(&mut ObjectMeta)| {
            let mut usage = settled();
            change(&mut usage.metadata);
            shown(usage)
        };
        assert_eq!(shown(settled()), (true, true, 0));
        assert_eq!(changed(|meta| meta.labels = None), (false, true, 0));
        assert_eq!(changed(|meta| meta.finalizers = None), (false, false, 0));
        assert_eq!(changed(|meta| meta.owner_references = None), (false, true, 1));
        assert_eq!(changed(|meta| meta.owner_references.as_mut().unwrap()[0].uid = "2".to_owned()), (false, true, 0));
        let mut leaving = settled();
        leaving.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(shown(leaving.clone()), (false, true, 1));
        leaving.metadata.finalizers = Some(vec!["other".to_owned()]);
        assert_eq!(shown(leaving), (false, false, 0));
    }

    #[test]
    fn what_has_gone_or_was_mended_is_odd_no_more() {
        let users = Users::default();
        users.apply(&Event::Apply(usage("1", "a")));
        assert_eq!(users.odd(), [Arc::new(usage("1", "a"))]);
        users.apply(&Event::Apply(settled()));
        assert_eq!(users.odd(), []);
        users.apply(&Event::Apply(usage("1", "a")));
        users.apply(&Event::Delete(usage("1", "a")));
        assert_eq!((users.odd(), counts(&users)), (vec![], [0, 0]));
    }
}
