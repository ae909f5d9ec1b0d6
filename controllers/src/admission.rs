//! What is said of an object before it is stored: refused, admitted, or admitted with warnings. Pure: from the object and what the
//! watches have shown, without a look at any host.
//!
//! ```text
//! object ──whereabouts──▶ its config ─┐
//!    └──links──▶ referents ──whereabouts──▶ theirs ──instance::apart──▶ Denied
//! ```
//!
//! A refusal needs proof: both sides are there and say different hosts. What is missing may come later in whatever order it is applied,
//! so it is a warning; a pass waits for it and then enforces the same rule.

mod devices;
mod encrypted;
mod moved;
mod names;
mod whereabouts;

use std::sync::Arc;

use apis::{
    CloudInit, Domain, Managed, Network, Pool, Volume,
    managed::{ProviderConfigReference, annotation},
    placement::{ConfigId, has_finalizer, was_placed},
};
use managed::{plan::Policies, usage::Shown};

use crate::{
    cluster::{Cluster, declared},
    index::{Referrer, ReferrerKind},
    instance::{apart, beyond, word},
    links::Led,
    references::{Referent, ReferentKind, Refers},
};
pub(crate) use moved::{moved, puts_back, torn};
use whereabouts::Where;

/// What is said of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is nothing to say.
    Allowed,
    /// It may be stored, and this is to be known.
    Warned(Vec<String>),
    /// It may not be stored, and why.
    Denied(String),
}

impl Verdict {
    /// The same without a refusal: why there would have been one is told.
    pub(crate) fn mild(self) -> Self {
        match self {
            Self::Denied(why) => Self::Warned(vec![why]),
            other => other,
        }
    }
}

/// What is known beside the object.
#[derive(Clone, Copy)]
pub struct Admission<'a> {
    /// What the watches have shown.
    pub cluster: &'a Cluster,
    /// The config of objects that name none.
    pub default: Option<&'a ProviderConfigReference>,
}

/// A kind that is reviewed.
pub trait Reviewable: Refers {
    /// What is said of objects of this kind beside what is said of all.
    fn further(&self, _: &Admission<'_>, _config: Option<&ConfigId>, _: &mut Findings) {}
}

impl Reviewable for Domain {
    fn further(&self, admission: &Admission<'_>, config: Option<&ConfigId>, findings: &mut Findings) {
        admission.disks(self, config, findings);
        admission.reach(self, config, findings);
        admission.addresses(self, config, findings);
        admission.kept_addresses(self, findings);
        admission.possible(self, config, findings);
    }
}

impl Reviewable for Volume {
    fn further(&self, admission: &Admission<'_>, _: Option<&ConfigId>, findings: &mut Findings) {
        admission.readable(self, findings);
    }
}

impl Reviewable for Pool {
    fn further(&self, admission: &Admission<'_>, config: Option<&ConfigId>, findings: &mut Findings) {
        admission.pool_reach(self, config, findings);
    }
}

impl Reviewable for CloudInit {}

impl Reviewable for Network {
    fn further(&self, admission: &Admission<'_>, config: Option<&ConfigId>, findings: &mut Findings) {
        admission.network_reach(self, config, findings);
    }
}

/// How many warnings are given about those that refer to an object.
const TOLD: usize = 8;

/// What speaks against an object, and what else is to be said.
#[derive(Debug, Default)]
pub struct Findings {
    denials: Vec<String>,
    warnings: Vec<String>,
}

impl Findings {
    fn deny(&mut self, why: String) {
        if !self.denials.contains(&why) {
            self.denials.push(why);
        }
    }

    fn warn(&mut self, what: String) {
        if !self.warnings.contains(&what) {
            self.warnings.push(what);
        }
    }

    fn verdict(self) -> Verdict {
        let Self { denials, warnings } = self;
        match (denials.as_slice(), warnings.as_slice()) {
            ([], []) => Verdict::Allowed,
            ([], _) => Verdict::Warned(warnings),
            (denials, _) => Verdict::Denied(denials.join("; ")),
        }
    }
}

impl Admission<'_> {
    /// What is said of an object that is to be stored like this. One that is being deleted may always change.
    pub fn review<K: Reviewable>(&self, object: &K) -> Verdict {
        let mut findings = Findings::default();
        if object.meta().deletion_timestamp.is_none() {
            match torn(object) {
                Some(why) => findings.deny(why),
                None => self.look_through(object, None, &mut findings),
            }
        }
        findings.verdict()
    }

