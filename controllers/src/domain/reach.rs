//! What a guest reaches on its host beside volumes and networks, against the policy of its config: pure.
//!
//! Who may write a Domain need not be one who may read the host's files: nothing is reached that the policy does not list.

use apis::{
    Managed,
    domain::{Disk, DiskHost, DomainParameters, HostDevice, UsbDevice},
    placement::ConfigId,
    provider_config::Policy,
};

use super::render::port;

/// What the policy does not allow, each with the line that would.
pub(crate) fn refused(parameters: &DomainParameters, policy: &Policy, config: &ConfigId) -> Vec<String> {
    let disks = parameters.disks.iter().flatten();
    let mut refused: Vec<String> = disks.flat_map(|disk| of_disk(disk, policy, config)).collect();
    for device in parameters.host_devices.iter().flatten() {
        let (whose, line) = (format!("hostDevices {}", device.name), line_of(device));
        if !policy.host_devices.iter().flatten().any(|pattern| fits(pattern, &line)) {
            refused.push(sentence(&whose, &line, &line, ("hostDevices", config)));
        }
    }
    let emulator = parameters.os.as_ref().and_then(|os| os.emulator.as_ref());
    refused.extend(emulator.and_then(|path| of_emulator(path, policy, config)));
    for (name, path) in
        parameters.filesystems.iter().flatten().filter_map(|one| Some((&one.name, one.host_path.as_ref()?)))
    {
        refused.extend(of_folder(&format!("filesystems {name}"), path, policy, config));
    }
    refused
}

/// What is not allowed of an object, neither as it is nor as it would be made anew.
pub(crate) fn now_and_anew<K: Managed>(object: &K, refused: impl Fn(&K::Parameters) -> Vec<String>) -> Vec<String> {
    let mut found = refused(object.effective().parameters());
    let mut anew = refused(object.merged().parameters());
    anew.retain(|why| !found.contains(why));
    found.extend(anew);
    found
}

fn of_emulator(path: &str, policy: &Policy, config: &ConfigId) -> Option<String> {
    let whose = "os.emulator";
    if !policy.emulators.iter().flatten().any(|listed| listed == path) {
        return Some(sentence(whose, path, path, ("emulators", config)));
    }
    in_folder(policy, path).map(|folder| linked(whose, path, folder, config))
}

/// A folder is had as it is listed: what is below one that guests write to may be a link of theirs.
fn of_folder(whose: &str, path: &str, policy: &Policy, config: &ConfigId) -> Option<String> {
    let listed = policy.host_folders.iter().flatten().any(|pattern| relation(pattern, path) == Some(Lies::There));
    if !listed {
        return Some(sentence(whose, path, path, ("hostFolders", config)));
    }
    in_folder(policy, path).map(|folder| linked(whose, path, folder, config))
}

/// The folder that guests may write to and that this is in.
fn in_folder<'a>(policy: &'a Policy, path: &str) -> Option<&'a String> {
    policy.host_folders.iter().flatten().find(|pattern| relation(pattern, path) == Some(Lies::Below))
}

fn linked(whose: &str, path: &str, folder: &str, config: &ConfigId) -> String {
    format!(
        "{whose}: {path} is not allowed on {config}: it is in {folder} of its spec.policy.hostFolders, where guests may put links to anything"
    )
}

/// How a policy says a device of the host.
fn line_of(device: &HostDevice) -> String {
    let HostDevice { name: _, pci, usb, mdev, boot_order: _ } = device;
    let of_usb = |usb: &UsbDevice| {
        let UsbDevice { vendor, product, bus, device } = usb;
        match (vendor, product, bus, device) {
            (Some(vendor), Some(product), None, None) => Some(format!("usb/{vendor}:{product}")),
            (None, None, Some(bus), Some(device)) => Some(format!("usb/{bus}.{device}")),
            _ => None,
        }
    };
    let line = match (pci, usb, mdev) {
        (Some(pci), None, None) => Some(format!("pci/{}", pci.address)),
        (None, Some(usb), None) => of_usb(usb),
        (None, None, Some(mdev)) => Some(format!("mdev/{}", mdev.uuid)),
        _ => None,
    };
    line.unwrap_or_default()
}

fn of_disk(disk: &Disk, policy: &Policy, config: &ConfigId) -> Vec<String> {
    let mut refused = Vec::new();
    let file = disk.file.as_ref().map(|file| &file.path);
    for path in file.into_iter().chain(disk.block.as_ref().map(|block| &block.path)) {
        refused.extend(of_path(&format!("disks {}", disk.name), path, policy, config));
    }
    for (network, host) in disk.network.iter().flat_map(|network| network.hosts.iter().map(move |host| (network, host)))
    {
        let port = port(network.protocol, host);
        if !may_connect(policy, host, port) {
            let what = format!("server {}", host.name);
            refused.push(sentence(&format!("disks {}", disk.name), &what, &host.name, ("diskHosts", config)));
        }
    }
    refused
}

/// Why a path of the host may not become a disk.
pub(crate) fn of_path(whose: &str, path: &str, policy: &Policy, config: &ConfigId) -> Option<String> {
    if !may_reach(policy, path) {
        return Some(sentence(whose, path, path, ("hostPaths", config)));
    }
    in_folder(policy, path).map(|folder| linked(whose, path, folder, config))
}

