//! The words of the spec and those of libvirt, one table for both ways.

use apis::pool::{PoolFormat, PoolType};

const TYPES: [(PoolType, &str); 13] = [
    (PoolType::Dir, "dir"),
    (PoolType::Fs, "fs"),
    (PoolType::Netfs, "netfs"),
    (PoolType::Logical, "logical"),
    (PoolType::Disk, "disk"),
    (PoolType::Iscsi, "iscsi"),
    (PoolType::IscsiDirect, "iscsi-direct"),
    (PoolType::Scsi, "scsi"),
    (PoolType::Mpath, "mpath"),
    (PoolType::Rbd, "rbd"),
    (PoolType::Gluster, "gluster"),
    (PoolType::Zfs, "zfs"),
    (PoolType::Vstorage, "vstorage"),
];

const FORMATS: [(PoolFormat, &str); 25] = [
    (PoolFormat::Auto, "auto"),
    (PoolFormat::Ext2, "ext2"),
    (PoolFormat::Ext3, "ext3"),
    (PoolFormat::Ext4, "ext4"),
    (PoolFormat::Xfs, "xfs"),
    (PoolFormat::Vfat, "vfat"),
    (PoolFormat::Iso9660, "iso9660"),
    (PoolFormat::Udf, "udf"),
    (PoolFormat::Ufs, "ufs"),
    (PoolFormat::Gfs, "gfs"),
    (PoolFormat::Gfs2, "gfs2"),
    (PoolFormat::Ocfs2, "ocfs2"),
    (PoolFormat::HfsPlus, "hfs+"),
    (PoolFormat::Vmfs, "vmfs"),
    (PoolFormat::Nfs, "nfs"),
    (PoolFormat::Cifs, "cifs"),
    (PoolFormat::Glusterfs, "glusterfs"),
    (PoolFormat::Dos, "dos"),
    (PoolFormat::Gpt, "gpt"),
    (PoolFormat::Dvh, "dvh"),
    (PoolFormat::Mac, "mac"),
    (PoolFormat::Bsd, "bsd"),
    (PoolFormat::Pc98, "pc98"),
    (PoolFormat::Sun, "sun"),
    (PoolFormat::Lvm2, "lvm2"),
];

fn word<T: PartialEq>(table: &[(T, &'static str)], choice: &T) -> &'static str {
    table.iter().find(|(known, _)| known == choice).map_or("", |(_, word)| word)
}

fn read<T: Copy>(table: &[(T, &'static str)], word: &str) -> Option<T> {
    table.iter().find(|(_, known)| *known == word).map(|(choice, _)| *choice)
}

/// libvirt's word for a type.
pub(super) fn of_type(type_: PoolType) -> &'static str {
    word(&TYPES, &type_)
}

/// The type of libvirt's word.
pub(super) fn type_of(word: &str) -> Option<PoolType> {
    read(&TYPES, word)
}

/// libvirt's word for a format.
pub(super) fn of_format(format: PoolFormat) -> &'static str {
    word(&FORMATS, &format)
}

/// The format of libvirt's word.
pub(super) fn format_of(word: &str) -> Option<PoolFormat> {
    read(&FORMATS, word)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// The choices that the schema of a Pool has at this place below `forProvider`.
    fn choices(place: &str) -> BTreeSet<String> {
        let crd = apis::crds().into_iter().find(|crd| crd.spec.names.kind == "Pool").unwrap();
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let spec = "/openAPIV3Schema/properties/spec/properties/forProvider/properties";
        let choices: &Value = schema.pointer(&format!("{spec}/{place}/enum")).unwrap();
        serde_json::from_value(choices.clone()).unwrap()
    }

    #[test]
    fn every_choice_has_a_word_of_its_own() {
        let types: BTreeSet<String> = TYPES.iter().map(|(type_, _)| format!("{type_:?}")).collect();
        let formats: BTreeSet<String> = FORMATS.iter().map(|(format, _)| format!("{format:?}")).collect();
        assert_eq!(choices("type"), types);
        assert_eq!(choices("source/properties/format"), formats);
        assert!(TYPES.iter().all(|(type_, word)| type_of(word) == Some(*type_) && of_type(*type_) == *word));
        assert!(FORMATS.iter().all(|(format, word)| format_of(word) == Some(*format) && of_format(*format) == *word));
    }
}
