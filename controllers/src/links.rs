//! From the fields of an object that name others to the objects themselves.

use std::{borrow::Cow, collections::BTreeMap, error::Error, fmt, sync::Arc};

use apis::{
    Managed,
    condition::{self, Type},
    placement::ConfigId,
    reference::{Policy, Selector},
};
use managed::creation::Creation;

use crate::{
    cluster::{Cluster, Shelf, declared},
    instance,
    references::{By, Choices, Referent, ReferentKind, Refers, Want, chosen, is_disk, is_made, recorded, written},
    select,
};

/// What the fields of an object lead to.
#[derive(Debug, Default)]
pub struct Links {
    /// The namespace of the object itself.
    own: String,
    fields: BTreeMap<Cow<'static, str>, Link>,
    /// What selectors chose once that count no more, for what was made by them.
    remembered: Choices,
}

/// What a field leads to.
#[derive(Debug)]
struct Link {
    /// None where a selector matches nothing.
    referent: Option<Referent>,
    /// What a selector chose earlier.
    before: Option<Referent>,
    /// The selector, in words.
    selector: Option<String>,
    optional: bool,
}

/// What a field leads to, as others are told.
#[derive(Clone, Copy, Debug)]
pub struct Led<'a> {
    /// The field.
    pub path: &'a str,
    /// The object; else, in words, what its selector asks for and nothing matches.
    pub to: Result<&'a Referent, &'a str>,
    /// Whether it may do without the object.
    pub optional: bool,
}

impl Cluster {
    /// What the fields of an object lead to, without a look at what is there by name.
    pub fn links<K: Refers>(&self, object: &K) -> Links {
        self.links_of(object, &object.effective())
    }

    /// The same for an object with these fields.
    pub(crate) fn links_of<K: Refers>(&self, object: &K, whole: &K) -> Links {
        let (mut wants, held) = (K::wants(whole.parameters()), object.held());
        wants.retain(|want| !object.is_done_with(want));
        let own = object.meta().namespace.as_deref().unwrap_or_default();
        let selects = |want: &Want<'_>| matches!(want.by, By::Labels(_));
        let held: Vec<_> = K::wants(held.parameters()).into_iter().filter(selects).map(|want| want.path).collect();
        let chooses = !held.is_empty() || wants.iter().any(selects);
        let mut recorded = if chooses { recorded(object) } else { Choices::new() };
        let mut fields = BTreeMap::new();
        for want in wants {
            let referent = |(namespace, name): (&str, &str)| Referent {
                kind: want.kind,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            };
            let before = recorded.remove(want.path.as_ref()).map(|choice| referent(chosen(&choice, own)));
            let (referent, selector) = match want.by {
                By::Name(reference) => (Some(referent((want.namespace(own), &reference.name))), None),
                By::Labels(selector) => {
                    let namespace = want.namespace(own);
                    let choice = self.choice(object, &want, selector, before.as_ref());
                    (
                        choice,
                        Some(format!(
                            "{} in namespace {namespace} with {}",
                            want.kind.as_str(),
                            select::shown(selector)
                        )),
                    )
                }
            };
            let optional = Policy::is_optional(want.policy());
            fields.insert(want.path, Link { referent, before, selector, optional });
        }
        recorded.retain(|path, _| held.iter().any(|held| held == path));
        Links { own: own.to_owned(), fields, remembered: recorded }
    }

    /// What a selector chose before, for as long as it counts; else what it chooses now.
    fn choice<K: Refers>(
        &self,
        object: &K,
        want: &Want<'_>,
        selector: &Selector,
        before: Option<&Referent>,
    ) -> Option<Referent> {
        let namespace = want.namespace(object.meta().namespace.as_deref().unwrap_or_default());
        // Data does not move: what it was made with counts wherever it is. Else an edited namespace is a new question.
        let counts = |before: &&Referent| {
            let for_good = want.for_good && is_made(object);
            for_good || (!want.is_chosen_anew() && before.namespace == namespace && self.has(before))
        };
        if let Some(before) = before.filter(counts) {
            return Some(before.clone());
        }
        let name = match want.kind {
            ReferentKind::Volume => first(&self.volumes, object, selector, namespace),
            ReferentKind::Pool => first(&self.pools, object, selector, namespace),
            ReferentKind::CloudInit => first(&self.cloud_inits, object, selector, namespace),
            ReferentKind::Network => first(&self.networks, object, selector, namespace),
        };
        name.map(|name| Referent { kind: want.kind, namespace: namespace.to_owned(), name })
    }

    fn has(&self, Referent { kind, namespace, name }: &Referent) -> bool {
        match kind {
            ReferentKind::Volume => self.volumes.get(namespace, name).is_some(),
            ReferentKind::Pool => self.pools.get(namespace, name).is_some(),
            ReferentKind::CloudInit => self.cloud_inits.get(namespace, name).is_some(),
            ReferentKind::Network => self.networks.get(namespace, name).is_some(),
        }
    }
}

fn first<K: Refers, R: Managed>(shelf: &Shelf<R>, object: &K, selector: &Selector, namespace: &str) -> Option<String> {
    let all = shelf.store.state();
    let others = all.iter().filter(|other| other.uid() != object.uid());
    let candidates = others.map(|other| other.meta()).filter(|meta| meta.namespace.as_deref() == Some(namespace));
    select::choose(selector, select::controller(object.meta()), candidates).map(str::to_owned)
}

