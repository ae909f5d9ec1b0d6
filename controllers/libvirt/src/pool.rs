//! Storage pools, in libvirt's vocabulary.

use std::sync::Arc;

use virt::{storage_pool, sys};

use crate::counters::Call;
use crate::error::absent;
use crate::sys::{Owned, all_pools, all_volumes};
use crate::volume::Volume;
use crate::xml::Element;
use crate::{Connection, Error};

/// A pool found on the host. Knows name and UUID without a call.
pub struct Pool<'c> {
    pub(crate) handle: Owned<storage_pool::StoragePool>,
    pub(crate) connection: &'c Connection,
}

/// A volume as the pool lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeName {
    /// Its name in the pool.
    pub name: String,
    /// Its key, which for directories is the path and so is used again by a later volume.
    pub key: String,
    /// Where a guest finds it.
    pub path: String,
}

/// Sizes of a pool in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolInfo {
    /// All of it.
    pub capacity: u64,
    /// In use.
    pub allocation: u64,
    /// Free.
    pub available: u64,
}

/// Which networks or pools a bulk list holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listing {
    /// All of them.
    All,
    /// Those that are active.
    Active,
    /// Those that start with the host.
    Autostart,
}

impl Connection {
    fn pool(&self, handle: storage_pool::StoragePool) -> Pool<'_> {
        Pool { handle: Owned::new(handle), connection: self }
    }

    /// Looks a pool up by UUID.
    pub fn find_pool(&self, uuid: &str) -> Result<Option<Pool<'_>>, Error> {
        let _out = self.on_pool(uuid, uuid)?;
        let found = self.counted(Call::PoolLookup, |connect| connect.lookup_storage_pool_by_uuid_string(uuid));
        Ok(absent(found)?.map(|handle| self.pool(handle)))
    }

    /// Looks a pool up by name.
    pub fn find_pool_by_name(&self, name: &str) -> Result<Option<Pool<'_>>, Error> {
        let _out = self.on_pool(name, name)?;
        let found = self.counted(Call::PoolLookup, |connect| connect.lookup_storage_pool_by_name(name));
        Ok(absent(found)?.map(|handle| self.pool(handle)))
    }

    /// The pools, in one call.
    pub fn list_pools(&self, which: Listing) -> Result<Vec<Pool<'_>>, Error> {
        let flags = match which {
            Listing::All => 0,
            Listing::Active => sys::VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE,
            Listing::Autostart => sys::VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART,
        };
        let _out = self.listing_pools()?;
        let pools = self.counted(Call::PoolList, |connect| all_pools(connect, flags))?;
        Ok(self.arrived(Call::PoolList, pools).into_iter().map(|handle| self.pool(handle)).collect())
    }

    /// Defines a pool or replaces its definition (of an active pool: for its next start), and gives its UUID.
    pub fn define_pool(&self, xml: &str) -> Result<String, Error> {
        self.on_all_pools()?;
        let handle = self.counted(Call::PoolDefine, |connect| connect.define_storage_pool_xml(xml, 0))?;
        self.pool(handle).uuid()
    }
}

impl<'c> Pool<'c> {
    fn counted<T, E: Into<Error>>(
        &self,
        call: Call,
        make: impl FnOnce(&storage_pool::StoragePool) -> Result<T, E>,
    ) -> Result<T, Error> {
        let _out = self.connection.on_pool(&self.name()?, &self.uuid()?)?;
        self.connection.counted(call, |_| make(&self.handle))
    }

    /// The name. No call.
    pub fn name(&self) -> Result<String, Error> {
        Ok(self.handle.name()?)
    }

    /// The UUID. No call.
    pub fn uuid(&self) -> Result<String, Error> {
        Ok(self.handle.uuid_string()?)
    }

    /// Makes what the pool needs, never over something that is there: for a directory the directory itself; where a build
    /// formats a device, libvirt is told not to overwrite, a flag that the other types refuse in various ways.
    pub fn build(&self) -> Result<(), Error> {
        let flags = match self.type_()?.as_str() {
            "fs" | "disk" | "logical" => sys::VIR_STORAGE_POOL_BUILD_NO_OVERWRITE,
            _ => sys::VIR_STORAGE_POOL_BUILD_NEW,
        };
        self.counted(Call::PoolBuild, |pool| pool.build(flags))
    }

    /// Makes the directory that the pool is in or is mounted on, and nothing else.
    pub fn make_folder(&self) -> Result<(), Error> {
        self.counted(Call::PoolBuild, |pool| pool.build(sys::VIR_STORAGE_POOL_BUILD_NEW))
    }

