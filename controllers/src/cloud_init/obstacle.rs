//! What stands in the way of a seed: a volume that is not the object's.

use apis::{Managed, managed::annotation};
use libvirt::{Connection, Description, absent, mirror::VolumeEntry, xml::Element};
use managed::external::Pass;

use super::{CloudInits, Referents};
use crate::{
    adopt::{Adoption, Asking, Obstacle, Stranger},
    applied,
    hosts::{Site, owner},
    located::{Wanted, locate},
    storage,
};

/// What a seed takes at the most: its files are a few kilobytes, and tools round up to a megabyte or so.
const SEED_MAX: u64 = 16 << 20;

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
        let Some(volume) = volume else { return Ok(None) };
        let mismatch = mismatch(pass.host, &owner(pass.object), &referents.pool, &volume).await?;
        let mut pools = storage::twins(pass.host, &referents.pool, &volume).await?;
        pools.insert(0, uuid);
        Ok(Some(self.stranger(pass, referents, (&pools, &volume), mismatch)))
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

    /// What is to be done about a volume that is not the object's, by the UUIDs of the pools that show it, its own first. A seed that is taken over stays as it is until its object says
    /// something else: nobody looks into it.
    fn stranger(
        &self,
        pass: &Pass<'_, Self>,
        referents: &Referents,
        (pools, volume): (&[String], &str),
        mismatch: Option<String>,
    ) -> Obstacle {
        let claimant = pools.iter().find_map(|pool| self.adoption.claimant(pass.object.uid(), pass.host, pool, volume));
        let uuid = pools.first().map_or("", String::as_str);
        let stranger = Stranger {
            name: volume,
            said: storage::not_ours(volume, &referents.pool, claimant.as_deref()),
            taken: claimant.is_some(),
            record: [uuid, volume],
            mismatch,
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

/// Why a volume is surely no seed: it would be deleted when its object says something else, and what is on it with it.
async fn mismatch(host: &Site, owner: &str, pool: &str, volume: &str) -> anyhow::Result<Option<String>> {
    let entry = storage::look(host, owner, pool, volume).await?;
    let Some(description) = entry.description() else { return Ok(None) };
    if let Some(mismatch) = no_seed(description) {
        return Ok(Some(mismatch));
    }
    let path = description.text_at("target/path").unwrap_or_default().to_owned();
    let (of, called) = (pool.to_owned(), volume.to_owned());
    let look = move |host: &Connection| user(host, &of, &called, &path);
    let user = host.short(&format!("{pool}/{volume}"), look).await?;
    Ok(user.map(|user| format!("it is no seed: {user}")))
}

/// Why a volume is no seed, by its description.
fn no_seed(description: &Element) -> Option<String> {
    let format = description.attr_at("target/format@type").unwrap_or_default();
    if !["raw", "iso"].contains(&format) {
        return Some(format!("it is no seed: its format is {format}, and that of a seed is iso or raw"));
    }
    let size = storage::bytes(description, "capacity");
    (size > SEED_MAX).then(|| format!("it is no seed: it has {size} bytes, and a seed has at most {SEED_MAX}"))
}

/// Who on the host has the volume as something else than a CD-ROM.
fn user(host: &Connection, pool: &str, volume: &str, path: &str) -> Result<Option<String>, libvirt::Error> {
    let is_it = |disk: &Element| {
        let file = disk.attr_at("source@file").or_else(|| disk.attr_at("source@dev"));
        file.is_some_and(|file| storage::is_same_path(file, path))
            || (disk.attr_at("source@pool"), disk.attr_at("source@volume")) == (Some(pool), Some(volume))
    };
    for listed in host.list_domains()? {
        for which in [Description::Inactive, Description::Live] {
            let Some(text) = absent(listed.domain.describe(which))? else { continue };
            let text = Element::parse(&text).map_err(|error| libvirt::Error::other(error.to_string()))?;
            let disks = text.find_all("devices/disk");
            if disks.into_iter().any(|disk| disk.get("device") != Some("cdrom") && is_it(disk)) {
                return Ok(Some(format!("domain {} on the host has it as a disk", listed.domain.name()?)));
            }
        }
    }
    let above = host.backings()?.into_iter().find(|backing| storage::is_same_path(&backing.path, path));
    Ok(above.map(|above| format!("volume {} in pool {} stands on it", above.volume, above.pool)))
}