    /// Why a change may not be stored, if so: the object would be on another host after it. One that names a config that is not there is
    /// nowhere yet, and the record of one that is somewhere may be put right.
    pub fn moves<K: Managed>(&self, old: &K, new: &K) -> Option<String> {
        let is_somewhere =
            || was_placed(old) || declared(old).is_none_or(|config| self.cluster.host_spec(&config).is_some());
        let is_back = || {
            let namespace = new.meta().namespace.as_deref().unwrap_or_default();
            self.cluster.users.held(namespace, new.uid()).is_some_and(|on| puts_back(old, new, &on))
        };
        moved(old, new).filter(|_| is_somewhere() && !is_back())
    }

    /// What is said of a change of an object.
    pub fn change<K: Reviewable>(&self, old: &K, new: &K) -> Verdict {
        let mut findings = Findings::default();
        if new.meta().deletion_timestamp.is_none() {
            match self.moves(old, new) {
                // What it refers to is a question only where it stays.
                Some(why) => findings.deny(why),
                None => self.look_through(new, Some(old), &mut findings),
            }
        }
        findings.verdict()
    }

    /// What is said of a deletion: it is never refused, or namespaces and whole sets could not be deleted. It waits for who needs it.
    pub fn deletion<K: Reviewable>(&self, object: &K) -> Verdict {
        let mut findings = Findings::default();
        // Without Delete in its policies it goes at once, and the thing stays.
        let may_delete = Policies::check(&object.resource().management_policies).is_ok_and(Policies::may_delete);
        if object.meta().deletion_timestamp.is_none()
            && may_delete
            && has_finalizer(object)
            && let Some(used) = self.cluster.in_use(object)
        {
            findings.warn(used.message);
        }
        findings.verdict()
    }

    /// What speaks against an object as it is to be. What spoke against it before keeps nobody from changing something else of it, such
    /// as what becomes of the thing when the object is deleted; it is said, and a pass still refuses it.
    fn look_through<K: Reviewable>(&self, object: &K, old: Option<&K>, findings: &mut Findings) {
        self.look_at(object, findings);
        let Some(old) = old.filter(|_| !findings.denials.is_empty()) else { return };
        let mut before = Findings::default();
        self.look_at(old, &mut before);
        for why in std::mem::take(&mut findings.denials) {
            if before.denials.contains(&why) { findings.warn(why) } else { findings.deny(why) }
        }
    }

    fn look_at<K: Reviewable>(&self, object: &K, findings: &mut Findings) {
        let config = self.at(object, findings);
        self.referents(object, config.as_ref(), findings);
        self.names(object, config.as_ref(), findings);
        self.referrers(object, config.as_ref(), findings);
        object.further(self, config.as_ref(), findings);
        labelled(object, findings);
    }

    /// The config of the object, as far as it can be told.
    fn at<K: Refers>(&self, object: &K, findings: &mut Findings) -> Option<ConfigId> {
        match self.whereabouts(object) {
            Where::On(config) => {
                if !self.cluster.all_configs().contains(&config) {
                    findings.warn(format!("there is no {config} yet: the {} waits for it", word(&K::kind(&()))));
                }
                Some(config)
            }
            Where::Open => None,
            Where::Nowhere(why) => {
                findings.warn(why);
                None
            }
            Where::Torn(why) => {
                findings.deny(why);
                None
            }
        }
    }

    /// Everything that the object refers to must be on its host.
    fn referents<K: Refers>(&self, object: &K, ours: Option<&ConfigId>, findings: &mut Findings) {
        let referrer = word(&K::kind(&()));
        for Led { path, to, optional } in self.cluster.links(object).all() {
            let then = if optional { "is made without it until then" } else { "waits for it" };
            let referent = match to {
                Ok(referent) => referent,
                Err(selector) => {
                    findings.warn(format!("{path}: there is no {selector} yet; the {referrer} {then}"));
                    continue;
                }
            };
            let what = format!("{} {}", word(referent.kind.as_str()), referent.name);
            let Some(seen) = self.seen(referent) else {
                let namespace = &referent.namespace;
                findings
                    .warn(format!("{path}: there is no {what} in namespace {namespace} yet; the {referrer} {then}"));
                continue;
            };
            let clash = seen.config.and_then(|theirs| match ours {
                Some(ours) => apart(referent, &theirs, &referrer, ours),
                None => beyond(object, referent, &theirs),
            });
            if let Some(clash) = clash {
                findings.deny(clash);
            } else if seen.leaving {
                findings.warn(format!("{path}: {what} is being deleted; nothing new is made with it"));
            }
        }
    }

