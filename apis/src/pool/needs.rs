//! Which fields of its source a type of pool needs and takes: one table, from which the rules of the CRD are made.

use PoolType::{Disk, Fs, Gluster, Iscsi, IscsiDirect, Logical, Netfs, Rbd, Scsi, Vstorage, Zfs};

use kube::core::Message;

use super::source::PoolType;

/// A field of the source, the types that need it, and those that take it too.
type Row = (&'static str, &'static [PoolType], &'static [PoolType]);

const FIELDS: [Row; 10] = [
    ("hosts", &[Netfs, Iscsi, IscsiDirect, Rbd, Gluster], &[]),
    ("dir", &[Netfs], &[Gluster]),
    ("devices", &[Fs, Disk], &[Logical, Zfs]),
    ("iqn", &[Iscsi, IscsiDirect], &[]),
    ("initiatorIqn", &[IscsiDirect], &[Iscsi]),
    ("adapter", &[Scsi], &[]),
    ("name", &[Logical, Rbd, Gluster, Zfs, Vstorage], &[]),
    ("format", &[], &[Fs, Netfs, Disk, Logical]),
    ("protocolVersion", &[], &[Netfs]),
    ("auth", &[], &[Iscsi, IscsiDirect, Rbd]),
];

/// The types whose place on the host is not the user's to choose.
const PLACELESS: &[PoolType] = &[Logical, IscsiDirect, Rbd, Gluster, Zfs];

/// The types whose place is a folder of device files.
const AMONG_DEVICES: &[PoolType] = &[Disk, Iscsi, Scsi, PoolType::Mpath];

const MANAGES: &str = "self.managementPolicies.exists(p, p in ['*', 'Create', 'Update'])";

const TYPE: &str = "(has(self.forProvider.type) ? self.forProvider.type : has(self.initProvider) && has(self.initProvider.type) ? self.initProvider.type : 'Dir')";

fn names(types: &[PoolType]) -> Vec<String> {
    types.iter().map(|type_| format!("{type_:?}")).collect()
}

/// Whether the type is one of these.
fn is(types: &[&[PoolType]]) -> String {
    let quoted: Vec<String> = names(&types.concat()).iter().map(|name| format!("'{name}'")).collect();
    format!("{TYPE} in [{}]", quoted.join(", "))
}

/// Whether either part of the spec says this field of this struct.
fn said(of: &str, field: &str) -> String {
    let own = |part: &str| format!("has(self.{part}.{of}) && has(self.{part}.{of}.{field})");
    format!("({} || has(self.initProvider) && {})", own("forProvider"), own("initProvider"))
}

fn row(field: &str) -> Row {
    FIELDS.into_iter().find(|(name, ..)| *name == field).unwrap_or(("", &[], &[]))
}

/// The rule of a field of the source: the types that need it have it, and no other has it than those that take it.
pub(super) fn rule(field: &str) -> String {
    let (_, needs, takes) = row(field);
    let lacks = if needs.is_empty() { "true".to_owned() } else { format!("!({}) || !{MANAGES}", is(&[needs])) };
    format!("{} ? {} : {lacks}", said("source", field), is(&[needs, takes]))
}

/// What is said where that rule does not hold.
pub(super) fn sentence(field: &str) -> Message {
    let (_, needs, takes) = row(field);
    let list = |types: &[PoolType]| names(types).join(", ");
    Message::Message(match (needs, takes) {
        (needs, []) => format!("source.{field} and type {} need each other", list(needs)),
        ([], takes) => format!("source.{field} is for type {}", list(takes)),
        (needs, takes) => {
            format!("source.{field} is needed by type {}, and else only for {}", list(needs), list(takes))
        }
    })
}

/// A place is said by those that have one, and by no others.
pub(super) fn placed() -> String {
    format!("{} || {} || !{MANAGES}", is(&[PLACELESS]), said("target", "path"))
}

/// The opposite of [`placed`].
pub(super) fn placeless() -> String {
    format!(
        "!({}) || !(has(self.forProvider.target) || has(self.initProvider) && has(self.initProvider.target))",
        is(&[PLACELESS])
    )
}

/// Pools of devices are in /dev.
pub(super) fn among_devices() -> String {
    let lies = "has(self.forProvider.target) && has(self.forProvider.target.path) ? self.forProvider.target.path.matches('^/dev(/|$)') : !has(self.initProvider) || !has(self.initProvider.target) || !has(self.initProvider.target.path) || self.initProvider.target.path.matches('^/dev(/|$)')";
    format!("!({}) || ({lies})", is(&[AMONG_DEVICES]))
}

/// Of which types a part of the spec may say several of something.
pub(super) fn several(field: &str, types: &[PoolType]) -> String {
    let one = |part: &str| {
        format!(
            "(!has(self.{part}.source) || !has(self.{part}.source.{field}) || self.{part}.source.{field}.size() == 1)"
        )
    };
    format!("{} || {} && (!has(self.initProvider) || {})", is(&[types]), one("forProvider"), one("initProvider"))
}

/// Several servers.
pub(super) fn several_hosts() -> String {
    several("hosts", &[Rbd])
}

/// Several devices.
pub(super) fn several_devices() -> String {
    several("devices", &[Logical])
}

const FORMATS: [(PoolType, &str); 4] = [
    (
        Fs,
        "'Auto', 'Ext2', 'Ext3', 'Ext4', 'Xfs', 'Vfat', 'Iso9660', 'Udf', 'Ufs', 'Gfs', 'Gfs2', 'Ocfs2', 'HfsPlus', 'Vmfs'",
    ),
    (Netfs, "'Auto', 'Nfs', 'Cifs', 'Glusterfs'"),
    (Disk, "'Dos', 'Gpt', 'Dvh', 'Mac', 'Bsd', 'Pc98', 'Sun', 'Lvm2'"),
    (Logical, "'Lvm2'"),
];

/// The format is one that the type knows.
pub(super) fn formats() -> String {
    let fits = |part: &str| {
        let lists =
            FORMATS.map(|(type_, list)| format!("{TYPE} == '{type_:?}' && self.{part}.source.format in [{list}]"));
        format!("!has(self.{part}.source) || !has(self.{part}.source.format) || {}", lists.join(" || "))
    };
    format!("({}) && (!has(self.initProvider) || {})", fits("forProvider"), fits("initProvider"))
}

/// The fields of the source that say where the volumes are.
const LASTING: [&str; 6] = ["dir", "devices", "iqn", "adapter", "name", "format"];

/// They stay as they are.
pub(super) fn lasting() -> String {
    let same = |field: &&str| {
        format!(
            "(!has(oldSelf.source.{field}) || has(self.source) && has(self.source.{field}) && self.source.{field} == oldSelf.source.{field})"
        )
    };
    let same: Vec<String> = LASTING.iter().map(same).collect();
    format!("!has(oldSelf.source) || {}", same.join(" && "))
}
