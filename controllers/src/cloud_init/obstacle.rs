//! What stands in the way of a seed: a volume that is not the object's.

use apis::{Managed, managed::annotation};
use libvirt::mirror::VolumeEntry;
use managed::external::Pass;

use super::{CloudInits, Referents};
use crate::{
    adopt::{Adoption, Asking, Obstacle, Stranger},
    applied,
    hosts::owner,
    located::{Wanted, locate},
    storage,
};

impl CloudInits {
    /// What stands in the way of a first seed: the volume of others that the object looked at until now, or is to take over. It is no
    /// seed of ours by any record, and making one beside it is not what is asked for.
    pub(super) async fn obstacle(
        &self,
        pass: &Pass<'_, Self>,
        referents: &Referents,
        entry: &VolumeEntry,
    ) -> anyhow::Result<Option<Obstacle>> {
        let Some(uuid) = pass.host.pool_uuid(&referents.pool).filter(|_| !pass.policies.only_observes()) else {
            return Ok(None);
        };
        if self.ours(pass, Some(&uuid)).contains(&referents.volume) {
            return Ok(None);
        }
        let there = || entry.description().map(|_| referents.volume.clone());
        let volume = if storage::records(pass.object, &self.key).is_empty() {
            self.theirs(pass, referents).await?.or_else(there)
        } else {
            // Another volume of the object's own would be forgotten for this one.
            return Ok(there().map(|name| Obstacle::Refused(storage::foreign_volume(&name, &referents.pool))));
        };
        Ok(volume.map(|volume| self.stranger(pass, referents, &uuid, &volume)))
    }

    async fn theirs(&self, pass: &Pass<'_, Self>, referents: &Referents) -> anyhow::Result<Option<String>> {
        if let Some(volume) = pass.object.observation().and_then(|seen| seen.volume.clone()) {
            let entry = storage::look(pass.host, &owner(pass.object), &referents.pool, &volume).await?;
            if entry.description().is_some() {
                return Ok(Some(volume));
            }
        }
        if !Adoption::asks(pass.object) {
            return Ok(None);
        }
        let name = pass.object.external_name().to_owned();
        let wanted = Wanted { pool: Some(referents.pool.clone()), name, seed: true };
        Ok(locate(pass.host, wanted).await?.map(|volume| volume.name))
    }

    /// What is to be done about a volume that is not the object's. A seed that is taken over stays as it is until its object says
    /// something else: nobody looks into it.
    fn stranger(&self, pass: &Pass<'_, Self>, referents: &Referents, uuid: &str, volume: &str) -> Obstacle {
        let claimant = self.adoption.claimant(pass.object.uid(), pass.host, uuid, volume);
        let stranger = Stranger {
            name: volume,
            said: storage::not_ours(volume, &referents.pool, claimant.as_deref()),
            taken: claimant.is_some(),
            record: [uuid, volume],
            mismatch: None,
        };
        let asking = Asking { object: pass.object, config: pass.config, host: pass.host };
        let mut obstacle = self.adoption.decide(&asking, &stranger);
        if let Obstacle::Adoptable(annotations) = &mut obstacle {
            let kept = applied::text(&[referents.content.clone(), volume.to_owned()]);
            annotations.push((annotation::APPLIED, Some(kept)));
        }
        obstacle
    }
}
