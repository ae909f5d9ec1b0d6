//! Which host has a domain already whose object names none and follows nothing: it counts only where every host says so.

use std::time::Duration;

use anyhow::Context as _;
use apis::{Domain, Managed as _, managed::annotation, placement::ConfigId};
use futures::future::join_all;
use libvirt::mirror::DomainEntry;

use super::Domains;
use crate::{adopt::Adoption, mark};

/// How long each host has to tell.
const SOON: Duration = Duration::from_secs(5);

/// Why a config's host says nothing, without the config's own name before it.
fn told(config: ConfigId, error: &anyhow::Error) -> (ConfigId, String) {
    let why = format!("{error:#}");
    let why = why.strip_prefix(&format!("{config}: ")).unwrap_or(&why).to_owned();
    (config, why)
}

impl Domains {
    /// The one config on whose host the object's domain is. The error is a sentence for the user.
    pub(super) async fn seek(&self, object: &Domain) -> Result<Option<ConfigId>, String> {
        if !self.connector.is_open(object, self.cluster.neighbours(object)) {
            return Ok(None);
        }
        let configs = self.cluster.configs_for(object.metadata.namespace.as_deref().unwrap_or_default());
        let looks = configs.iter().map(|config| tokio::time::timeout(SOON, self.has(object, config)));
        let answers = join_all(looks).await;
        let (mut having, mut silent) = (Vec::new(), None);
        for (config, answer) in configs.into_iter().zip(answers) {
            match answer {
                Ok(Ok(true)) => having.push(config),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => silent = silent.or_else(|| Some(told(config, &error))),
                Err(_) => {
                    silent = silent.or_else(|| Some((config, format!("no answer within {} s", SOON.as_secs()))));
                }
            }
        }
        let cure = format!("set spec.providerConfigRef or the annotation {}", annotation::PLACEMENT);
        match (silent, having.as_slice()) {
            (_, [first, second, ..]) => {
                Err(format!("cannot determine placement: the domain is on {first} and on {second}; {cure}"))
            }
            (Some((config, why)), _) => Err(format!(
                "cannot determine placement: {config} cannot be asked whether it has the domain ({why}); bring it back, or {cure}"
            )),
            (None, [config]) => Ok(Some(config.clone())),
            (None, []) => Ok(None),
        }
    }

    /// Whether a host has the object's domain, as it says now: by UUID or mark, or, where it is to be taken over, by name.
    async fn has(&self, object: &Domain, config: &ConfigId) -> anyhow::Result<bool> {
        let host = self.connector.reach(config, 2 * SOON).await?;
        let (uuids, name) = (self.adoption.identities(object), object.external_name().to_owned());
        // Where nothing is found nothing is made, so what is known of the host is enough to say so.
        let known = host.mirror();
        if known.domain_by_name(&name).is_none() && uuids.iter().all(|uuid| known.domain(uuid).is_none()) {
            return Ok(false);
        }
        let (me, takes) = (mark::Owner::of(object), Adoption::asks(object));
        let is_its_own = move |entry: &DomainEntry| {
            let description = entry.inactive.as_ref().or(entry.live.as_ref());
            let marked = description.and_then(|description| mark::owner(description));
            takes || marked.is_some_and(|owner| (&owner.namespace, &owner.name) == (&me.namespace, &me.name))
        };
        let look = move |host: &libvirt::Connection| {
            for uuid in &uuids {
                if host.read_domain(uuid)?.is_some() {
                    return Ok(true);
                }
            }
            Ok(host.read_domain(&name)?.is_some_and(|entry| is_its_own(&entry)))
        };
        host.short(object.uid(), look).await.context("look for the domain")
    }
}
