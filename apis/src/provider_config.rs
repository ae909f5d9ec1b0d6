//! The configs of libvirt hosts, and who uses them.

mod image_proxy;
mod transport;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use image_proxy::{ImageProxy, ProxySecret};
pub use transport::{SshSpec, TlsSpec, Verification};

use crate::{condition::Condition, managed::ProviderConfigReference, quantity::Span};

/// A libvirt host for the objects of one namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "libvirt.m.nourspeed.io",
    version = "v1alpha1",
    kind = "ProviderConfig",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name must not be longer than 63 characters: objects carry it as a label"),
    validation = Rule::new("has(self.spec.uri) || (has(self.spec.credentials) && self.spec.credentials.source == 'Secret')").message("set spec.uri, or spec.credentials with a Secret that holds it"),
    validation = Rule::new("!has(self.spec.uri) || !has(self.spec.credentials) || !has(self.spec.credentials.secretRef) || !has(self.spec.credentials.secretRef.key)").message("set one of spec.uri and spec.credentials.secretRef.key: the key holds the whole connection, its URI too"),
    validation = Rule::new("!has(self.spec.credentials) || !has(self.spec.credentials.secretRef) || !has(self.spec.credentials.secretRef.namespace)").message("a ProviderConfig reads Secrets of its own namespace only: leave spec.credentials.secretRef.namespace out"),
    validation = Rule::new("!has(self.spec.policy) || !has(self.spec.policy.imageProxy) || !has(self.spec.policy.imageProxy.credentialsRef) || !has(self.spec.policy.imageProxy.credentialsRef.namespace)").message("a ProviderConfig reads Secrets of its own namespace only: leave spec.policy.imageProxy.credentialsRef.namespace out"),
    namespaced,
    status = "ProviderConfigStatus",
    derive = "PartialEq",
    category = "crossplane",
    category = "provider",
    category = "libvirt",
    doc = "A libvirt host for the objects of one namespace.",
    printcolumn(name = "READY", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "REASON", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason", priority = "1"),
    printcolumn(name = "HOST", type_ = "string", json_path = ".status.host.hostname"),
    printcolumn(name = "USERS", type_ = "integer", json_path = ".status.users"),
    printcolumn(name = "URI", type_ = "string", json_path = ".spec.uri", priority = "1"),
    printcolumn(name = "SECRET-NAME", type_ = "string", json_path = ".spec.credentials.secretRef.name", priority = "1"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ProviderConfigSpec {
    #[serde(flatten)]
    #[allow(missing_docs, reason = "a doc here would become the description of the whole spec")]
    pub host: HostSpec,
}

/// A libvirt host for the objects of all namespaces.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "libvirt.m.nourspeed.io",
    version = "v1alpha1",
    kind = "ClusterProviderConfig",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name must not be longer than 63 characters: objects carry it as a label"),
    validation = Rule::new("has(self.spec.uri) || (has(self.spec.credentials) && self.spec.credentials.source == 'Secret')").message("set spec.uri, or spec.credentials with a Secret that holds it"),
    validation = Rule::new("!has(self.spec.uri) || !has(self.spec.credentials) || !has(self.spec.credentials.secretRef) || !has(self.spec.credentials.secretRef.key)").message("set one of spec.uri and spec.credentials.secretRef.key: the key holds the whole connection, its URI too"),
    validation = Rule::new("!has(self.spec.credentials) || !has(self.spec.credentials.secretRef) || has(self.spec.credentials.secretRef.namespace)").message("a ClusterProviderConfig has no namespace: spec.credentials.secretRef.namespace is needed"),
    validation = Rule::new("!has(self.spec.policy) || !has(self.spec.policy.imageProxy) || !has(self.spec.policy.imageProxy.credentialsRef) || has(self.spec.policy.imageProxy.credentialsRef.namespace)").message("a ClusterProviderConfig has no namespace: spec.policy.imageProxy.credentialsRef.namespace is needed"),
    status = "ProviderConfigStatus",
    derive = "PartialEq",
    category = "crossplane",
    category = "provider",
    category = "libvirt",
    doc = "A libvirt host for the objects of all namespaces.",
    printcolumn(name = "READY", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "REASON", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason", priority = "1"),
    printcolumn(name = "HOST", type_ = "string", json_path = ".status.host.hostname"),
    printcolumn(name = "USERS", type_ = "integer", json_path = ".status.users"),
    printcolumn(name = "URI", type_ = "string", json_path = ".spec.uri", priority = "1"),
    printcolumn(name = "SECRET-NAME", type_ = "string", json_path = ".spec.credentials.secretRef.name", priority = "1"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterProviderConfigSpec {
    #[serde(flatten)]
    #[allow(missing_docs, reason = "a doc here would become the description of the whole spec")]
    pub host: HostSpec,
}

/// How to reach a libvirt host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostSpec {
    /// The libvirt connection: qemu:///system, qemu+unix:///system?socket=/path, qemu+tls://host/system, qemu+tcp://host/system, qemu+ssh://user@host/system, with a port or without, or test:///default. No credentials in it. Left out where a Secret holds it. qemu+libssh is the same as qemu+ssh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 1024), regex(pattern = r"^[a-z]+(\+[a-z0-9]+)?://([A-Za-z0-9_.-]+@)?[^@\s]*$"))]
    pub uri: Option<String>,
    /// A Secret with what lets in at the host: ca.crt, tls.crt and tls.key for TLS; username and password for SASL; ssh-privatekey or password, known_hosts and, where the URI has no user, username for SSH; and uri, where it is not said here. A change of it takes effect at once, and what is under way over the connection before goes on to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// The UUID of the host that uri leads to, where that is another one than before, or its name, where both have the same UUID: confirms that it is meant. Until then nothing is made, changed or deleted. Said from the start, it keeps a config from any other host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[0-9A-Za-z-]+$"))]
    pub accept_host: Option<String>,
    /// Leaves the host alone for a while: its objects are looked at and their status goes on telling what is, and nothing is made, changed or deleted on the host. What is under way goes on to its end, and what waits is done once it is false or left out. A ClusterProviderConfig says so for all configs that lead to the same host. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<bool>,
    /// Reads only, over libvirt's read-only connection, which the host itself holds to that: every object of the host is only looked at, and nothing is made, changed or deleted there. Without socket in uri the daemon's libvirt-sock-ro is enough. What a guest agent says is not told over it. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// How a host is checked that is reached by TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// How a host is checked that is reached by SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshSpec>,
    /// Time limits of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
    /// What the objects on this host may reach. Refused unless listed: disks by path, block device or server, devices and folders of the host, emulators, rawXml, images of servers that are not public, adoption. Not limited: bridges, direct and user interfaces, networks and volumes by their names on the host, pools' paths, the addresses that consoles listen on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
}

/// Where the connection of a host comes from, if not from its config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.source == 'Secret') == has(self.secretRef)").message("source Secret needs secretRef, and source None has none"))]
pub struct Credentials {
    /// What holds it.
    pub source: CredentialsSource,
    /// The Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKey>,
}

/// What holds the connection of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum CredentialsSource {
    /// The config itself.
    None,
    /// A Secret.
    Secret,
}

/// A Secret, or a key of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The namespace of the Secret. A ProviderConfig reads Secrets of its own namespace only and leaves this out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
    /// The key that holds the connection as a JSON object with the key uri and no other, as in {"uri": "qemu:///system"}. Left out where the Secret's own keys say what lets in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// What the objects on a host may reach. What these lists speak of is refused unless it is listed. Nothing here limits bridges, direct and user interfaces,
/// networks and volumes by their names on the host, pools' paths, or the addresses that consoles listen on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Web servers for images that are not on the public internet: host names or addresses, each with a port or without. The provider itself fetches images, so this keeps its own network closed to those who write Volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 255)))]
    pub image_hosts: Option<Vec<String>>,
    /// A proxy that images are fetched by: http servers by the whole URL, https servers through a tunnel (CONNECT) in which their certificates are checked as ever. The name of each server, also after a redirect, is looked up by the provider first and refused as without a proxy; one that cannot be looked up is refused unless imageHosts lists it. The proxy then looks the name up again by itself, so it should refuse what is not public, too. Without it servers are asked directly; HTTP_PROXY and the like are not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_proxy: Option<ImageProxy>,
    /// What objects may take over that others made on the host, by kind and name there: domain/web-* or volume/*, where * stands for any characters. An object asks for it with the annotation libvirt.nourspeed.io/adopt: "true".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 64),
        inner(length(min = 3, max = 264), regex(pattern = r"^(domain|volume|pool|network|cloudinit)/[^/\x00-\x1f]+$"))
    )]
    pub adopt: Option<Vec<String>>,
    /// What Domains may say in rawXml, by the path of the element, which stands for all that is in it: devices/redirdev, qemu:commandline, or * for everything. Whoever may say that can reach the host's files and devices and give the emulator any argument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 64),
        inner(
            length(min = 1, max = 255),
            regex(
                pattern = r"^(\*|[A-Za-z_][A-Za-z0-9_:.-]*(/[A-Za-z_][A-Za-z0-9_:.-]*)*(@[A-Za-z_][A-Za-z0-9_:.-]*)?)$"
            )
        )
    )]
    pub raw_xml: Option<Vec<String>>,
    /// Files and block devices of the host that guests may have as disks, pools may be made of or, but for those of type Dir, be mounted on: absolute paths, each with all that is below it, where * stands for any characters of one name: /srv/images or /dev/vg0/web-*. What a link leads to is reached by it too. Pools of type Dir need it only for folders whose files the host itself believes, as /etc, /home, /root and /usr, and for what holds these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 64),
        inner(length(min = 2, max = 1024), regex(pattern = r"^(/\.{0,2}[^/.\x00-\x1f][^/\x00-\x1f]*)+$"))
    )]
    pub host_paths: Option<Vec<String>>,
    /// Folders of the host that guests may have as file systems: absolute paths, each without what is below it, where * stands for any characters of one name: /srv/share or /srv/homes/*. A guest can put links into a folder that it may write to, so no disk of hostPaths and no other of these folders is had in or below one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 64),
        inner(length(min = 2, max = 1024), regex(pattern = r"^(/\.{0,2}[^/.\x00-\x1f][^/\x00-\x1f]*)+$"))
    )]
    pub host_folders: Option<Vec<String>>,
    /// Programs that guests may have as os.emulator: absolute paths. The host runs them with the guest's disks and devices. rawXml speaks of them by devices/emulator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 16),
        inner(length(min = 2, max = 1024), regex(pattern = r"^(/\.{0,2}[^/.\x00-\x1f][^/\x00-\x1f]*)+$"))
    )]
    pub emulators: Option<Vec<String>>,
    /// Servers that disks over the network, and pools, may be on: host names or addresses as disks and pools say them, each with a port or without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 262), regex(pattern = r"^[\]\[A-Za-z0-9.:_-]+$")))]
    pub disk_hosts: Option<Vec<String>>,
    /// Devices of the host that guests, and networks for them, may get: pci/0000:01:00.0, net/eno1 for all virtual functions of a network card, usb/1d6b:0002 by vendor and product, usb/1.2 by bus and device, mdev/c2177883-f1bb-47f0-914d-32a22e3a8804, where * stands for any characters; and adapters of pools, scsi/scsi_host5, scsi/ and a world wide port name, or mpath for all multipath devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 64),
        inner(
            length(min = 5, max = 64),
            regex(pattern = r"^((pci|usb|mdev)/[0-9a-f:.*-]+|net/[A-Za-z0-9._*-]+|scsi/[a-z0-9_*]+|mpath)$")
        )
    )]
    pub host_devices: Option<Vec<String>>,
}

