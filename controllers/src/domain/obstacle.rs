//! What stands in the way of making a domain: one of its name, or its own somewhere else.

use std::time::Duration;

use apis::{Domain, Managed, managed::annotation, placement::ConfigId};
use libvirt::mirror::DomainEntry;
use managed::{
    creation::was_created,
    external::{Pass, Refusal},
};

use super::{Domains, Surroundings, claim, power::shutoff};
use crate::{
    adopt::{Asking, Obstacle, Stranger, not_ours},
    hosts::Site,
    mark,
};

/// How long other hosts have to tell whether they run a guest that is to be started here.
const SOON: Duration = Duration::from_secs(5);

impl Domains {
    /// Why a domain that is not there cannot simply be made.
    pub(super) async fn obstacle(
        &self,
        pass: &Pass<'_, Self>,
        around: &Surroundings,
    ) -> anyhow::Result<Option<Obstacle>> {
        if let Some(other) = pass.host.mirror().domain_by_name(pass.object.external_name()) {
            let uuid = other.uuid.clone();
            let entry = pass.host.short(&uuid.clone(), move |host| host.read_domain(&uuid)).await?;
            return Ok(entry.map(|entry| self.stranger(pass, around, &entry)));
        }
        if !has_been(pass.object) {
            return Ok(None);
        }
        let elsewhere = self.elsewhere(pass, "made again").await?;
        Ok(elsewhere.or_else(|| self.lost(pass)).map(Obstacle::Refused))
    }

    /// What is to be done about a domain of the object's name that is not the object's.
    fn stranger(&self, pass: &Pass<'_, Self>, around: &Surroundings, entry: &DomainEntry) -> Obstacle {
        let (name, me) = (pass.object.external_name(), mark::Owner::of(pass.object));
        let description = entry.inactive.as_ref().or(entry.live.as_ref());
        let holder = self.adoption.living(&self.cluster.domains, pass.object, pass.host, &entry.uuid);
        let mark = description.and_then(|description| mark::owner(description));
        let is_other = |owner: &mark::Owner| (&owner.namespace, &owner.name) != (&me.namespace, &me.name);
        let marked = mark.as_ref().filter(|owner| is_other(owner));
        let lives = marked.is_some_and(|owner| self.cluster.domains.get(&owner.namespace, &owner.name).is_some());
        let stranger = Stranger {
            name,
            said: not_ours("domain", name, holder.as_ref().or(mark.as_ref()), &me),
            taken: lives || holder.is_some(),
            record: ["domain", &entry.uuid],
            mismatch: description.and_then(|description| claim::mismatch(pass.object, around, description)),
        };
        self.adoption.decide(&Asking { object: pass.object, config: pass.config, host: pass.host }, &stranger)
    }

    /// A domain that was taken over is not made again by itself: what its object says of it may not be all that it was.
    fn lost(&self, pass: &Pass<'_, Self>) -> Option<Refusal> {
        let allowed = pass.object.annotation(annotation::RECREATE) == Some(pass.object.uid());
        let uuid = self.adoption.adopted_anywhere(pass.object).filter(|_| !allowed)?;
        Some(Refusal {
            reason: "Lost",
            message: format!(
                "the domain with UUID {uuid}, which was taken over, is gone; it is not made again by itself, because the spec may not say all that it was. Bring it back, or allow a new one with the annotation {}: {}",
                annotation::RECREATE,
                pass.object.uid()
            ),
        })
    }

    /// A domain that was here once may have moved to another host; `not_yet` is what is not done while that is possible.
    pub(super) async fn elsewhere(&self, pass: &Pass<'_, Self>, not_yet: &str) -> anyhow::Result<Option<Refusal>> {
        for (config, there) in self.others(pass).await {
            match there {
                Ok(Some(_)) => return Ok(Some(moved(&config))),
                Ok(None) => {}
                Err(why) => {
                    return Ok(Some(Refusal {
                        reason: "WhereaboutsUnknown",
                        message: format!(
                            "the domain is not on {}, and {config} cannot be asked whether the guest moved there ({why:#}); it is not {not_yet} before that is known",
                            pass.config
                        ),
                    }));
                }
            }
        }
        Ok(None)
    }

    /// What a guest that is off left here when it moved is neither started nor taken away: its disks are in use where it went. One that
    /// was off when it moved stays here as it was, and a daemon that was started again does not know any more why a guest is off; then
    /// only one that runs on a host that answers soon is believed to have moved.
    pub(super) async fn left_behind(
        &self,
        pass: &Pass<'_, Self>,
        entry: &DomainEntry,
        not_yet: &str,
    ) -> anyhow::Result<Option<Refusal>> {
        if entry.id.is_some() || entry.state.state != libvirt::State::Shutoff {
            return Ok(None);
        }
        match entry.state.reason {
            shutoff::MIGRATED => self.elsewhere(pass, not_yet).await,
            shutoff::UNKNOWN | shutoff::SHUTDOWN | shutoff::SAVED | shutoff::FROM_SNAPSHOT => {
                let others = tokio::time::timeout(SOON, self.others(pass)).await.unwrap_or_default();
                let runs = |there: &Option<DomainEntry>| there.as_ref().is_some_and(|entry| entry.id.is_some());
                let there = others.iter().find(|(_, there)| there.as_ref().is_ok_and(runs));
                Ok(there.map(|(config, _)| moved(config)))
            }
            _ => Ok(None),
        }
    }

    /// What the other hosts that could hold the object's domain have of it, as they say now, or why they do not say it.
    ///
    /// A config of another namespace counts for as long as its host answers. One that leads nowhere is for its own tenants to mend, and
    /// must not hold up everybody else's guests.
    async fn others(&self, pass: &Pass<'_, Self>) -> Vec<(ConfigId, anyhow::Result<Option<DomainEntry>>)> {
        let uuids = self.adoption.identities(pass.object);
        let own = self.cluster.configs_for(pass.object.metadata.namespace.as_deref().unwrap_or_default());
        let mut found = Vec::new();
        for (config, host) in self.connector.others(pass.config).await {
            let there = match host {
                Ok(host) if host.is_same_host(pass.host) => continue,
                Ok(host) => first(&host, &uuids).await,
                Err(error) => Err(error),
            };
            if there.is_ok() || own.contains(&config) {
                found.push((config, there));
            }
        }
        found
    }
}

/// The first of these domains that the host has.
async fn first(host: &Site, uuids: &[String]) -> anyhow::Result<Option<DomainEntry>> {
    for uuid in uuids {
        let of = uuid.clone();
        if let Some(entry) = host.short(uuid, move |host| host.read_domain(&of)).await? {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// Whether the object's domain was there once. Annotations go when an object is replaced; what was seen of the host stays.
pub(super) fn has_been(object: &Domain) -> bool {
    was_created(object) || object.observation().is_some_and(|seen| seen.id.is_some())
}

fn moved(config: &ConfigId) -> Refusal {
    Refusal {
        reason: "Moved",
        message: format!(
            "the guest moved to the host of {config}; nothing is made or deleted. Point a new Domain at that host, or move the guest back"
        ),
    }
}
