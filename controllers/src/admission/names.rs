//! Things that an object names by their names on the host, and what can be said of them without asking the host.

use std::sync::Arc;

use apis::{Managed, Volume, managed::annotation, placement::ConfigId};

use super::{Admission, Findings};
use crate::{
    cluster::Shelf,
    instance::shown,
    references::{POOL, Plain, ReferentKind, Refers},
};

impl Admission<'_> {
    /// A name means whatever the object's own host has of that name, so it leads to no other host. Said is what nobody can look up.
    pub(super) fn names<K: Refers>(&self, object: &K, ours: Option<&ConfigId>, findings: &mut Findings) {
        let own = object.meta().namespace.as_deref().unwrap_or_default();
        for plain in K::plain(object.effective().parameters()) {
            let Plain { ref path, kind, pool, name } = plain;
            if let Some(odd) = [Some(name), pool].into_iter().flatten().find(|text| is_path_or_url(text)) {
                findings.warn(path_risk(path, odd));
                continue;
            }
            let Some(ours) = ours else { continue };
            let bearers = self.bearers(own, &plain);
            if bearers.iter().any(|config| config.as_ref().is_none_or(|config| config == ours)) {
                continue;
            }
            let kind = kind.as_str();
            let (config, known) = match bearers.into_iter().flatten().next() {
                Some(other) => {
                    let known = format!("the {kind} of that name is on providerConfig {}", shown(&other, ours));
                    (shown(ours, &other), known)
                }
                None => (ours.name.clone(), format!("no {kind} of namespace {own} stands for it")),
            };
            findings.warn(format!("{path}: whether providerConfig {config} has {name} is not checked: {known}"));
        }
        if object.annotation(annotation::EXTERNAL_NAME).is_some_and(is_path_or_url) {
            findings.warn(path_risk(annotation::EXTERNAL_NAME, object.external_name()));
        }
    }

    /// Where the objects of a namespace are that stand for something of this name on a host; None for one of which it cannot be told.
    fn bearers(&self, namespace: &str, plain: &Plain<'_>) -> Vec<Option<ConfigId>> {
        let cluster = self.cluster;
        match plain.kind {
            ReferentKind::Volume => self.named(&cluster.volumes, namespace, plain.name, |volume| {
                self.pool_of(volume).is_none_or(|pool| Some(pool.as_str()) == plain.pool)
            }),
            ReferentKind::Pool => self.named(&cluster.pools, namespace, plain.name, |_| true),
            ReferentKind::CloudInit => self.named(&cluster.cloud_inits, namespace, plain.name, |_| true),
            ReferentKind::Network => self.named(&cluster.networks, namespace, plain.name, |_| true),
        }
    }

    fn named<K: Refers>(
        &self,
        shelf: &Shelf<K>,
        namespace: &str,
        name: &str,
        fits: impl Fn(&K) -> bool,
    ) -> Vec<Option<ConfigId>> {
        let all = shelf.store.state();
        let is_it = |object: &&Arc<K>| {
            object.external_name() == name && object.meta().namespace.as_deref() == Some(namespace) && fits(object)
        };
        all.iter().filter(is_it).map(|object| self.whereabouts(&**object).on()).collect()
    }

    /// The name on the host of the pool that a Volume is in, as far as it is known.
    fn pool_of(&self, volume: &Volume) -> Option<String> {
        let seen = volume.observation().and_then(|seen| seen.pool.clone());
        seen.or_else(|| volume.effective().parameters().pool.clone()).or_else(|| {
            let pool = self.cluster.links(volume).referent(POOL)?;
            Some(self.cluster.pools.get(&pool.namespace, &pool.name)?.external_name().to_owned())
        })
    }
}

fn is_path_or_url(text: &str) -> bool {
    text.starts_with('/') || text.contains("://")
}

fn path_risk(field: &str, text: &str) -> String {
    // A warning may be cut off after 256 characters.
    let shown: String = text.chars().take(80).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!(
        "{field}: {shown}{more} is a path or URL, which is not checked: another libvirt instance may have something else there"
    )
}
