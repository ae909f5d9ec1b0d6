//! Taking over what others made (design §6): who may, and by what it is known as the object's ever after.
//!
//! ```text
//! something not ours ─▶ another object has it ──yes──▶ ForeignObject
//!                           │no
//!                       annotation adopt: "true" ──no──▶ ForeignObject, with the cure
//!                           │yes
//!                       policy.adopt of the config ──no──▶ AdoptionRefused, with the line to add
//!                           │yes
//!                       signed record of object, host and thing in an annotation ─▶ from then on like ours
//! ```

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use apis::{Managed, managed::annotation, placement::ConfigId};
use managed::external::{Annotations, Refusal, Standing};

use crate::{
    cluster::{Cluster, Shelf},
    domain::reach::fits,
    hosts::Site,
    mark::Owner,
    ownership::{Key, Record},
    storage,
};

/// What stands where an object is to be made.
#[derive(Debug)]
pub enum Obstacle {
    /// It is not the object's, and stays as it is.
    Refused(Refusal),
    /// It becomes the object's by these annotations.
    Adoptable(Annotations),
}

impl Obstacle {
    /// What the comparison says of it.
    pub fn standing<C>(&self) -> Standing<C> {
        match self {
            Self::Refused(refusal) => Standing::Barred(refusal.clone()),
            Self::Adoptable(annotations) => Standing::Adoptable(annotations.clone()),
        }
    }
}

/// Something on a host that is not known to be the object's.
#[derive(Debug)]
pub struct Stranger<'a> {
    /// Its name there, which policies allow or not.
    pub name: &'a str,
    /// That it is there and is not ours, and why.
    pub said: String,
    /// Whether another object has it.
    pub taken: bool,
    /// What it is recorded by: a pool's UUID and a volume's name, or the word for its kind and its UUID.
    pub record: [&'a str; 2],
    /// What it is and the object's spec does not have it be, where that cannot be changed.
    pub mismatch: Option<String>,
}

/// Who asks, and where.
pub struct Asking<'a, K> {
    /// The object.
    pub object: &'a K,
    /// The config of its host.
    pub config: &'a ConfigId,
    /// The host.
    pub host: &'a Site,
}

/// A thing on a host, by what its record says of it.
type Place = [String; 3];

/// Decides about taking over; one for all kinds, so that nothing is given twice.
pub struct Adoption {
    cluster: Arc<Cluster>,
    key: Key,
    /// What was given to whom, by UID: the store may not show its record yet.
    given: Mutex<HashMap<Place, String>>,
    /// Which volume each object that makes one was to record last, by host and pool.
    claims: Mutex<HashMap<String, Place>>,
}

impl Adoption {
    /// Nothing has been given yet. `key` signs who owns what.
    pub fn new(cluster: Arc<Cluster>, key: Key) -> Self {
        Self { cluster, key, given: Mutex::default(), claims: Mutex::default() }
    }

    /// What signs who owns what.
    pub fn key(&self) -> &Key {
        &self.key
    }

    fn given(&self) -> MutexGuard<'_, HashMap<Place, String>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the object took over, by its signed records, wherever: hosts and UUIDs there. It may have let it go since: see [`Self::is_kept`].
    fn recorded<K: Managed>(&self, object: &K) -> Vec<Record> {
        if object.annotation(annotation::OWNERSHIP).is_none() {
            return Vec::new();
        }
        let records = storage::records(object, &self.key).into_iter();
        records.filter(|record| record.pool == word::<K>()).collect()
    }

    /// What the object took over and has. What another object has taken over since is that one's, whatever was put back into an annotation.
    fn taken_over<K: Managed>(&self, object: &K) -> Vec<Record> {
        let records = self.recorded(object).into_iter();
        records.filter(|record| self.is_kept(object.uid(), record)).collect()
    }

    /// Whether no other object has a younger record of the same.
    fn is_kept(&self, uid: &str, record: &Record) -> bool {
        let is_younger = |other: &Record| other.is_of_the_same(record) && other.at >= record.at;
        let (cluster, name) = (&self.cluster, &record.volume);
        let other = match record.pool.as_str() {
            "domain" => self.with_record(&cluster.domains, uid, name, is_younger),
            "network" => self.with_record(&cluster.networks, uid, name, is_younger),
            "pool" => self.with_record(&cluster.pools, uid, name, is_younger),
            _ => self.another(uid, name, is_younger),
        };
        other.is_none()
    }

