//! Storage volumes, in libvirt's vocabulary.

use std::sync::Arc;

use virt::{
    storage_vol::{self, StorageVol},
    sys,
};

use crate::counters::Call;
use crate::error::absent;
use crate::pool::Pool;
use crate::sys::Owned;
use crate::{Connection, Error};

/// A volume found in a pool. Knows name and key without a call.
pub struct Volume<'c> {
    pub(crate) handle: Owned<StorageVol>,
    /// The pool's name.
    pub(crate) pool: Arc<str>,
    pub(crate) connection: &'c Connection,
}

/// Sizes of a volume in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeInfo {
    /// What a guest sees.
    pub capacity: u64,
    /// What it takes on the host.
    pub allocation: u64,
}

/// A volume by the names of its pool and its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VolumeId {
    /// The pool's name.
    pub pool: String,
    /// The volume's name.
    pub name: String,
}

impl Connection {
    /// Which volume of an active pool is this file or device, if any is.
    pub fn volume_at(&self, path: &str) -> Result<Option<VolumeId>, Error> {
        self.on_all_pools()?;
        let found = self.counted(Call::VolumeLookupByPath, |connect| connect.lookup_storage_vol_by_path(path));
        let Some(handle) = absent(found)? else { return Ok(None) };
        let handle = Owned::new(handle);
        let Some(pool) = absent(self.counted(Call::VolumePool, |_| handle.lookup_storage_pool()))? else {
            return Ok(None);
        };
        Ok(Some(VolumeId { pool: Owned::new(pool).name()?, name: handle.name()? }))
    }
}

impl<'c> Pool<'c> {
    /// Looks a volume up by name, among those the pool saw at its last refresh.
    pub fn find_volume(&self, name: &str) -> Result<Option<Volume<'c>>, Error> {
        let _out = self.connection.on_pool(&self.name()?, &self.uuid()?)?;
        let found = self.connection.counted(Call::VolumeLookup, |_| self.handle.lookup_storage_vol_by_name(name));
        absent(found)?.map(|handle| self.volume(handle)).transpose()
    }

    fn volume(&self, handle: StorageVol) -> Result<Volume<'c>, Error> {
        Ok(Volume::new(handle, &self.name()?.into(), self.connection))
    }

    /// Looks a volume up by name and, when it is not there, once more after a refresh: a pool does not see what others put
    /// into it.
    pub fn find_volume_refreshed(&self, name: &str) -> Result<Option<Volume<'c>>, Error> {
        if let Some(volume) = self.find_volume(name)? {
            return Ok(Some(volume));
        }
        self.refresh()?;
        self.find_volume(name)
    }

    /// Creates a volume. An image that needs space set aside takes long.
    pub fn create_volume(&self, xml: &str) -> Result<Volume<'c>, Error> {
        let made = self.connection.counted(Call::VolumeCreate, |_| StorageVol::create_xml(&self.handle, xml, 0));
        self.volume(made?)
    }

    /// Creates a qcow2 volume with its tables, and with all of its room where the description's allocation is its capacity.
    pub fn create_preallocated_volume(&self, xml: &str) -> Result<Volume<'c>, Error> {
        let flags = sys::VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA;
        let made = self.connection.counted(Call::VolumeCreate, |_| StorageVol::create_xml(&self.handle, xml, flags));
        self.volume(made?)
    }

    /// Creates a volume with the content of another of the same host, whichever pool that is in. Takes as long as the copy takes.
    pub fn create_volume_from(&self, xml: &str, content: &Volume<'_>) -> Result<Volume<'c>, Error> {
        let make = |_: &_| StorageVol::create_xml_from(&self.handle, xml, &content.handle, 0);
        self.volume(self.connection.counted(Call::VolumeCreateFrom, make)?)
    }
}

impl<'c> Volume<'c> {
    pub(crate) fn new(handle: StorageVol, pool: &Arc<str>, connection: &'c Connection) -> Self {
        Self { handle: Owned::new(handle), pool: Arc::clone(pool), connection }
    }

    fn counted<T>(
        &self,
        call: Call,
        make: impl FnOnce(&StorageVol) -> Result<T, virt::error::Error>,
    ) -> Result<T, Error> {
        let _out = self.connection.on_pool(&self.pool, &self.pool)?;
        self.connection.counted(call, |_| make(&self.handle))
    }

    /// The name. No call.
    pub fn name(&self) -> Result<String, Error> {
        Ok(self.handle.name()?)
    }

    /// The key. No call.
    pub fn key(&self) -> Result<String, Error> {
        Ok(self.handle.key()?)
    }

    /// Where a guest finds it.
    pub fn path(&self) -> Result<String, Error> {
        self.counted(Call::VolumePath, StorageVol::path)
    }

    /// Reads the description. libvirt looks at the file for it, so a file that vanished behind a pool's back shows here.
    pub fn describe(&self) -> Result<String, Error> {
        self.counted(Call::VolumeDescribe, |volume| volume.xml_desc(0))
    }

    /// Grows it to so many bytes. Not for a disk of a running guest: see [`crate::Domain::block_resize`].
    pub fn resize(&self, bytes: u64) -> Result<(), Error> {
        self.counted(Call::VolumeResize, |volume| volume.resize(bytes, 0))
    }

    /// Whether libvirt is still making it, or copies it. No call tells that; the one that shrinks is refused for it before anything else, and
    /// then for shrinking, which needs a flag.
    pub fn is_busy(&self) -> Result<bool, Error> {
        match self.resize(1) {
            Ok(()) => Ok(false),
            Err(error) if error.is_invalid_state() => Ok(true),
            Err(error) if error.code == sys::VIR_ERR_INVALID_ARG || error.is_unsupported() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes it. libvirt does not ask whether a guest uses it: see [`Connection::disk_users`].
    pub fn delete(&self) -> Result<(), Error> {
        self.counted(Call::VolumeDelete, |volume| volume.delete(0))
    }

    /// Overwrites it with zeros. Of a file with holes libvirt only gives the room back. Takes as long as it takes.
    pub fn wipe(&self) -> Result<(), Error> {
        // libvirt lets go of the pool meanwhile: a pool that answers must not be taken for one that does not.
        drop(self.connection.on_pool(&self.pool, &self.pool)?);
        self.connection.counted(Call::VolumeWipe, |_| self.handle.wipe(0))
    }

    /// Its sizes.
    pub fn info(&self) -> Result<VolumeInfo, Error> {
        let storage_vol::StorageVolInfo { kind: _, capacity, allocation } =
            self.counted(Call::VolumeInfo, StorageVol::info)?;
        Ok(VolumeInfo { capacity, allocation })
    }
}