    /// libvirt's word for its type.
    pub fn type_(&self) -> Result<String, Error> {
        let description = Element::parse(&self.describe(true)?)
            .map_err(|error| Error::other(format!("cannot read the pool's description: {error}")))?;
        Ok(description.get("type").unwrap_or_default().to_owned())
    }

    /// Starts it.
    pub fn create(&self) -> Result<(), Error> {
        self.counted(Call::PoolCreate, |pool| pool.create(0))
    }

    /// Stops it. What it holds stays.
    pub fn destroy(&self) -> Result<(), Error> {
        self.counted(Call::PoolDestroy, storage_pool::StoragePool::destroy)
    }

    /// Removes the definition. What it holds stays.
    pub fn undefine(&self) -> Result<(), Error> {
        self.counted(Call::PoolUndefine, storage_pool::StoragePool::undefine)
    }

    /// Looks at its volumes again. A refresh that fails stops the pool.
    pub fn refresh(&self) -> Result<(), Error> {
        self.counted(Call::PoolRefresh, |pool| pool.refresh(0))
    }

    /// Whether it starts with the host.
    pub fn autostart(&self) -> Result<bool, Error> {
        self.counted(Call::PoolGetAutostart, storage_pool::StoragePool::autostart)
    }

    /// Sets whether it starts with the host.
    pub fn set_autostart(&self, autostart: bool) -> Result<(), Error> {
        self.counted(Call::PoolSetAutostart, |pool| pool.set_autostart(autostart))
    }

    /// Reads the description: of the next start when `inactive`, else of now, with the sizes.
    pub fn describe(&self, inactive: bool) -> Result<String, Error> {
        let describe = |flags| self.counted(Call::PoolDescribe, |pool| pool.xml_desc(flags));
        if !inactive {
            return describe(0);
        }
        match describe(sys::VIR_STORAGE_XML_INACTIVE) {
            // The test driver has one description only.
            Err(error) if error.is_unsupported() => describe(0),
            answer => answer,
        }
    }

    /// Takes away the directory of a stopped pool, and only if it is empty.
    ///
    /// Of the other types the same call destroys a volume group or a pool of ZFS: nothing is done for them.
    pub fn remove_empty_directory(&self) -> Result<(), Error> {
        if !matches!(self.type_()?.as_str(), "dir" | "fs" | "netfs" | "vstorage") {
            return Ok(());
        }
        self.counted(Call::PoolRemoveDirectory, |pool| pool.delete(sys::VIR_STORAGE_POOL_DELETE_NORMAL).map(drop))
    }

    /// Whether it is started.
    pub fn is_active(&self) -> Result<bool, Error> {
        self.counted(Call::PoolIsActive, storage_pool::StoragePool::is_active)
    }

    /// Whether it has a definition that outlives its run.
    pub fn is_persistent(&self) -> Result<bool, Error> {
        self.counted(Call::PoolIsPersistent, storage_pool::StoragePool::is_persistent)
    }

    /// Its sizes.
    pub fn info(&self) -> Result<PoolInfo, Error> {
        let info = self.counted(Call::PoolInfo, storage_pool::StoragePool::info)?;
        Ok(PoolInfo { capacity: info.capacity, allocation: info.allocation, available: info.available })
    }

    /// Handles of its volumes as of the last refresh, in one call. Only an active pool has any.
    pub fn volumes(&self) -> Result<Vec<Volume<'c>>, Error> {
        let volumes = self.counted(Call::VolumeList, all_volumes)?;
        let name: Arc<str> = self.name()?.into();
        let volumes = self.connection.arrived(Call::VolumeList, volumes);
        Ok(volumes.into_iter().map(|handle| Volume::new(handle, &name, self.connection)).collect())
    }

    /// What a call on a pool that was listed as active told; None where it was stopped or has gone since.
    pub fn while_active<T>(&self, told: Result<T, Error>) -> Result<Option<T>, Error> {
        match absent(told) {
            Err(error) if error.is_invalid_state() => {
                if absent(self.is_active())?.unwrap_or_default() {
                    Err(error)
                } else {
                    Ok(None)
                }
            }
            told => told,
        }
    }

    /// Names, keys and paths of its volumes: one call, and one more for each path.
    pub fn list_volumes(&self) -> Result<Vec<VolumeName>, Error> {
        let listed = self.volumes()?.into_iter().map(|volume| {
            let path = absent(volume.path())?;
            Ok(path.map(|path| Ok::<_, Error>(VolumeName { name: volume.name()?, key: volume.key()?, path })))
        });
        listed.filter_map(Result::transpose).map(Result::flatten).collect()
    }
}