    /// The UUID of what the object took over on a host, by its signed record.
    pub fn adopted<K: Managed>(&self, object: &K, host: &Site) -> Option<String> {
        self.taken_over(object).into_iter().find(|record| record.host == host.uuid()).map(|record| record.volume)
    }

    /// The UUID of what the object took over, on whatever host.
    pub fn adopted_anywhere<K: Managed>(&self, object: &K) -> Option<String> {
        self.taken_over(object).pop().map(|record| record.volume)
    }

    /// All UUIDs that what is the object's may have on a host: its own UID, and that of what it took over, which may have moved.
    pub fn identities<K: Managed>(&self, object: &K) -> Vec<String> {
        let adopted = self.taken_over(object).into_iter().map(|record| record.volume);
        adopted.chain([object.uid().to_owned()]).collect()
    }

    /// Why nothing is made or deleted on this host for an object that took over what is on another one: it would be there twice,
    /// or forgotten there.
    pub fn left_behind<K: Managed>(&self, object: &K, host: &Site) -> Option<Refusal> {
        let taken_over = self.taken_over(object);
        if taken_over.iter().any(|record| record.host == host.uuid()) {
            return None;
        }
        let Record { host: there, volume: uuid, pool: kind, uid: _, at: _ } = taken_over.first()?;
        let message = format!(
            "the {kind} with UUID {uuid} was taken over on the host with UUID {there}, and this one has {}; nothing is made or deleted here. Point the object back at that host, or let the {kind} go by dropping Delete from managementPolicies, and make a new object for this host",
            host.uuid()
        );
        Some(Refusal { reason: "HostMismatch", message })
    }

    /// The UUID of what is the object's on a host: what it took over, else its own UID.
    pub fn identity<K: Managed>(&self, object: &K, host: &Site) -> String {
        self.adopted(object, host).unwrap_or_else(|| object.uid().to_owned())
    }

    /// The same by the records of the object alone, without a look at those of others.
    pub fn recorded_identity<K: Managed>(&self, object: &K, host: &Site) -> String {
        let mut records = self.recorded(object).into_iter();
        let adopted = records.find(|record| record.host == host.uuid()).map(|record| record.volume);
        adopted.unwrap_or_else(|| object.uid().to_owned())
    }

    /// Another object that has what bears this UUID on a host.
    pub fn living<K: Managed>(&self, shelf: &Shelf<K>, me: &K, host: &Site, uuid: &str) -> Option<Owner> {
        let has = |object: &K| object.uid() != me.uid() && self.recorded_identity(object, host) == uuid;
        shelf.store.state().into_iter().find(|object| has(object)).map(|object| Owner::of(&*object))
    }

    /// The volumes that are the object's. One of which another object has a younger record is not, whatever was put back into an annotation.
    pub fn own<K: Managed>(&self, object: &K) -> Vec<Record> {
        let records = storage::records(object, &self.key).into_iter();
        records.filter(|record| self.is_kept(object.uid(), record)).collect()
    }

    /// Another object whose record names this volume, as messages name it. Both would be its owner, and one would delete the other's data.
    pub fn claimant(&self, me: &str, host: &Site, pool_uuid: &str, name: &str) -> Option<String> {
        self.another(me, name, |record| record.is_of(&record.uid, host.uuid(), pool_uuid, name))
    }

    /// Another object with a record of the same.
    pub fn claimant_of(&self, record: &Record) -> Option<String> {
        self.another(&record.uid, &record.volume, |other| other.is_of_the_same(record))
    }

    /// Claims a volume for an object that is about to record it, to its end or until it claims another one. Answers whose it is, where another
    /// object has recorded it, or is about to: two that both have a record of it would each delete the other's data.
    pub fn claim(&self, me: &str, host: &Site, pool_uuid: &str, name: &str) -> Option<String> {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let place = [host.uuid(), pool_uuid, name].map(str::to_owned);
        claims.remove(me);
        let about_to = || claims.iter().filter(|(_, claimed)| **claimed == place).find_map(|(uid, _)| self.of_uid(uid));
        let other = self.claimant(me, host, pool_uuid, name).or_else(about_to);
        if other.is_none() {
            claims.insert(me.to_owned(), place);
        }
        other
    }