pub(crate) fn sentence(whose: &str, what: &str, line: &str, (list, config): (&str, &ConfigId)) -> String {
    format!("{whose}: {what} is not allowed on {config}; it would be with the line {line} in its spec.policy.{list}")
}

/// Whether a path of the host is listed, or below one that is.
pub(super) fn may_reach(policy: &Policy, path: &str) -> bool {
    policy.host_paths.iter().flatten().any(|pattern| relation(pattern, path).is_some())
}

/// Where a path lies as to a pattern that fits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lies {
    There,
    Below,
}

fn relation(pattern: &str, path: &str) -> Option<Lies> {
    let names = |path: &str| -> Option<Vec<String>> {
        let names: Vec<String> = path.strip_prefix('/')?.split('/').map(str::to_owned).collect();
        names.iter().all(|name| !["", ".", ".."].contains(&name.as_str())).then_some(names)
    };
    let (pattern, path) = (names(pattern)?, names(path)?);
    let is_of = pattern.len() <= path.len() && pattern.iter().zip(&path).all(|(pattern, name)| fits(pattern, name));
    is_of.then_some(if pattern.len() == path.len() { Lies::There } else { Lies::Below })
}

pub(crate) fn may_connect(policy: &Policy, host: &DiskHost, port: Option<i32>) -> bool {
    let name = host.name.as_str();
    let with_port = port.into_iter().flat_map(|port| [format!("{name}:{port}"), format!("[{name}]:{port}")]);
    let known: Vec<String> = with_port.chain([name.to_owned(), format!("[{name}]")]).collect();
    policy.disk_hosts.iter().flatten().any(|listed| known.iter().any(|known| known.eq_ignore_ascii_case(listed)))
}

/// Whether a pattern, in which * stands for any characters, is of this text.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| text.strip_prefix(head)) else { return false };
    let Some(tail) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use apis::managed::ConfigKind;

    use super::*;

    #[test]
    fn a_path_is_reached_where_it_or_what_it_is_in_is_listed() {
        let policy = Policy {
            host_paths: Some(["/srv/images", "/dev/vg0/web-*", "/home/*/disks"].map(str::to_owned).to_vec()),
            ..Policy::default()
        };
        for path in ["/srv/images", "/srv/images/a", "/srv/images/a/b", "/dev/vg0/web-1", "/home/me/disks/x"] {
            assert!(may_reach(&policy, path), "{path}");
        }
        let others =
            ["/srv", "/srv/images2", "/srv/images/../x", "/srv//images", "srv/images", "/dev/vg0/db", "/home/disks"];
        for path in others.into_iter().chain(["/", "", "/srv/images/", "/srv/./images"]) {
            assert!(!may_reach(&policy, path), "{path}");
        }
        assert!(!may_reach(&Policy::default(), "/srv/images"));
    }

    #[test]
    fn a_folder_is_had_as_it_is_listed_and_nothing_in_one_that_guests_write_to() {
        let list = |paths: &[&str]| Some(paths.iter().map(|path| (*path).to_owned()).collect());
        let policy = Policy {
            host_folders: list(&["/srv/share", "/srv/homes/*", "/srv/share/within"]),
            host_paths: list(&["/srv"]),
            ..Policy::default()
        };
        let config =
            ConfigId { kind: ConfigKind::ClusterProviderConfig, namespace: String::new(), name: "c".to_owned() };
        let folder = |path: &str| of_folder("filesystems f", path, &policy, &config);
        for path in ["/srv/share", "/srv/homes/me"] {
            assert_eq!(folder(path), None, "{path}");
        }
        let line = "filesystems f: /srv/homes is not allowed on ClusterProviderConfig c; it would be with the line /srv/homes in its spec.policy.hostFolders";
        assert_eq!(folder("/srv/homes").as_deref(), Some(line));
        for path in ["/srv/share/x", "/srv/homes/me/x", "/srv/homes/../share", "/"] {
            assert!(folder(path).is_some(), "{path}");
        }
        let links = |whose: &str, path: &str| {
            format!(
                "{whose}: {path} is not allowed on ClusterProviderConfig c: it is in /srv/share of its spec.policy.hostFolders, where guests may put links to anything"
            )
        };
        assert_eq!(folder("/srv/share/within"), Some(links("filesystems f", "/srv/share/within")));
        let disk = |path: &str| -> Vec<String> {
            let disk = serde_json::json!({"name": "d", "file": {"path": path, "format": "Raw"}});
            of_disk(&serde_json::from_value(disk).unwrap(), &policy, &config)
        };
        assert_eq!(disk("/srv/share/x"), [links("disks d", "/srv/share/x")]);
        assert_eq!(disk("/srv/images/x"), Vec::<String>::new());
    }

    #[test]
    fn a_server_is_reached_by_the_name_that_is_listed_and_by_its_port_where_one_is() {
        let policy = Policy {
            disk_hosts: Some(["SAN", "nas:3260", "[::1]:10809"].map(str::to_owned).to_vec()),
            ..Policy::default()
        };
        let host = |name: &str| DiskHost { name: name.to_owned(), port: None };
        for (name, port, expected) in [
            ("san", Some(1), true),
            ("nas", Some(3260), true),
            ("nas", Some(80), false),
            ("nas", None, false),
            ("::1", Some(10809), true),
            ("::1", Some(80), false),
            ("other", Some(3260), false),
        ] {
            assert_eq!(may_connect(&policy, &host(name), port), expected, "{name} {port:?}");
        }
    }
}
