//! Parameters of a Pool → wishes about its description: pure.

use apis::{
    Managed, Pool,
    pool::{Permissions, PoolAdapter, PoolAuth, PoolHost, PoolSource, PoolTarget, PoolType},
};
use libvirt::{wish::Wishes, xml::Element};

use super::{auth, words};

/// Everything wished of a pool. `previous` are the paths of the last apply; `create` says that it does not exist yet.
pub fn render(object: &Pool, create: bool, previous: &[String]) -> Wishes {
    let parameters = object.parameters();
    let mut wishes = Wishes::new("pool");
    if create {
        wishes.set("@type", words::of_type(parameters.type_.unwrap_or_default()));
        wishes.set("name", object.external_name());
        wishes.set("uuid", object.uid());
    }
    let name = parameters.source.as_ref().and_then(|source| source.name.as_ref());
    if let Some(name) = name.filter(|_| create && parameters.type_ == Some(PoolType::Logical)) {
        // Where libvirt puts it in any case; its schema wants it to be said.
        wishes.set("target/path", format!("/dev/{name}"));
    }
    if let Some(source) = &parameters.source {
        of_source(&mut wishes, source);
        if let Some(PoolAuth { username, secret_ref: _ }) = &source.auth {
            wishes.set("source/auth@type", auth::word(object));
            wishes.set("source/auth@username", username.as_str());
            wishes.set("source/auth/secret@uuid", auth::secret_of(object));
        }
    }
    if let Some(target) = &parameters.target {
        of_target(&mut wishes, target);
    }
    wishes.forget(previous);
    wishes
}

fn of_source(wishes: &mut Wishes, source: &PoolSource) {
    let PoolSource { hosts, dir, devices, iqn, initiator_iqn, adapter, name, format, protocol_version, auth: _ } =
        source;
    if let Some(hosts) = hosts {
        wishes.replace_all("source/host", hosts.iter().map(host).collect());
    }
    // A target of iSCSI stands where devices of the host do.
    let devices: Vec<&String> = devices.iter().flatten().chain(iqn).collect();
    if !devices.is_empty() {
        let device = |path: &&String| Element::new("device").attr("path", path.as_str());
        wishes.replace_all("source/device", devices.iter().map(device).collect());
    }
    let values = [
        ("source/dir@path", dir.as_deref()),
        ("source/initiator/iqn@name", initiator_iqn.as_deref()),
        ("source/name", name.as_deref()),
        ("source/format@type", format.map(words::of_format)),
        ("source/protocol@ver", protocol_version.as_deref()),
    ];
    for (path, value) in values {
        if let Some(value) = value {
            wishes.set(path, value);
        }
    }
    if let Some(PoolAdapter { name, wwnn, wwpn, parent }) = adapter {
        wishes.set("source/adapter@type", if name.is_some() { "scsi_host" } else { "fc_host" });
        for (path, value) in [("name", name), ("wwnn", wwnn), ("wwpn", wwpn), ("parent", parent)] {
            if let Some(value) = value {
                wishes.set(&format!("source/adapter@{path}"), value.as_str());
            }
        }
    }
}

fn host(host: &PoolHost) -> Element {
    let PoolHost { name, port } = host;
    let element = Element::new("host").attr("name", name.as_str());
    match port {
        Some(port) => element.attr("port", port.to_string()),
        None => element,
    }
}

fn of_target(wishes: &mut Wishes, target: &PoolTarget) {
    let PoolTarget { path, permissions } = target;
    if let Some(path) = path {
        wishes.set("target/path", path.as_str());
    }
    if let Some(Permissions { mode, owner, group }) = permissions {
        if let Some(mode) = mode {
            wishes.set("target/permissions/mode", mode.as_str());
        }
        for (name, id) in [("owner", owner), ("group", group)] {
            if let Some(id) = id {
                wishes.set(&format!("target/permissions/{name}"), id.to_string());
            }
        }
    }
}