    /// A Volume or `CloudInit` as messages name it; None where it is gone.
    fn of_uid(&self, uid: &str) -> Option<String> {
        fn named<K: Managed>(shelf: &Shelf<K>, uid: &str) -> Option<String> {
            let objects = shelf.store.state();
            let object = objects.iter().find(|object| object.uid() == uid)?;
            Some(format!("{} {}", K::kind(&()), object.full_name()))
        }
        named(&self.cluster.volumes, uid).or_else(|| named(&self.cluster.cloud_inits, uid))
    }

    /// Another Volume or `CloudInit` with such a record of a volume of this name.
    fn another(&self, me: &str, name: &str, is_it: impl Fn(&Record) -> bool) -> Option<String> {
        let volume = self.with_record(&self.cluster.volumes, me, name, &is_it);
        volume.or_else(|| self.with_record(&self.cluster.cloud_inits, me, name, &is_it))
    }

    /// Another object of this kind with such a record of something of this name.
    fn with_record<K: Managed>(
        &self,
        shelf: &Shelf<K>,
        me: &str,
        name: &str,
        is_named: impl Fn(&Record) -> bool,
    ) -> Option<String> {
        // Signatures cost something; what does not even hold the name is not looked at. JSON writes some characters otherwise.
        let written = serde_json::Value::from(name).to_string();
        let may_name =
            |object: &K| object.annotation(annotation::OWNERSHIP).is_some_and(|text| text.contains(&written));
        let others = shelf.store.state();
        let mut others = others.iter().filter(|other| other.uid() != me && may_name(other));
        let other = others.find(|other| storage::records(&***other, &self.key).iter().any(&is_named));
        other.map(|other| format!("{} {}", K::kind(&()), other.full_name()))
    }

    /// Whether the object is to take over what it finds.
    pub fn asks<K: Managed>(object: &K) -> bool {
        object.annotation(annotation::ADOPT) == Some("true")
    }

    /// What is to be done about a network or pool with this UUID that has the object's name and is not the object's.
    pub fn judge<K: Managed>(
        &self,
        asking: &Asking<'_, K>,
        shelf: &Shelf<K>,
        uuid: &str,
        mismatch: Option<String>,
    ) -> Obstacle {
        let (kind, name) = (word::<K>(), asking.object.external_name());
        let holder = self.living(shelf, asking.object, asking.host, uuid);
        let stranger = Stranger {
            name,
            said: not_ours(&kind, name, holder.as_ref(), &Owner::of(asking.object)),
            taken: holder.is_some(),
            record: [&kind, uuid],
            mismatch,
        };
        self.decide(asking, &stranger)
    }

    /// What is to be done about something that is not ours where the object is to be.
    pub fn decide<K: Managed>(&self, asking: &Asking<'_, K>, stranger: &Stranger<'_>) -> Obstacle {
        if let Some((reason, message)) = self.refusal(asking, stranger) {
            return Obstacle::Refused(Refusal { reason, message });
        }
        let [place, thing] = stranger.record;
        Obstacle::Adoptable(storage::record(asking.object, asking.host, place, &[thing.to_owned()], &self.key))
    }

