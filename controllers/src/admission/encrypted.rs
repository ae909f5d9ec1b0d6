//! Volumes that are to be made of others which nobody reads without their passphrase.

use apis::Volume;
use managed::plan::only_observes;

use super::{Admission, Findings};
use crate::{
    domain::resolve::check_plain,
    links::Led,
    references::{Referent, ReferentKind},
};

impl Admission<'_> {
    /// Nothing stands on an encrypted volume, and nothing is copied from it.
    pub(super) fn readable(&self, object: &Volume, findings: &mut Findings) {
        if only_observes(object) {
            return;
        }
        for Led { path, to, optional: _ } in self.cluster.links(object).all() {
            let Ok(Referent { kind: ReferentKind::Volume, namespace, name }) = to else { continue };
            let Some(volume) = self.cluster.volumes.get(namespace, name) else { continue };
            if let Err(why) = check_plain(&volume) {
                findings.deny(format!("{path}: {}", why.message));
            }
        }
    }
}
