//! What a pool reaches on its host and beyond, against the policy of its config: pure.
//!
//! A pool's volumes become disks of guests, so a device is reached as a disk by its path is. A folder of the host (Dir) is not limited, but
//! for those whose files the host itself believes.

use std::path::{Component, Path};

use apis::{
    Pool,
    domain::DiskHost,
    placement::ConfigId,
    pool::{PoolAdapter, PoolHost, PoolParameters, PoolType},
    provider_config::Policy,
};

use crate::domain::reach::{fits, may_connect, now_and_anew, of_path, sentence};

/// What the policy does not allow of a Pool, neither as it is nor as it would be made anew.
pub(crate) fn refused_of(object: &Pool, policy: &Policy, config: &ConfigId) -> Vec<String> {
    now_and_anew(object, |parameters| refused(parameters, policy, config))
}

/// What the policy does not allow, each with the line that would.
fn refused(parameters: &PoolParameters, policy: &Policy, config: &ConfigId) -> Vec<String> {
    let type_ = parameters.type_.unwrap_or_default();
    let source = parameters.source.clone().unwrap_or_default();
    let mut refused: Vec<String> =
        paths(parameters, type_).iter().filter_map(|(whose, path)| of_path(whose, path, policy, config)).collect();
    for PoolHost { name, port } in source.hosts.iter().flatten() {
        let host = DiskHost { name: name.clone(), port: *port };
        if !may_connect(policy, &host, port.or(usual_port(type_))) {
            refused.push(sentence("source.hosts", &format!("server {name}"), name, ("diskHosts", config)));
        }
    }
    for line in devices(source.adapter.as_ref(), type_) {
        if !policy.host_devices.iter().flatten().any(|pattern| fits(pattern, &line)) {
            refused.push(sentence(&format!("type {type_:?}"), &line, &line, ("hostDevices", config)));
        }
    }
    refused
}

/// Paths of the host that become disks of guests or that are mounted on, each with the field that says it.
fn paths(parameters: &PoolParameters, type_: PoolType) -> Vec<(&'static str, String)> {
    let source = parameters.source.clone().unwrap_or_default();
    let devices = source.devices.into_iter().flatten().map(|path| ("source.devices", path));
    let named = match source.name {
        Some(name) if type_ == PoolType::Logical => Some(format!("/dev/{name}")),
        Some(name) if type_ == PoolType::Zfs => Some(format!("/dev/zvol/{name}")),
        Some(_) | None => None,
    };
    let mounted = matches!(type_, PoolType::Fs | PoolType::Netfs | PoolType::Vstorage);
    let target = parameters.target.as_ref().and_then(|target| target.path.clone());
    let target = target.filter(|path| mounted || type_ == PoolType::Dir && is_believed(path));
    devices.chain(named.map(|path| ("source.name", path))).chain(target.map(|path| ("target.path", path))).collect()
}

/// Whether whoever writes a file of this folder is the host's master: a volume may have any content, owner and mode.
fn is_believed(path: &str) -> bool {
    const BELIEVED: [&str; 14] = [
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/home",
        "/lib",
        "/lib64",
        "/proc",
        "/root",
        "/run",
        "/sbin",
        "/sys",
        "/usr",
        "/var/spool",
    ];
    let path = Path::new(path);
    let is_plain = !path.components().any(|part| part == Component::ParentDir);
    let is_part = |whole: &Path| path.starts_with(whole) || whole.starts_with(path);
    !is_plain || BELIEVED.iter().any(|whole| is_part(Path::new(whole))) || path.starts_with("/var/run")
}

/// How a policy says the devices of the host that are not reached by a path.
fn devices(adapter: Option<&PoolAdapter>, type_: PoolType) -> Vec<String> {
    let all = (type_ == PoolType::Mpath).then(|| "mpath".to_owned());
    let names = adapter.map(|PoolAdapter { name, wwnn: _, wwpn, parent }| [name, wwpn, parent]);
    let names = names.into_iter().flatten().filter_map(|name| Some(format!("scsi/{}", name.as_ref()?)));
    all.into_iter().chain(names).collect()
}

fn usual_port(type_: PoolType) -> Option<i32> {
    match type_ {
        PoolType::Netfs => Some(2049),
        PoolType::Iscsi | PoolType::IscsiDirect => Some(3260),
        PoolType::Rbd => Some(6789),
        PoolType::Gluster => Some(24007),
        PoolType::Dir
        | PoolType::Fs
        | PoolType::Logical
        | PoolType::Disk
        | PoolType::Scsi
        | PoolType::Mpath
        | PoolType::Zfs
        | PoolType::Vstorage => None,
    }
}

#[cfg(test)]
mod tests {
    use apis::managed::ConfigKind;
    use serde_json::{Value, json};

