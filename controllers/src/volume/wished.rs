//! What is seen to before a volume is written down as the object's: that it can be made, and that nobody else makes it.

use anyhow::bail;
use apis::Managed;
use managed::{creation::Creation, external::Pass};

use super::{Referents, Volumes, render, room};
use crate::storage;

impl Volumes {
    /// What cannot be described is said before anything is written down.
    pub(super) async fn check_wished(
        &self,
        pass: &Pass<'_, Self>,
        referents: &Referents,
        leftover: bool,
    ) -> anyhow::Result<()> {
        let whole = pass.object.merged();
        match (&whole.parameters().source, &referents.original) {
            (Some(_), Some(original)) => {
                original.fits(&whole)?;
                // What an attempt before failed by is told first.
                if !self.imports.has_failed(pass.object.uid()) {
                    original.check(pass.host).await?;
                }
                Ok(())
            }
            (Some(_), None) => Ok(()),
            (None, _) => {
                render::render(&whole, referents.backing.as_ref())?;
                // What an earlier attempt left has its room, or is made anew in it.
                if leftover {
                    self.check_left(pass, &referents.pool).await?;
                }
                let needed = if leftover { 0 } else { render::set_aside(&whole, referents.backing.as_ref())? };
                room::check(pass.host, &referents.pool, needed).await
            }
        }
    }

    /// Claims the volume in the pool with this UUID for the object; fails where it is another object's, or this one has begun another.
    pub(super) fn claim(&self, pass: &Pass<'_, Self>, referents: &Referents, pool: &str) -> anyhow::Result<()> {
        let (name, host) = (pass.object.external_name(), pass.host);
        // What is under way elsewhere would be forgotten with its record.
        if pass.creation == Creation::Open {
            let begun = storage::records(pass.object, &self.key);
            if let Some(elsewhere) = begun.iter().find(|record| !record.is_of(&record.uid, host.uuid(), pool, name)) {
                bail!("{}", storage::renamed(&elsewhere.volume));
            }
        }
        match self.adoption.claim(pass.object.uid(), host, pool, name) {
            Some(other) => bail!("{}", storage::claimed(name, &referents.pool, &other)),
            None => Ok(()),
        }
    }
}