    /// Those of the namespace that refer to the object already and are on other hosts. It is their reference that is wrong, and a pass
    /// refuses it; this object is admitted, or else what refers to it first could keep it away.
    fn referrers<K: Refers>(&self, object: &K, ours: Option<&ConfigId>, findings: &mut Findings) {
        let (Some(referent), Some(ours)) = (object.as_referent(), ours) else { return };
        for referrer in self.cluster.index.referrers(&referent) {
            if referrer.namespace != referent.namespace {
                continue;
            }
            let Some(theirs) = self.of_referrer(&referrer) else { continue };
            let who = format!("{} {}", word(referrer.kind.as_str()), referrer.name);
            if let Some(clash) = apart(&referent, ours, &who, &theirs) {
                findings.warn(clash);
            }
            // The API server cuts off what is too long, and nobody reads a thousand names.
            if findings.warnings.len() >= TOLD {
                findings.warn(format!(
                    "more may refer to {} {} from other instances",
                    word(referent.kind.as_str()),
                    referent.name
                ));
                break;
            }
        }
    }

    fn of_referrer(&self, Referrer { kind, namespace, name }: &Referrer) -> Option<ConfigId> {
        let cluster = self.cluster;
        match kind {
            ReferrerKind::Domain => self.whereabouts(&*cluster.domains.get(namespace, name)?).on(),
            ReferrerKind::Volume => self.whereabouts(&*cluster.volumes.get(namespace, name)?).on(),
            ReferrerKind::CloudInit => self.whereabouts(&*cluster.cloud_inits.get(namespace, name)?).on(),
        }
    }

    /// What is known of a referent; None where there is none.
    fn seen(&self, referent: &Referent) -> Option<Seen> {
        self.seen_at(referent, whereabouts::DEPTH)
    }

    fn seen_at(&self, Referent { kind, namespace, name }: &Referent, depth: u8) -> Option<Seen> {
        let cluster = self.cluster;
        match kind {
            ReferentKind::Volume => cluster.volumes.get(namespace, name).map(|object| self.look(&object, depth)),
            ReferentKind::Pool => cluster.pools.get(namespace, name).map(|object| self.look(&object, depth)),
            ReferentKind::CloudInit => cluster.cloud_inits.get(namespace, name).map(|object| self.look(&object, depth)),
            ReferentKind::Network => cluster.networks.get(namespace, name).map(|object| self.look(&object, depth)),
        }
    }

    fn look<K: Refers>(&self, object: &Arc<K>, depth: u8) -> Seen {
        let leaving = object.meta().deletion_timestamp.is_some();
        Seen { config: self.whereabouts_at(&**object, depth).on(), leaving }
    }
}

/// What is known of a referent.
struct Seen {
    config: Option<ConfigId>,
    leaving: bool,
}

/// Who looks for the objects of a host looks by this label. The provider sets it, but only once the object is placed, and changes none.
fn labelled<K: Managed>(object: &K, findings: &mut Findings) {
    let label = object.meta().labels.as_ref().and_then(|labels| labels.get(annotation::INSTANCE_LABEL));
    let what = word(&K::kind(&()));
    let Some(label) = label else {
        return findings.warn(format!(
            "no label {}: until the provider sets it, nobody can tell by labels which libvirt instance the {what} is on",
            annotation::INSTANCE_LABEL,
        ));
    };
    let said = object.resource().provider_config_ref.as_ref().filter(|said| said.name != *label);
    if let Some(ProviderConfigReference { kind, name }) = said {
        findings.warn(format!(
            "the label {} says {label}, but the {what} uses {} {name}: who looks by labels is misled",
            annotation::INSTANCE_LABEL,
            kind.as_str(),
        ));
    }
}
