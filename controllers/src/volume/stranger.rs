//! A volume of the object's name that is not the object's.

use apis::{Managed, Volume, managed::annotation, volume::Format};
use libvirt::xml::Element;
use managed::external::{Pass, Refusal};

use super::{Found, Referents, Volumes, another_format, encryption, render::Below};
use crate::{
    adopt::{Adoption, Asking, Obstacle, Stranger},
    ownership::Record,
    storage,
};

impl Volumes {
    /// What is to be done about a volume of the object's name that is not the object's.
    pub(super) fn stranger(
        &self,
        pass: &Pass<'_, Self>,
        referents: &Referents,
        found: &Found,
        description: &Element,
    ) -> Obstacle {
        let (name, pool) = (pass.object.external_name(), &referents.pool);
        let Some(uuid) = &found.pool_uuid else {
            return Obstacle::Refused(storage::foreign_volume(name, pool));
        };
        if let Some(elsewhere) = self.of_another_host(pass, name) {
            return Obstacle::Refused(elsewhere);
        }
        let mut pools = [uuid].into_iter().chain(&found.twins);
        let claimant = pools.find_map(|pool| self.adoption.claimant(pass.object.uid(), pass.host, pool, name));
        let stranger = Stranger {
            name,
            said: storage::not_ours(name, pool, claimant.as_deref()),
            taken: claimant.is_some(),
            record: [uuid, name],
            mismatch: mismatch(pass.object, referents.backing.as_ref(), description),
        };
        self.adoption.decide(&Asking { object: pass.object, config: pass.config, host: pass.host }, &stranger)
    }

    /// That the object's volume was made on a host with another UUID, unless it asks to take over the one that is here.
    fn of_another_host(&self, pass: &Pass<'_, Self>, name: &str) -> Option<Refusal> {
        let own = self.adoption.own(pass.object);
        let Record { host: there, .. } =
            own.iter().find(|record| record.volume == name).filter(|_| !Adoption::asks(pass.object))?;
        let here = pass.host.uuid();
        let message = format!(
            "volume {name} was made on the host with UUID {there}, and this one has {here}, so it cannot be told whether this is it. Correct the config's uri; or, where it is the same machine with another UUID, take the volume over, by annotation {} and a line in the config's spec.policy.adopt",
            annotation::ADOPT
        );
        (there != here).then_some(Refusal { reason: "HostMismatch", message })
    }
}

/// That an object's volume stands on something else than the object says. It is a difference to what it was made on, and to nothing else.
pub(super) fn another_backing(below: Option<&Below>, description: &Element) -> Option<String> {
    let (seen, below) = (description.text_at("backingStore/path"), below?);
    let fits = seen.is_some_and(|seen| storage::is_same_path(seen, &below.path));
    (!fits).then(|| {
        format!(
            "the volume stands on {}, and its object says {}; it was not made on that. Correct spec.forProvider.backingStore, which can be done while managementPolicies are [\"Observe\"]",
            seen.unwrap_or("nothing"),
            below.path
        )
    })
}

/// What a volume that others made is and the spec does not say: guests would read other bytes by the wrong format, or holes where a
/// volume below is missing.
fn mismatch(object: &Volume, below: Option<&Below>, description: &Element) -> Option<String> {
    const THEN: &str = "; set it while managementPolicies are [\"Observe\"], and take the volume over then";
    let Some(format) = object.effective().parameters().format else {
        return Some(format!("its format is never guessed, and spec.forProvider.format is not set{THEN}"));
    };
    if let Some(seen) = another_format(description, format) {
        return Some(format!("its first bytes say {seen}, and spec.forProvider.format says {format:?}"));
    }
    match (encryption::observed(description).is_some(), encryption::is_encrypted(object)) {
        (true, false) => return Some(format!("{}{THEN}", sealed(format))),
        (false, true) => return Some("it is not encrypted, and spec.forProvider.encryption is set".to_owned()),
        (true, true) | (false, false) => {}
    }
    match (description.text_at("backingStore/path"), below) {
        (None, None) => None,
        (Some(seen), Some(below)) if storage::is_same_path(seen, &below.path) => None,
        (Some(seen), None) => Some(format!("it stands on {seen}, and spec.forProvider.backingStore is not set{THEN}")),
        (seen, Some(Below { path, .. })) => Some(format!(
            "it stands on {}, and spec.forProvider.backingStore leads to {path}",
            seen.unwrap_or("nothing")
        )),
    }
}

/// That a volume is encrypted and the spec does not say so. Of a Raw one the first bytes do not tell by whom.
fn sealed(format: Format) -> &'static str {
    match format {
        Format::Qcow2 => "it is encrypted, and spec.forProvider.encryption is not set",
        Format::Raw => {
            "it is encrypted, by QEMU or by the guest in it, and spec.forProvider.encryption is not set. If the guest did it, go on looking at it: a Domain may use a Volume that only observes. If QEMU did, its passphrase is missing"
        }
    }
}