/// Time limits of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// How long opening may take. Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Span>,
    /// How long a short call may take. Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_timeout: Option<Span>,
    /// How often a silent host is asked whether it is still there. Default 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive_interval: Option<Span>,
    /// How many such questions may stay unanswered. Default 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub keepalive_count: Option<i32>,
}

/// What the provider knows of a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderConfigStatus {
    /// How many managed resources use this config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<i64>,
    /// The host, as it was last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostObservation>,
    /// What is so and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
}

/// A host, as it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostObservation {
    /// Its UUID.
    pub uuid: String,
    /// Its name.
    pub hostname: String,
    /// The version of its libvirt.
    pub libvirt_version: String,
    /// The version of its hypervisor.
    // Written also when there is none: a merge patch keeps what it does not name.
    pub hypervisor_version: Option<String>,
    /// Its architecture.
    pub arch: String,
    /// The types of domains it can run.
    pub domain_types: Vec<String>,
    /// What it lacks of what hosts usually have: Qemu (its driver is another one), Emulator (none is installed), Kvm (hardware virtualization), and libvirt's drivers Networks, Storage, Secrets and NodeDevices. What needs it fails there.
    #[serde(default)]
    pub lacks: Vec<String>,
}

/// One managed resource's use of a config. It goes with the resource.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "libvirt.m.nourspeed.io",
    version = "v1alpha1",
    kind = "ProviderConfigUsage",
    namespaced,
    no_spec,
    derive = "PartialEq",
    category = "crossplane",
    category = "provider",
    category = "libvirt",
    doc = "One managed resource's use of a config. It goes with the resource.",
    printcolumn(name = "CONFIG-NAME", type_ = "string", json_path = ".providerConfigRef.name"),
    printcolumn(name = "RESOURCE-KIND", type_ = "string", json_path = ".resourceRef.kind"),
    printcolumn(name = "RESOURCE-NAME", type_ = "string", json_path = ".resourceRef.name"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ProviderConfigUsageSpec {
    /// The config in use.
    pub provider_config_ref: ProviderConfigReference,
    /// The managed resource that uses it.
    pub resource_ref: ResourceReference,
}

/// A managed resource of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceReference {
    /// Group and version.
    #[schemars(length(max = 253))]
    pub api_version: String,
    /// The kind.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// The name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub uid: Option<String>,
}