    fn refusal<K: Managed>(
        &self,
        Asking { object, config, host }: &Asking<'_, K>,
        Stranger { name, said, taken, record, mismatch }: &Stranger<'_>,
    ) -> Option<(&'static str, String)> {
        const OTHER_NAME: &str =
            "It is left alone; choose another name with the annotation crossplane.io/external-name";
        let place = [host.uuid(), record[0], record[1]].map(str::to_owned);
        if *taken || self.is_given(object.uid(), &place) {
            return Some(("ForeignObject", format!("{said}. {OTHER_NAME}, or delete that object")));
        }
        let line = format!("{}/{name}", word::<K>());
        let policy = self.cluster.host_spec(config).and_then(|spec| spec.policy?.adopt).unwrap_or_default();
        let allowed = policy.iter().any(|pattern| fits(pattern, &line));
        if !Self::asks(*object) {
            let policy = format!(" and the line {line} in spec.policy.adopt of {config}");
            let policy = if allowed { "" } else { &policy };
            let cure = format!("take it over with the annotation {}: \"true\"{policy}", annotation::ADOPT);
            return Some(("ForeignObject", format!("{said}. {OTHER_NAME}, remove it, or {cure}")));
        }
        let asked = format!("{said}. The annotation {} asks to take it over, but", annotation::ADOPT);
        if !allowed {
            let message =
                format!("{asked} {config} does not allow that; it would with the line {line} in its spec.policy.adopt");
            return Some(("AdoptionRefused", message));
        }
        if let Some(mismatch) = mismatch {
            return Some(("AdoptionRefused", format!("{asked} {mismatch}")));
        }
        let is_late = !self.give(object.uid(), place);
        is_late.then(|| {
            (
                "ForeignObject",
                format!("{said}, and another object is taking it over. {OTHER_NAME}, or delete that object"),
            )
        })
    }

    /// Gives something to an object, unless another has got it meanwhile.
    fn give(&self, me: &str, place: Place) -> bool {
        self.given().entry(place).or_insert_with(|| me.to_owned()) == me
    }

    /// Whether something was given to another object. What was given to this one is open again: it has not come to it.
    fn is_given(&self, me: &str, place: &Place) -> bool {
        let mut given = self.given();
        given.retain(|_, uid| uid != me);
        given.contains_key(place)
    }

    /// The object is gone.
    pub fn forget(&self, uid: &str) {
        self.given().retain(|_, owner| owner != uid);
        self.claims.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// The word for a kind, as policies say it.
fn word<K: Managed>() -> String {
    K::kind(&()).to_lowercase()
}
/// That something of this name is there and is not ours, and whose it is.
pub fn not_ours(what: &str, name: &str, owner: Option<&Owner>, me: &Owner) -> String {
    let whose = match owner {
        None => "it was not made by this provider".to_owned(),
        Some(owner) if owner.uid == me.uid => {
            "it bears this object's mark, but neither its UID nor a record of it".to_owned()
        }
        Some(owner) if owner.is_earlier_life_of(me) => {
            format!("it was made for an earlier {} of this name (UID {})", owner.kind, owner.uid)
        }
        Some(owner) => format!("it belongs to {} {}/{} (UID {})", owner.kind, owner.namespace, owner.name, owner.uid),
    };
    format!("{what} {name:?} is on the host already and is not ours: {whose}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_and_nothing_else_stands_for_others() {
        let table = [
            ("domain/web-1", "domain/web-1", true),
            ("domain/web-1", "domain/web-10", false),
            ("domain/web-*", "domain/web-", true),
            ("domain/web-*", "domain/web-1", true),
            ("domain/web-*", "domain/db-1", false),
            ("domain/web-*", "volume/web-1", false),
            ("volume/*", "volume/any.thing", true),
            ("volume/*.img", "volume/a.img", true),
            ("volume/*.img", "volume/.im", false),
            ("volume/a*a", "volume/a", false),
            ("volume/a*b*c", "volume/a-b-b-c", true),
            ("volume/a*b*c", "volume/a-c-b", false),
            ("volume/a**c", "volume/ac", true),
            ("volume/a.c", "volume/abc", false),
            ("volume/a?c", "volume/abc", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn whose_something_is_is_said_as_far_as_its_mark_tells() {
        let owner = |name: &str, uid: &str| Owner {
            kind: "Domain".to_owned(),
            namespace: "n".to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
        };
        let me = owner("web", "2");
        let said = |mark: Option<Owner>| not_ours("domain", "web", mark.as_ref(), &me);
        let here = |whose: &str| format!("domain \"web\" is on the host already and is not ours: {whose}");
        assert_eq!(said(None), here("it was not made by this provider"));
        assert_eq!(said(Some(owner("web", "1"))), here("it was made for an earlier Domain of this name (UID 1)"));
        assert_eq!(said(Some(owner("db", "3"))), here("it belongs to Domain n/db (UID 3)"));
        assert_eq!(
            said(Some(owner("web", "2"))),
            here("it bears this object's mark, but neither its UID nor a record of it")
        );
    }
}
