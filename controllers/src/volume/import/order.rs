//! What an import is to make, and of what.

use std::sync::{Arc, atomic::AtomicBool};

use apis::{
    Managed,
    placement::ConfigId,
    provider_config::Policy,
    volume::{Format, HttpSource, Source, VolumePermissions},
};
use bytes::Bytes;
use libvirt::{VolumeId, xml::Element};
use managed::external::{Connect, Pass};

use super::{share::Image, trace::Trace};
use crate::{
    hosts::{Connector, Site, owner},
    volume::{Referents, Volumes, fetch, left::Expected, original::Original, permissions::permitted, render},
};

/// What is wanted.
pub struct Order {
    connector: Arc<Connector>,
    config: ConfigId,
    pub(super) uid: String,
    pub(super) owner: String,
    pub(super) host: Arc<Site>,
    pub(super) pool: String,
    pub(super) name: String,
    pub(super) format: Format,
    pub(super) capacity: Option<u64>,
    pub(super) permissions: Option<VolumePermissions>,
    pub(super) content: Content,
    /// What of this name may be there already, left by an attempt before.
    pub(super) left: Option<Expected>,
    /// What is known of the volume beside.
    pub(super) trace: Arc<Trace>,
    /// Whether this attempt has made the volume, which then goes if the attempt fails.
    pub(super) made: AtomicBool,
    /// Whether what has come of an image can be gone on with.
    pub(super) parts: Arc<AtomicBool>,
}

/// Where the content comes from.
pub enum Content {
    /// A web server.
    Image(Box<Wanted>),
    /// Another volume of the host.
    Copy(Original),
    /// The object's namespace. In no log: it may be a Secret's.
    Bytes(Vec<u8>),
}

/// An image of a web server.
pub struct Wanted {
    /// The namespace of who wants it.
    pub(super) namespace: String,
    pub(super) source: HttpSource,
    pub(super) access: fetch::Access,
    pub(super) policy: Policy,
}

impl Content {
    /// What the object of a pass says that its volume is filled with. Images are fetched as this policy allows.
    pub fn of(
        pass: &Pass<'_, Volumes>,
        referents: &Referents,
        source: &Source,
        policy: Policy,
    ) -> anyhow::Result<Self> {
        let Source { http, volume_ref: _, volume_selector: _, secret_key_ref: _, config_map_key_ref: _ } = source;
        Ok(match (http, &referents.original, &referents.content) {
            (Some(http), _, _) => {
                let namespace = pass.object.metadata.namespace.clone().unwrap_or_default();
                let (source, access) = (http.clone(), referents.access.clone());
                Self::Image(Box::new(Wanted { namespace, source, access, policy }))
            }
            (None, Some(original), _) => Self::Copy(original.clone()),
            (None, None, Some(content)) => Self::Bytes(content.clone()),
            (None, None, None) => anyhow::bail!("set exactly one of the fields of source"),
        })
    }
}

impl Order {
    /// An import for the object of a pass, of whose volume so much is known.
    pub fn new(
        pass: &Pass<'_, Volumes>,
        referents: &Referents,
        content: Content,
        connector: Arc<Connector>,
        (left, trace): (Option<Expected>, Arc<Trace>),
    ) -> Self {
        let object = pass.object;
        let whole = object.merged();
        let parameters = whole.parameters();
        Self {
            connector,
            config: pass.config.clone(),
            uid: object.uid().to_owned(),
            owner: owner(object),
            host: pass.host.clone(),
            left,
            trace,
            made: AtomicBool::new(false),
            parts: Arc::default(),
            pool: referents.pool.clone(),
            name: object.external_name().to_owned(),
            format: parameters.format.unwrap_or_default(),
            capacity: parameters.capacity.as_ref().and_then(|capacity| render::sectors(capacity).ok()),
            permissions: parameters.permissions.clone(),
            content,
        }
    }

    /// Fails where the host is left alone by now: whoever waits for a turn may have waited for hours.
    pub(super) fn may_begin(&self) -> anyhow::Result<()> {
        self.connector.hold(&self.config).map_or(Ok(()), |hold| Err(hold.into()))
    }

    /// What may be there, now that the first bytes of the image are, and how large its disk is.
    pub(super) fn left(&self, head: &[u8], size: Option<u64>) -> Option<Expected> {
        let left = self.left.clone()?;
        Some(Expected { head: Some(Bytes::copy_from_slice(head)), size, ..left })
    }

    /// What is said of the volume when it is made.
    pub(super) fn shape(&self) -> Shape {
        Shape { name: self.name.clone(), format: self.format, permissions: self.permissions.clone() }
    }

    /// What is the same for all who want this image on this host.
    pub(super) fn image(&self, wanted: &Wanted) -> Image {
        let Wanted { namespace, source, access, policy } = wanted;
        Image {
            host: self.host.clone(),
            namespace: namespace.clone(),
            source: source.clone(),
            format: self.format,
            capacity: self.capacity.filter(|_| self.format == Format::Raw),
            access: access.clone(),
            listed: policy.image_hosts.clone().unwrap_or_default(),
        }
    }

    pub(super) fn volume(&self) -> VolumeId {
        VolumeId { pool: self.pool.clone(), name: self.name.clone() }
    }
}

/// What is said of a volume when it is made, but for its size.
pub(super) struct Shape {
    name: String,
    format: Format,
    permissions: Option<VolumePermissions>,
}

impl Shape {
    /// The description of a volume of so many bytes, without content.
    pub(super) fn describe(&self, capacity: u64) -> Element {
        permitted(render::blank(&self.name, self.format, capacity), self.permissions.as_ref())
    }
}
