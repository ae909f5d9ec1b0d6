//! Who refers to what, kept as the watches show it, so that nobody goes through all objects to find those that refer to one.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    references::{Referent, Refers, Said},
    select,
};

/// The kinds that refer to others, in the order in which messages name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReferrerKind {
    /// A Domain.
    Domain,
    /// A Volume.
    Volume,
    /// A `CloudInit`.
    CloudInit,
}

impl ReferrerKind {
    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Domain => "Domain",
            Self::Volume => "Volume",
            Self::CloudInit => "CloudInit",
        }
    }
}

/// An object that refers to others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Referrer {
    /// Its kind.
    pub kind: ReferrerKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Referrer {
    /// The object as one that refers to others, if its kind does.
    pub fn of<K: Refers>(object: &K) -> Option<Self> {
        let meta = object.meta();
        let (namespace, name) = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        K::AS_REFERRER.map(|kind| Self { kind, namespace, name })
    }
}

/// Who refers to what.
#[derive(Debug, Default)]
pub struct Index(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Arc<Referrer>, Entry>,
    referrers: HashMap<Arc<Referent>, BTreeSet<Arc<Referrer>>>,
    /// Those with a selector whose choice is open, and whether nothing is settled of it.
    open: BTreeMap<Arc<Referrer>, bool>,
    /// By UID, a number that changes with what selectors look at.
    looks: HashMap<Box<str>, u64>,
}

#[derive(Debug)]
struct Entry {
    uid: Box<str>,
    referents: Box<[Arc<Referent>]>,
}

impl Index {
    /// Takes in an object as it is now. Answers what it referred to until now and does no more.
    pub fn put<K: Refers>(&self, object: &K) -> Vec<Referent> {
        let Some(referrer) = Referrer::of(object) else { return Vec::new() };
        let Said { mut referents, open, unsettled } = object.said();
        referents.sort();
        referents.dedup();
        self.lock().put(referrer, object.uid(), &referents, open.then_some(unsettled))
    }

    /// Whether selectors that matched this object may do so no more: its labels, owner or deletion differ from what was seen last.
    pub fn is_relabelled<K: Refers>(&self, object: &K) -> bool {
        if K::AS_REFERENT.is_none() {
            return false;
        }
        let now = select::look(object.meta());
        let before = self.lock().looks.insert(object.uid().into(), now);
        before.is_some_and(|before| before != now)
    }

    /// An object is gone. Answers what it referred to.
    pub fn take<K: Refers>(&self, object: &K) -> Vec<Referent> {
        self.lock().looks.remove(object.uid());
        let Some(referrer) = Referrer::of(object) else { return Vec::new() };
        let mut table = self.lock();
        // One of the same name may have come already.
        if table.entries.get(&referrer).is_none_or(|entry| *entry.uid != *object.uid()) {
            return object.said().referents;
        }
        table.open.remove(&referrer);
        let entry = table.entries.remove(&referrer);
        let before = entry.map(|entry| entry.referents).unwrap_or_default();
        for referent in &before {
            table.unlink(referent, &referrer);
        }
        before.iter().map(|referent| Referent::clone(referent)).collect()
    }

    /// Who refers to an object, Domains first.
    pub fn referrers(&self, referent: &Referent) -> Vec<Arc<Referrer>> {
        self.lock().referrers.get(referent).into_iter().flatten().cloned().collect()
    }

    /// Who has a selector that may choose anew.
    pub fn open(&self) -> Vec<Arc<Referrer>> {
        self.lock().open.keys().cloned().collect()
    }

