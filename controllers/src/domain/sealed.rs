//! Encrypted volumes as disks: the host knows their passphrases, so whoever could name one would open it. Only the object that has a
//! volume gives it to guests.

use apis::{Domain, Managed, Volume, managed::annotation};
use managed::external::{Pass, Refusal};

use super::{Domains, Surroundings};
use crate::{
    hosts::Site,
    links::{Asker, Links},
    ownership::Record,
    references::disk_path,
};

impl Domains {
    /// Refuses a disk that is an encrypted volume which its object only looks at.
    pub(super) fn check_opened(
        &self,
        pass: &Pass<'_, Self>,
        whole: &Domain,
        links: &Links,
        around: &Surroundings,
    ) -> anyhow::Result<()> {
        if pass.policies.only_observes() {
            return Ok(());
        }
        let asker = Asker::of(pass.object, pass.config);
        let is_sealed = |name: &str| around.media.get(name).is_some_and(|medium| medium.secret.is_some());
        for disk in whole.parameters().disks.iter().flatten().filter(|disk| is_sealed(&disk.name.0)) {
            let volume = links.find(&self.cluster.volumes, &asker, &disk_path(&disk.name.0))?;
            let strange = |volume: &Volume| !is_its_own(&self.adoption.own(volume), volume, pass.host);
            if let Some(volume) = volume.filter(|volume| strange(volume)) {
                return Err(refusal(&disk.name.0, &volume.full_name()).into());
            }
        }
        Ok(())
    }
}

/// Whether one of an object's records is of the very volume that it shows.
fn is_its_own(records: &[Record], volume: &Volume, host: &Site) -> bool {
    let seen = volume.observation().and_then(|seen| seen.pool.as_deref().zip(seen.name.as_deref()));
    let Some((pool, name)) = seen else { return false };
    let Some(pool) = host.pool_uuid(pool) else { return false };
    records.iter().any(|record| record.is_of(volume.uid(), host.uuid(), &pool, name))
}

fn refusal(disk: &str, volume: &str) -> Refusal {
    let message = format!(
        "disks {disk}: Volume {volume} only looks at an encrypted volume, and whoever looks does not open it: name the Volume that has it, or let this one take it over with the annotation {}",
        annotation::ADOPT
    );
    Refusal { reason: "Encrypted", message }
}