    use super::*;

    fn refused_with(parameters: Value, policy: Value) -> Vec<String> {
        let config =
            ConfigId { kind: ConfigKind::ClusterProviderConfig, namespace: String::new(), name: "c".to_owned() };
        let (parameters, policy) =
            (serde_json::from_value(parameters).unwrap(), serde_json::from_value(policy).unwrap());
        refused(&parameters, &policy, &config)
    }

    fn not(what: &str, line: &str, list: &str) -> String {
        format!(
            "{what} is not allowed on ClusterProviderConfig c; it would be with the line {line} in its spec.policy.{list}"
        )
    }

    #[test]
    fn what_an_annotation_says_that_a_pool_was_made_of_is_judged_too() {
        let pool = json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool",
            "metadata": {"name": "a", "annotations": {
                "crossplane.io/external-create-succeeded": "2026-01-01T00:00:00Z",
                "libvirt.nourspeed.io/initial": json!({"type": "Logical", "source": {"name": "vg0"}}).to_string(),
            }},
            "spec": {"forProvider": {}},
        });
        let config =
            ConfigId { kind: ConfigKind::ClusterProviderConfig, namespace: String::new(), name: "c".to_owned() };
        let found = refused_of(&serde_json::from_value(pool).unwrap(), &Policy::default(), &config);
        assert_eq!(found, [not("source.name: /dev/vg0", "/dev/vg0", "hostPaths")]);
    }

    #[test]
    fn a_folder_whose_files_the_host_believes_must_be_listed() {
        let dir = |path: &str| json!({"target": {"path": path}});
        for path in ["/etc/cron.d", "/home/ann/.ssh", "/", "/var", "/srv/../etc", "/var/run/x", "/lib64"] {
            assert_eq!(refused_with(dir(path), json!({})), [not(&format!("target.path: {path}"), path, "hostPaths")]);
        }
        assert_eq!(refused_with(dir("/home/images"), json!({"hostPaths": ["/home/images"]})), [""; 0]);
        for path in ["/var/lib/libvirt/images", "/etcetera", "/srv/usr", "/tmp/a"] {
            assert_eq!(refused_with(dir(path), json!({})), [""; 0]);
        }
    }

    #[test]
    fn a_folder_of_the_host_is_free_and_devices_mounts_servers_and_adapters_must_be_listed() {
        let none = || json!({});
        assert_eq!(refused_with(json!({"target": {"path": "/srv/a"}}), none()), [""; 0]);
        let fs = json!({"type": "Fs", "source": {"devices": ["/dev/sdb"]}, "target": {"path": "/srv/a"}});
        let both = [
            not("source.devices: /dev/sdb", "/dev/sdb", "hostPaths"),
            not("target.path: /srv/a", "/srv/a", "hostPaths"),
        ];
        assert_eq!(refused_with(fs.clone(), none()), both);
        assert_eq!(refused_with(fs.clone(), json!({"hostPaths": ["/dev/sdb"]})), both[1..]);
        assert_eq!(refused_with(fs, json!({"hostPaths": ["/dev/sdb", "/srv"]})), [""; 0]);
        let vg = json!({"type": "Logical", "source": {"name": "vg0"}});
        assert_eq!(refused_with(vg.clone(), none()), [not("source.name: /dev/vg0", "/dev/vg0", "hostPaths")]);
        assert_eq!(refused_with(vg, json!({"hostPaths": ["/dev/vg0"]})), [""; 0]);
        let rbd = json!({"type": "Rbd", "source": {"name": "p", "hosts": [{"name": "a"}, {"name": "b", "port": 1}]}});
        assert_eq!(
            refused_with(rbd, json!({"diskHosts": ["a:6789"]})),
            [not("source.hosts: server b", "b", "diskHosts")]
        );
        let fc = json!({"type": "Scsi", "source": {"adapter": {"wwnn": "20000000c9831b4b", "wwpn": "10000000c9831b4b", "parent": "scsi_host5"}}});
        assert_eq!(
            refused_with(fc.clone(), json!({"hostDevices": ["scsi/scsi_host5"]})),
            [not("type Scsi: scsi/10000000c9831b4b", "scsi/10000000c9831b4b", "hostDevices")]
        );
        assert_eq!(refused_with(fc, json!({"hostDevices": ["scsi/*"]})), [""; 0]);
        let mpath = json!({"type": "Mpath", "target": {"path": "/dev/mapper"}});
        assert_eq!(refused_with(mpath.clone(), none()), [not("type Mpath: mpath", "mpath", "hostDevices")]);
        assert_eq!(refused_with(mpath, json!({"hostDevices": ["mpath"]})), [""; 0]);
    }
}