    /// Who has a selector of which nothing is settled: no choice is written down, or nothing was made of it.
    pub fn unsettled(&self) -> Vec<Arc<Referrer>> {
        self.lock().open.iter().filter(|(_, unsettled)| **unsettled).map(|(referrer, _)| referrer.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn put(&mut self, referrer: Referrer, uid: &str, now: &[Referent], open: Option<bool>) -> Vec<Referent> {
        let known = self.entries.get_key_value(&referrer).map(|(known, _)| known.clone());
        let referrer = known.unwrap_or_else(|| Arc::new(referrer));
        match open {
            Some(unsettled) => drop(self.open.insert(referrer.clone(), unsettled)),
            None => drop(self.open.remove(&referrer)),
        }
        if self.entries.get(&referrer).is_some_and(|entry| *entry.uid == *uid && is_same(&entry.referents, now)) {
            return Vec::new();
        }
        let before = self.entries.remove(&referrer).map(|entry| entry.referents).unwrap_or_default();
        let dropped: Vec<&Arc<Referent>> = before.iter().filter(|referent| !now.contains(referent)).collect();
        for referent in &dropped {
            self.unlink(referent, &referrer);
        }
        let referents = now.iter().map(|referent| self.link(referent, &referrer)).collect();
        self.entries.insert(referrer, Entry { uid: uid.into(), referents });
        dropped.into_iter().map(|referent| Referent::clone(referent)).collect()
    }

    /// All who refer to an object share one copy of its names.
    fn link(&mut self, referent: &Referent, referrer: &Arc<Referrer>) -> Arc<Referent> {
        let known = self.referrers.get_key_value(referent).map(|(known, _)| known.clone());
        let referent = known.unwrap_or_else(|| Arc::new(referent.clone()));
        self.referrers.entry(referent.clone()).or_default().insert(referrer.clone());
        referent
    }

    fn unlink(&mut self, referent: &Arc<Referent>, referrer: &Referrer) {
        let Some(referrers) = self.referrers.get_mut(referent) else { return };
        referrers.remove(referrer);
        if referrers.is_empty() {
            self.referrers.remove(referent);
        }
    }
}

fn is_same(known: &[Arc<Referent>], now: &[Referent]) -> bool {
    known.len() == now.len() && known.iter().zip(now).all(|(known, now)| **known == *now)
}

#[cfg(test)]
mod tests {
    use apis::{Domain, Pool, Volume, managed::annotation::REFERENCES};
    use serde_json::{Value, json};

    use super::*;
    use crate::references::ReferentKind;

    fn domain(uid: &str, annotations: &Value, disks: &Value) -> Domain {
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Domain",
            "metadata": {"namespace": "n", "name": "d", "uid": uid, "annotations": annotations},
            "spec": {"forProvider": {"disks": disks}},
        }))
        .unwrap()
    }

    fn named(names: &[&str]) -> Domain {
        let disks: Vec<_> = names.iter().map(|name| json!({"name": name, "volumeRef": {"name": name}})).collect();
        domain("1", &json!({}), &json!(disks))
    }

    fn volume(name: &str) -> Referent {
        Referent { kind: ReferentKind::Volume, namespace: "n".to_owned(), name: name.to_owned() }
    }

    fn shown(index: &Index, name: &str) -> Vec<String> {
        index.referrers(&volume(name)).iter().map(|by| format!("{:?} {}/{}", by.kind, by.namespace, by.name)).collect()
    }

    #[test]
    fn what_an_object_refers_to_is_known_until_it_does_no_more() {
        let index = Index::default();
        assert_eq!(index.put(&named(&["a", "b", "a"])), []);
        let overlay: Volume = serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Volume",
            "metadata": {"namespace": "n", "name": "o", "uid": "2"},
            "spec": {"forProvider": {"backingStore": {"volumeRef": {"name": "b"}}}},
        }))
        .unwrap();
        assert_eq!(index.put(&overlay), []);
        assert_eq!(
            (shown(&index, "a"), shown(&index, "b")),
            (vec!["Domain n/d".to_owned()], vec!["Domain n/d".to_owned(), "Volume n/o".to_owned()])
        );
        assert_eq!(index.put(&named(&["b", "c"])), [volume("a")]);
        assert_eq!((shown(&index, "a").len(), shown(&index, "b").len(), shown(&index, "c").len()), (0, 2, 1));
        assert_eq!(index.take(&named(&["b", "c"])), [volume("b"), volume("c")]);
        assert_eq!((shown(&index, "b"), shown(&index, "c")), (vec!["Volume n/o".to_owned()], vec![]));
        index.take(&overlay);
        let table = index.lock();
        assert_eq!((table.entries.len(), table.referrers.len(), table.open.len()), (0, 0, 0));
    }

    #[test]
    fn an_object_that_has_gone_takes_nothing_from_the_next_one_of_its_name() {
        let index = Index::default();
        index.put(&named(&["a"]));
        let next = domain("2", &json!({}), &json!([{"name": "a", "volumeRef": {"name": "a"}}]));
        assert_eq!(index.put(&next), []);
        assert_eq!(index.take(&named(&["a"])), [volume("a")]);
        assert_eq!(shown(&index, "a"), ["Domain n/d"]);
    }

    #[test]
    fn who_may_choose_anew_is_known_and_whether_anything_is_settled() {
        let index = Index::default();
        let disks = |policy: &str| json!([{"name": "a", "volumeSelector": {"matchLabels": {"x": "y"}, "policy": {"resolve": policy}}}]);
        let chose = json!({REFERENCES: "{\"disks[a].volume\":\"v\"}"});
        let made = json!({
            REFERENCES: "{\"disks[a].volume\":\"v\"}", "crossplane.io/external-create-succeeded": "2026-01-01T00:00:00Z",
        });
        let table = [
            (json!({}), "IfNotPresent", (1, 1)),
            (chose.clone(), "IfNotPresent", (0, 0)),
            (chose, "Always", (1, 1)),
            (made, "Always", (1, 0)),
        ];
        for (annotations, policy, counts) in table {
            index.put(&domain("1", &annotations, &disks(policy)));
            assert_eq!((index.open().len(), index.unsettled().len()), counts, "{annotations} {policy}");
        }
        index.take(&domain("1", &json!({}), &json!([])));
        assert_eq!((index.open(), index.unsettled()), (vec![], vec![]));
    }

    #[test]
    fn an_object_that_lost_a_label_is_told_from_one_that_only_changed() {
        let index = Index::default();
        let pool = |labels: &Value, path: &str| -> Pool {
            serde_json::from_value(json!({
                "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool",
                "metadata": {"namespace": "n", "name": "p", "uid": "1", "labels": labels},
                "spec": {"forProvider": {"target": {"path": path}}},
            }))
            .unwrap()
        };
        let told = [
            (json!({"a": "b"}), "/p", false),
            (json!({"a": "b"}), "/q", false),
            (json!({}), "/q", true),
            (json!({}), "/q", false),
        ];
        for (labels, path, relabelled) in told {
            assert_eq!(index.is_relabelled(&pool(&labels, path)), relabelled, "{labels} {path}");
        }
        index.take(&pool(&json!({}), "/q"));
        assert!(index.lock().looks.is_empty());
    }

    #[test]
    fn a_kind_that_refers_to_nothing_is_not_kept() {
        let index = Index::default();
        let pool: Pool = serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool",
            "metadata": {"namespace": "n", "name": "p"}, "spec": {"forProvider": {}},
        }))
        .unwrap();
        assert_eq!((index.put(&pool), index.take(&pool)), (vec![], vec![]));
        assert!(index.lock().entries.is_empty());
    }
}
