//! What stands in the way of making a domain: one of its name, or its own somewhere else.

use apis::{Managed, managed::annotation};
use libvirt::mirror::DomainEntry;
use managed::{
    creation::was_created,
    external::{Pass, Refusal},
};

use super::{Domains, Surroundings, claim};
use crate::{
    adopt::{Asking, Obstacle, Stranger, not_ours},
    mark,
};

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
        if !was_created(pass.object) {
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
        let uuids = self.adoption.identities(pass.object);
        let namespace = pass.object.metadata.namespace.as_deref().unwrap_or_default();
        for (config, host) in self.connector.others(pass.config, namespace).await {
            let unknown = |why: &dyn std::fmt::Display| Refusal {
                reason: "WhereaboutsUnknown",
                message: format!(
                    "the domain is not on {}, and {config} cannot be asked whether the guest moved there ({why}); it is not {not_yet} before that is known",
                    pass.config
                ),
            };
            let host = match host {
                Ok(host) => host,
                Err(error) => return Ok(Some(unknown(&format!("{error:#}")))),
            };
            if host.is_same_host(pass.host) {
                continue;
            }
            if uuids.iter().any(|uuid| host.mirror().domain(uuid).is_some()) {
                return Ok(Some(Refusal {
                    reason: "Moved",
                    message: format!(
                        "the guest moved to the host of {config}; nothing is made or deleted. Point a new Domain at that host, or move the guest back"
                    ),
                }));
            }
        }
        Ok(None)
    }
}
