//! What a guest reaches on its host beside volumes and networks, against the policy of its config: pure.
//!
//! Who may write a Domain need not be one who may read the host's files: nothing is reached that the policy does not list.

use apis::{
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
    for (name, path) in
        parameters.filesystems.iter().flatten().filter_map(|one| Some((&one.name, one.host_path.as_ref()?)))
    {
        if !may_reach(policy, path) {
            refused.push(sentence(&format!("filesystems {name}"), path, path, ("hostPaths", config)));
        }
    }
    refused
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
        if !may_reach(policy, path) {
            refused.push(sentence(&format!("disks {}", disk.name), path, path, ("hostPaths", config)));
        }
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

fn sentence(whose: &str, what: &str, line: &str, (list, config): (&str, &ConfigId)) -> String {
    format!("{whose}: {what} is not allowed on {config}; it would be with the line {line} in its spec.policy.{list}")
}

/// Whether a path of the host is listed, or below one that is.
pub(super) fn may_reach(policy: &Policy, path: &str) -> bool {
    let names = |path: &str| -> Option<Vec<String>> {
        let names: Vec<String> = path.strip_prefix('/')?.split('/').map(str::to_owned).collect();
        names.iter().all(|name| !["", ".", ".."].contains(&name.as_str())).then_some(names)
    };
    let Some(path) = names(path) else { return false };
    policy.host_paths.iter().flatten().filter_map(|pattern| names(pattern)).any(|pattern| {
        pattern.len() <= path.len() && pattern.iter().zip(&path).all(|(pattern, name)| fits(pattern, name))
    })
}

fn may_connect(policy: &Policy, host: &DiskHost, port: Option<i32>) -> bool {
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
