//! What an object whose making was cut short may have left, as far as the cluster tells, and who is asked before that goes.

use std::sync::Arc;

use anyhow::Context;
use apis::{Managed, Volume, volume::VolumeParameters};
use libvirt::{Connection, VolumeId};
use managed::{
    creation::Creation,
    external::{Pass, Refusal},
};

use super::{
    Volumes,
    left::{self, Expected},
    render,
    standing::was_whole,
};
use crate::{
    hosts::kind,
    references::{BACKING, SOURCE},
    storage::{self, Guard},
};

impl Volumes {
    /// What an attempt of this object before may have left; None where there was none whose end nobody saw.
    pub(super) fn left(&self, pass: &Pass<'_, Self>) -> Option<Expected> {
        (pass.creation == Creation::Open).then(|| self.expected(pass.object))
    }

    fn expected(&self, object: &Volume) -> Expected {
        let (whole, links) = (object.merged(), self.cluster.links(object));
        let VolumeParameters { format, capacity, preallocation, encryption, source, .. } = whole.parameters();
        // Whether it is Ready does not matter here: it was when the volume was begun.
        let led = |path: &str| links.referent(path).map(|to| self.cluster.volumes.get(&to.namespace, &to.name));
        let below = led(BACKING).map(|below| below.and_then(|below| below.observation().cloned()).unwrap_or_default());
        let original = led(SOURCE).flatten().and_then(|original| {
            let seen = original.observation()?;
            let id = VolumeId { pool: seen.pool.clone()?, name: seen.name.clone()? };
            Some((id, original.effective().parameters().format.unwrap_or_default()))
        });
        let wished = capacity.as_ref().and_then(|capacity| render::sectors(capacity).ok());
        let of_below = || below.as_ref()?.capacity.as_ref()?.bytes().ok();
        let trace = self.imports.trace(object);
        let is_copy =
            source.as_ref().is_some_and(|source| source.volume_ref.is_some() || source.volume_selector.is_some());
        Expected {
            uid: object.uid().to_owned(),
            format: format.unwrap_or_default(),
            size: wished.or_else(of_below),
            preallocation: preallocation.unwrap_or_default(),
            encrypted: encryption.is_some(),
            below: below.map(|below| below.path.unwrap_or_default()),
            head: None,
            is_copied: if is_copy { original.is_some() } else { trace.is_copied() },
            original,
        }
    }

    /// Fails where what was left is somebody else's, before anything is written down.
    pub(super) async fn check_left(&self, pass: &Pass<'_, Self>, pool: &str) -> anyhow::Result<()> {
        let Some(expected) = self.left(pass) else { return Ok(()) };
        let (of, name) = (pool.to_owned(), pass.object.external_name().to_owned());
        let look = move |host: &Connection| {
            let found = host.find_pool_by_name(&of)?.with_context(|| format!("there is no pool {of} on the host"))?;
            let Some(volume) = found.find_volume(&name)? else { return Ok(()) };
            left::look(host, &found, &volume, &expected)?.ok_or_else(|| storage::foreign_volume(&name, &of))?;
            Ok(())
        };
        match pass.host.long(&format!("{pool}/{}", pass.object.external_name()), look).await {
            // What the host is still at is waited for when it is to be made.
            Err(error) if kind(&error) == Some(libvirt::Kind::Busy) => Ok(()),
            looked => looked,
        }
    }

    /// Who is asked before the volume of an object that is being deleted goes: nobody, where it was whole once.
    pub(super) fn guard(&self, pass: &Pass<'_, Self>) -> Option<Guard> {
        let is_known = was_whole(pass.object) || self.imports.trace(pass.object).is_whole();
        let expected = self.left(pass).filter(|_| !is_known)?;
        // The size of an image is not known here.
        let is_image = pass.object.merged().parameters().source.is_some() && expected.original.is_none();
        let expected = if is_image { Expected { size: None, ..expected } } else { expected };
        Some(Arc::new(move |host, pool, volume| {
            let left = left::look(host, pool, volume, &expected)?;
            let refusal = || Ok::<Refusal, libvirt::Error>(left::doubtful(&volume.name()?, &pool.name()?));
            Ok(if left.is_none() { Some(refusal()?) } else { None })
        }))
    }
}