/// Whether a selector of an object matches this one, or may have until now.
pub fn selects<K: Refers, R: Refers>(object: &K, other: &R, until_now: bool) -> bool {
    let (meta, own) = (other.meta(), object.meta().namespace.as_deref().unwrap_or_default());
    K::wants(object.effective().parameters()).iter().any(|want| match want.by {
        By::Name(_) => false,
        By::Labels(selector) => {
            !object.is_done_with(want)
                && R::AS_REFERENT == Some(want.kind)
                && meta.namespace.as_deref() == Some(want.namespace(own))
                && (until_now || select::matches(selector, select::controller(object.meta()), meta))
        }
    })
}

impl Links {
    /// Whether a field is set.
    pub fn is_set(&self, path: &str) -> bool {
        self.fields.contains_key(path)
    }

    /// What a field leads to; none where it is not set or matches nothing.
    pub fn referent(&self, path: &str) -> Option<Referent> {
        self.fields.get(path)?.referent.clone()
    }

    /// The same with the disks that selectors chose earlier.
    #[must_use]
    pub fn with_former_disks(mut self) -> Self {
        for (_, link) in self.fields.iter_mut().filter(|(path, _)| is_disk(path)) {
            if let Some(before) = &link.before {
                link.referent = Some(before.clone());
            }
        }
        self
    }

    /// Everything the object refers to.
    pub fn referents(&self) -> impl Iterator<Item = Referent> {
        self.fields.values().filter_map(|link| link.referent.clone())
    }

    /// Every field that is set.
    pub fn all(&self) -> impl Iterator<Item = Led<'_>> {
        self.fields.iter().map(|(path, Link { referent, before: _, selector, optional })| Led {
            path,
            to: referent.as_ref().ok_or_else(|| selector.as_deref().unwrap_or_default()),
            optional: *optional,
        })
    }

    /// Whether a field leads to this object, now or by what it chose earlier.
    pub fn leads_to(&self, path: &str, referent: &Referent) -> bool {
        let Some(link) = self.fields.get(path) else { return false };
        [&link.referent, &link.before].into_iter().flatten().any(|led| led == referent)
    }

    /// What selectors chose.
    pub fn choices(&self) -> Choices {
        let chosen = self.fields.iter().filter(|(_, link)| link.selector.is_some());
        let text = |referent: &Referent| written(&referent.namespace, &referent.name, &self.own);
        let chosen = chosen.filter_map(|(path, link)| Some((path.to_string(), text(link.referent.as_ref()?))));
        self.remembered.clone().into_iter().chain(chosen).collect()
    }

    /// The object that a field leads to, once it is ready. None where the field is not set, or may do without an object that is not there.
    pub fn find<K: Managed>(&self, shelf: &Shelf<K>, asker: &Asker<'_>, path: &str) -> Result<Option<Arc<K>>, Lack> {
        let Some(link) = self.fields.get(path) else { return Ok(None) };
        let found = match &link.referent {
            Some(referent) => ready(shelf, asker, referent),
            None => Err(Lack::Absent(format!(
                "no resources matched selector: {path} waits for a {}",
                link.selector.as_deref().unwrap_or_default()
            ))),
        };
        match found {
            Err(Lack::Absent(_)) if link.optional => Ok(None),
            found => found.map(Some),
        }
    }
}

/// Why an object cannot be used that another one refers to.
#[derive(Debug, PartialEq, Eq)]
pub enum Lack {
    /// It is not there, or has nothing to tell yet. A field that may do without it does.
    Absent(String),
    /// It is there, and is waited for.
    Unfit(String),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(why) | Self::Unfit(why) => f.write_str(why),
        }
    }
}

impl Error for Lack {}

/// Who asks for a referent.
#[derive(Clone, Debug)]
pub struct Asker<'a> {
    /// The word for its kind in messages.
    pub word: String,
    /// The config of its host, which must be the referent's as well.
    pub config: &'a ConfigId,
    /// Whether it is on the host already, or on its way there. It is kept true there also while a referent waits to be deleted after it.
    pub made: bool,
}

impl<'a> Asker<'a> {
    /// An object on its host.
    pub fn of<K: Managed>(object: &K, config: &'a ConfigId) -> Self {
        let made = is_made(object) || Creation::of(object) == Creation::Open;
        Self { word: instance::word(&K::kind(&())), config, made }
    }
}

/// What crossplane-runtime says of a referent that has nothing to tell.
pub const EMPTY: &str = "referenced field was empty (referenced resource may not yet be ready)";

/// A referent that is there, on the same host, and Ready; else what is waited for.
pub fn ready<K: Managed>(shelf: &Shelf<K>, asker: &Asker<'_>, referent: &Referent) -> Result<Arc<K>, Lack> {
    let Asker { word, config, made } = asker;
    let Referent { kind, namespace, name } = referent;
    let kind = kind.as_str();
    let Some(object) = shelf.get(namespace, name) else {
        return Err(Lack::Absent(format!(
            "cannot get referenced resource: waiting for {kind} {name}: there is none in namespace {namespace}"
        )));
    };
    if let Some(apart) = declared(&*object).and_then(|host| instance::apart(referent, &host, word, config)) {
        return Err(Lack::Unfit(apart));
    }
    let tells = object.observation().is_some_and(|seen| *seen != K::Observation::default());
    if object.meta().deletion_timestamp.is_some() {
        return if *made && tells {
            Ok(object)
        } else {
            Err(Lack::Absent(format!("waiting for {kind} {name}: it is being deleted")))
        };
    }
    if condition::is_true(object.conditions(), Type::Ready) {
        return Ok(object);
    }
    // What has been there and is not Ready at the moment is not taken for absent: a guest would lose its disk.
    let waiting = format!("waiting for {kind} {name}: it is not Ready");
    Err(if tells { Lack::Unfit(waiting) } else { Lack::Absent(format!("{EMPTY}: {waiting}")) })
}
