//! What a pool is made of: devices, folders of servers, groups of volumes.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::{AuthObservation, PoolAuth};

/// Kinds of storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum PoolType {
    /// A directory.
    #[default]
    Dir,
    /// A file system of a block device, mounted.
    Fs,
    /// A folder of a server, mounted.
    Netfs,
    /// A volume group of LVM.
    Logical,
    /// The partitions of a disk.
    Disk,
    /// The units of an iSCSI target, logged in to by the host.
    Iscsi,
    /// The units of an iSCSI target, logged in to by each guest.
    IscsiDirect,
    /// The units of a SCSI adapter.
    Scsi,
    /// The multipath devices.
    Mpath,
    /// A pool of Ceph.
    Rbd,
    /// A volume of Gluster.
    Gluster,
    /// A pool of ZFS.
    Zfs,
    /// A cluster of Virtuozzo Storage.
    Vstorage,
}

/// What a pool is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.dir) || !self.dir.matches('(^|/)[.]{1,2}(/|$)')").message("dir must not have . or .. in it"))]
#[x_kube(validation = Rule::new("!has(self.devices) || self.devices.all(d, !d.matches('(^|/)[.]{1,2}(/|$)'))").message("devices must not have . or .. in them"))]
#[x_kube(validation = Rule::new("!has(self.protocolVersion) || (has(self.format) && self.format == 'Nfs')").message("protocolVersion needs format: Nfs"))]
pub struct PoolSource {
    /// The servers, which the config's policy.diskHosts must list: the monitors of Rbd, and one of Netfs, Iscsi, IscsiDirect or Gluster. A change counts from the pool's next start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 16))]
    pub hosts: Option<Vec<PoolHost>>,
    /// The folder on the server of Netfs, or within the volume of Gluster (default /).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[^\s]+$"))]
    pub dir: Option<String>,
    /// Block devices of the host, which the config's policy.hostPaths must list: the one of Fs or Disk, or of which Logical or Zfs is made. Names that stay the same when the host boots, such as those in /dev/disk/by-id, are best, but not of Logical: libvirt wants its devices as LVM shows them, or none where the group is there; and not of Disk: libvirt deletes partitions only of a disk that is named as the kernel does, such as /dev/sdb, and none of NVMe. A partition is known by its name alone, so do without Disk pools where such a name may be another disk's when the host has booted: data of others would be taken for the Volume's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 6, max = 1024), regex(pattern = r"^/dev/[^/\s][^\s]*$")))]
    pub devices: Option<Vec<String>>,
    /// The name of the target of Iscsi or IscsiDirect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 12, max = 223),
        regex(pattern = r"^iqn\.[0-9]{4}-(0[1-9]|1[0-2])\.[a-zA-Z0-9.-]+(:[^\s]+)?$")
    )]
    pub iqn: Option<String>,
    /// The name by which the host, or with IscsiDirect a guest, logs in. Default of Iscsi: the host's own. A change counts from the pool's next start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 12, max = 223),
        regex(pattern = r"^iqn\.[0-9]{4}-(0[1-9]|1[0-2])\.[a-zA-Z0-9.-]+(:[^\s]+)?$")
    )]
    pub initiator_iqn: Option<String>,
    /// The adapter of Scsi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<PoolAdapter>,
    /// The name of the volume group of Logical (/dev and its name must be listed in the config's policy.hostPaths), of the pool of Rbd, the volume of Gluster, the pool of Zfs (/dev/zvol and its name must be listed) or the cluster of Vstorage.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9+_.:-]*$"))]
    pub name: Option<String>,
    /// What is on it. Of Fs a file system, of Netfs a protocol, of Disk a kind of partition table, of Logical Lvm2. Default: of Fs and Netfs Auto, as the host finds it; of Disk Dos.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<PoolFormat>,
    /// The version of Nfs, such as 3 or 4.1. Default: as host and server agree. A change counts from the pool's next start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8), regex(pattern = r"^[0-9](\.[0-9])?$"))]
    pub protocol_version: Option<String>,
    /// The account by which the host is let in, of Iscsi, IscsiDirect and Rbd. The host has its password in the memory of its libvirt daemon only, so such a pool is started by this provider and not by autostart alone. Default: none is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<PoolAuth>,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolHost {
    /// Its host name or address.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9.:_-]+$"))]
    pub name: String,
    /// Its port. Default: the protocol's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
}

/// A SCSI adapter of the host, which the config's policy.hostDevices must list: by name, or of Fibre Channel by its world wide names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.name) ? !has(self.wwnn) && !has(self.wwpn) && !has(self.parent) : has(self.wwnn) && has(self.wwpn)").message("set name, or wwnn and wwpn and, where it is to be made, parent"))]
pub struct PoolAdapter {
    /// Its name: scsi_host and a number. Listed as scsi/scsi_host5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 10, max = 20), regex(pattern = r"^scsi_host[0-9]+$"))]
    pub name: Option<String>,
    /// The world wide node name of a virtual adapter: 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 16, max = 16), regex(pattern = r"^[0-9a-f]{16}$"))]
    pub wwnn: Option<String>,
    /// The world wide port name of a virtual adapter: 16 hexadecimal digits. Listed as scsi/ and these digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 16, max = 16), regex(pattern = r"^[0-9a-f]{16}$"))]
    pub wwpn: Option<String>,
    /// The adapter that the virtual one is made on when the pool starts. Listed too. Default: one is looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 10, max = 20), regex(pattern = r"^scsi_host[0-9]+$"))]
    pub parent: Option<String>,
}

/// What is on the storage of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum PoolFormat {
    /// Whatever is found.
    Auto,
    /// A file system.
    Ext2,
    /// A file system.
    Ext3,
    /// A file system.
    Ext4,
    /// A file system.
    Xfs,
    /// A file system.
    Vfat,
    /// The file system of a CD.
    Iso9660,
    /// The file system of a DVD.
    Udf,
    /// A file system of BSD.
    Ufs,
    /// A file system of several hosts.
    Gfs,
    /// A file system of several hosts.
    Gfs2,
    /// A file system of several hosts.
    Ocfs2,
    /// A file system of macOS.
    HfsPlus,
    /// A file system of ESX.
    Vmfs,
    /// A protocol of Unix.
    Nfs,
    /// A protocol of Windows.
    Cifs,
    /// A protocol of Gluster.
    Glusterfs,
    /// A partition table of a PC.
    Dos,
    /// A partition table of UEFI.
    Gpt,
    /// A partition table.
    Dvh,
    /// A partition table.
    Mac,
    /// A partition table.
    Bsd,
    /// A partition table.
    Pc98,
    /// A partition table.
    Sun,
    /// Volumes of LVM.
    Lvm2,
}

/// What a pool is made of, as its definition says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceObservation {
    /// The servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<HostObservation>>,
    /// The folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// The block devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<String>>,
    /// The name of the iSCSI target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iqn: Option<String>,
    /// The name that logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiator_iqn: Option<String>,
    /// The adapter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterObservation>,
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<PoolFormat>,
    /// The version of the protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// The account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthObservation>,
}

/// A server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostObservation {
    /// Its host name or address.
    pub name: String,
    /// Its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// An adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdapterObservation {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its world wide node name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwnn: Option<String>,
    /// Its world wide port name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwpn: Option<String>,
    /// The adapter that it is made on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}
