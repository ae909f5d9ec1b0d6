//! The examples of each kind: `golden/<kind>/<case>.yaml` holds an object and what other objects had to tell about it,
//! `<case>.xml` beside it the description that is made of them.

use std::{collections::BTreeMap, fs, path::PathBuf};

use apis::{
    Domain, Network, Pool, Volume,
    volume::{Format, VolumeType},
};
use libvirt::{Facts, rule::Rules, wish::Wishes, xml::Element};
use provider_libvirt::{
    domain::{
        self, Surroundings,
        passwords::{Password, Passwords},
        render::{DiskType, Layer, Medium},
    },
    network, pool,
    volume::render::Below,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// What is in an example's file.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    object: Value,
    #[serde(default)]
    around: Around,
}

/// What other objects had to tell.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Around {
    media: BTreeMap<String, Data>,
    networks: BTreeMap<String, String>,
    seed: Option<String>,
    ignition: Option<String>,
    kernel: Option<String>,
    initrd: Option<String>,
    raw_xml: Vec<String>,
    /// By the type of the console.
    passwords: BTreeMap<String, String>,
    below: Option<Lower>,
    /// The UUID of the secret of an encrypted volume.
    secret: Option<String>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Data {
    path: String,
    format: Format,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    type_: Option<VolumeType>,
    /// Pool and name.
    #[serde(default)]
    volume: [String; 2],
    #[serde(default)]
    backing: Vec<(String, Format)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl Data {
    fn medium(self) -> Medium {
        let Self { path, format, type_, volume: [pool, name], backing, secret } = self;
        // A device is told by its path here.
        let layer = |(path, format): (String, Format)| Layer { block: path.starts_with("/dev/"), path, format };
        let backing = backing.into_iter().map(layer).collect();
        Medium { path, type_: DiskType::of(type_, &pool, &name), format, backing, secret }
    }
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Lower {
    path: String,
    format: Format,
    capacity: u64,
}

/// One example.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) object: Value,
    pub(crate) around: Around,
}

/// The kinds that are made of a description with wishes.
pub(crate) const WISHED: [&str; 3] = ["domain", "network", "pool"];

pub(crate) fn folder(kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../controllers/tests/golden").join(kind)
}

/// All examples of a kind.
pub(crate) fn cases(kind: &'static str) -> Vec<Case> {
    let files = fs::read_dir(folder(kind)).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no examples of {kind}");
    names.iter().map(|name| case(kind, name)).collect()
}

pub(crate) fn case(kind: &'static str, name: &str) -> Case {
    let text = fs::read_to_string(folder(kind).join(name).with_extension("yaml")).unwrap();
    let File { object, around } =
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
    Case { kind, name: name.to_owned(), object, around }
}

impl Case {
    pub(crate) fn object<K: DeserializeOwned>(&self) -> K {
        serde_json::from_value(self.object.clone())
            .unwrap_or_else(|error| panic!("{} {}: {error}", self.kind, self.name))
    }

    /// Whether the object can be read: it lacks nothing that its type requires.
    pub(crate) fn is_readable(&self) -> bool {
        match self.kind {
            "domain" => serde_json::from_value::<Domain>(self.object.clone()).is_ok(),
            "network" => serde_json::from_value::<Network>(self.object.clone()).is_ok(),
            "pool" => serde_json::from_value::<Pool>(self.object.clone()).is_ok(),
            "volume" => serde_json::from_value::<Volume>(self.object.clone()).is_ok(),
            other => panic!("no kind {other}"),
        }
    }

    pub(crate) fn rules(&self) -> Rules {
        match self.kind {
            "domain" => domain::rules::rules(),
            "network" => network::rules::rules(),
            "pool" => pool::rules::rules(),
            other => panic!("{other} has no rules"),
        }
    }

    /// What is wished of a new one, or of the one that this description is of, `previous` being owned at the last apply.
    pub(crate) fn wishes(&self, base: Option<&Element>, previous: &[String]) -> anyhow::Result<Wishes> {
        match self.kind {
            "domain" => {
                let around = self.surroundings();
                let mut wishes = domain::render::render(&self.object::<Domain>(), &around, &facts(), base)?;
                domain::passwords::reveal(&mut wishes, &around, base);
                Ok(wishes)
            }
            "network" => network::render::render(&self.object::<Network>(), base.is_none(), previous),
            "pool" => Ok(pool::render::render(&self.object::<Pool>(), base.is_none(), previous)),
            other => panic!("{other} is made without wishes"),
        }
    }

    /// The paths that an annotation keeps, for kinds whose description cannot keep them.
    pub(crate) fn applied(&self) -> Vec<String> {
        let nothing = Element::default();
        if self.kind == "domain" { Vec::new() } else { self.wishes(Some(&nothing), &[]).unwrap().owned_paths() }
    }

    /// The description of a new one.
    pub(crate) fn create(&self) -> Element {
        match self.kind {
            "volume" => {
                let made = provider_libvirt::volume::render::render(&self.object::<Volume>(), self.below().as_ref());
                match &self.around.secret {
                    Some(secret) => provider_libvirt::volume::encrypted(made.unwrap(), secret),
                    None => made.unwrap(),
                }
            }
            _ => self.wishes(None, &[]).unwrap().create(&self.rules()),
        }
    }

    pub(crate) fn below(&self) -> Option<Below> {
        let Lower { path, format, capacity } = self.around.below.clone()?;
        Some(Below { path, format, capacity })
    }

    /// What other objects have to tell about what the object refers to, and about nothing else.
    pub(crate) fn surroundings(&self) -> Surroundings {
        let Around { media, networks, seed, ignition, kernel, initrd, raw_xml, passwords, below: _, secret: _ } =
            self.around.clone();
        let spec = &self.object["spec"]["forProvider"];
        let refers =
            |of: &Value, field: &str| ["Ref", "Selector"].iter().any(|by| !of[format!("{field}{by}")].is_null());
        let names = |list: &str, fields: &[&str]| -> Vec<String> {
            let items = spec[list].as_array().into_iter().flatten();
            let refers = items.filter(|item| fields.iter().any(|field| !item[*field].is_null()));
            refers.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
        };
        let (disks, nics) = (
            names("disks", &["volumeRef", "volumeSelector", "volume"]),
            names("networkInterfaces", &["networkRef", "networkSelector"]),
        );
        let medium = |(name, data): (String, Data)| (name, data.medium());
        Surroundings {
            media: media.into_iter().filter(|(name, _)| disks.contains(name)).map(medium).collect(),
            networks: networks.into_iter().filter(|(name, _)| nics.contains(name)).collect(),
            seed: seed.filter(|_| refers(spec, "cloudInit")),
            ignition: ignition.filter(|_| refers(spec, "cloudInit")),
            kernel: kernel.filter(|_| refers(&spec["os"], "kernel")),
            initrd: initrd.filter(|_| refers(&spec["os"], "initrd")),
            raw_xml,
            passwords: passwords_of(spec, &passwords),
            ..Surroundings::default()
        }
    }
}

/// The passwords of the consoles that have one, each with a print that tells it from others.
fn passwords_of(spec: &Value, passwords: &BTreeMap<String, String>) -> Passwords {
    let consoles = spec["graphics"].as_array().into_iter().flatten();
    let consoles = consoles.filter(|console| !console["passwordSecretRef"].is_null());
    let password = |console: &Value| {
        let type_ = console["type"].as_str().unwrap();
        let text = &passwords[type_];
        (if type_ == "Vnc" { "vnc" } else { "spice" }, Password::new(text, format!("print-{}", text.len())))
    };
    consoles.map(password).collect()
}

/// A host without hardware virtualization.
pub(crate) fn facts() -> Facts {
    Facts {
        uuid: None,
        hostname: "host".to_owned(),
        libvirt_version: "9.0.0".to_owned(),
        hypervisor_version: None,
        arch: Some("x86_64".to_owned()),
        domain_types: vec!["qemu".to_owned()],
        cpus: libvirt::CpuSet::parse("0-7").unwrap(),
        driver: "QEMU".to_owned(),
        machines: Vec::new(),
        lacks: Vec::new(),
    }
}

/// What cannot be taken out of an example, because the API server refuses it with this sentence.
pub(crate) const REFUSED: [(&str, &str, &str, &str); 55] = [
    ("domain", "full", "disks/2/device", "a disk needs volumeRef, volumeSelector, volume, file, block or network"),
    ("domain", "devices", "consoles/2/type", "tcp and type Tcp need each other"),
    ("domain", "devices", "consoles/2/tcp", "tcp and type Tcp need each other"),
    ("domain", "devices", "channels/0/target", "a channel of type Unix needs target"),
    ("domain", "devices", "channels/1/type", "a channel of type Unix needs target"),
    ("domain", "links", "networkInterfaces/1/direct", "set exactly one of networkRef, networkSelector"),
    ("domain", "links", "networkInterfaces/1/direct/mode", "vlan needs direct.mode: Passthrough"),
    ("domain", "links", "networkInterfaces/4/vlan/trunk", "several tags need trunk: true"),
    ("domain", "platform", "cpu/model", "cpu.mode: Custom needs cpu.model"),
    ("domain", "platform", "cpu/mode", "cpu.features needs cpu.mode"),
    ("domain", "platform", "disks/0/cache", "io: Native needs cache: None or Directsync"),
    ("domain", "passed", "hostDevices/0/pci", "set one of pci, usb and mdev"),
    ("domain", "passed", "hostDevices/1/usb", "set one of pci, usb and mdev"),
    ("domain", "passed", "hostDevices/2/usb", "set one of pci, usb and mdev"),
    ("domain", "passed", "hostDevices/3/mdev", "set one of pci, usb and mdev"),
    ("domain", "passed", "hostDevices/1/usb/product", "usb: set vendor and product, or bus and device"),
    ("domain", "passed", "hostDevices/1/usb/vendor", "usb: set vendor and product, or bus and device"),
    ("domain", "passed", "hostDevices/2/usb/bus", "usb: set vendor and product, or bus and device"),
    ("domain", "passed", "hostDevices/2/usb/device", "usb: set vendor and product, or bus and device"),
    ("domain", "storage", "disks/0/ioTune/bytesPerSecond/total", "bytesPerSecond: totalMax needs total"),
    ("domain", "storage", "disks/1/ioTune/bytesPerSecond/read", "bytesPerSecond: readMax needs read"),
    ("domain", "storage", "disks/1/ioTune/bytesPerSecond/write", "bytesPerSecond: writeMax needs write"),
    ("domain", "storage", "disks/1/ioTune/iopsPerSecond/total", "iopsPerSecond: totalMax needs total and is not less"),
    ("domain", "storage", "disks/3/device", "a disk needs volumeRef, volumeSelector, volume, file, block or network"),
    ("domain", "storage", "disks/4/file", "a disk needs volumeRef, volumeSelector, volume, file, block or network"),
    ("domain", "storage", "disks/5/block", "a disk needs volumeRef, volumeSelector, volume, file, block or network"),
    ("domain", "storage", "disks/6/network", "a disk needs volumeRef, volumeSelector, volume, file, block or network"),
    ("domain", "storage", "disks/7/network", "a disk needs volumeRef, volumeSelector, volume, file, block or network"),
    ("domain", "storage", "disks/8/network", "a disk needs volumeRef, volumeSelector, volume, file, block or network"),
    ("domain", "storage", "disks/9/network", "a disk needs volumeRef, volumeSelector, volume, file, block or network"),
    ("domain", "storage", "disks/6/network/name", "network.name is needed, but for protocol: Nbd"),
    ("domain", "storage", "disks/7/network/name", "network.name is needed, but for protocol: Nbd"),
    ("domain", "storage", "disks/9/network/name", "network.name is needed, but for protocol: Nbd"),
    (
        "domain",
        "storage",
        "disks/9/readOnly",
        "what is reached by Http or Https can only be read: set readOnly: true or device: Cdrom",
    ),
    ("domain", "numa", "numaTune/nodeset", "numaTune.mode needs numaTune.nodeset"),
    ("domain", "tuning", "memoryTune/hardLimit", "memoryTune.swapHardLimit needs memoryTune.hardLimit"),
    ("network", "dhcp", "ips", "spec.forProvider.ips is required for mode Nat"),
    ("network", "shaped", "ips", "spec.forProvider.ips is required for mode Nat"),
    ("network", "ipv6", "ips", "spec.forProvider.ips is required for mode Nat"),
    ("network", "switch", "openVSwitch", "vlan needs openVSwitch: true, or virtual functions of an SR-IOV card"),
    ("network", "nat", "ips", "spec.forProvider.ips is required for mode Nat"),
    ("network", "open", "dns/forwarders/0/address", "a forwarder needs address, domain or both"),
    ("network", "open", "dns/forwarders/2/domain", "a forwarder needs address, domain or both"),
    ("network", "open", "domain", "domainLocalOnly needs domain"),
    ("network", "open", "ips", "spec.forProvider.ips is required for mode Nat"),
    ("network", "route", "ips", "spec.forProvider.ips is required for mode Nat"),
    ("pool", "netfs", "source/hosts", "source.hosts and type Netfs, Iscsi, IscsiDirect, Rbd, Gluster need each other"),
    ("pool", "iscsi", "source/hosts", "source.hosts and type Netfs, Iscsi, IscsiDirect, Rbd, Gluster need each other"),
    (
        "pool",
        "iscsi-direct",
        "source/hosts",
        "source.hosts and type Netfs, Iscsi, IscsiDirect, Rbd, Gluster need each other",
    ),
    ("pool", "rbd", "source/hosts", "source.hosts and type Netfs, Iscsi, IscsiDirect, Rbd, Gluster need each other"),
    (
        "pool",
        "iscsi-chap",
        "source/hosts",
        "source.hosts and type Netfs, Iscsi, IscsiDirect, Rbd, Gluster need each other",
    ),
    (
        "pool",
        "iscsi-chap",
        "source/initiatorIqn",
        "source.initiatorIqn is needed by type IscsiDirect, and else only for",
    ),
    (
        "pool",
        "rbd-cephx",
        "source/hosts",
        "source.hosts and type Netfs, Iscsi, IscsiDirect, Rbd, Gluster need each other",
    ),
    (
        "pool",
        "gluster",
        "source/hosts",
        "source.hosts and type Netfs, Iscsi, IscsiDirect, Rbd, Gluster need each other",
    ),
    (
        "pool",
        "iscsi-direct",
        "source/initiatorIqn",
        "source.initiatorIqn is needed by type IscsiDirect, and else only for",
    ),
];

/// Every field and item below a value, outermost first. An item that is alone in its list goes with the list.
pub(crate) fn pointers(value: &Value, here: &str) -> Vec<String> {
    let children: Vec<(String, &Value, bool)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, child)| (name.clone(), child, true)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(at, child)| (at.to_string(), child, items.len() > 1)).collect()
        }
        _ => Vec::new(),
    };
    let below = |(name, child, itself): (String, &Value, bool)| {
        let path = format!("{here}/{name}");
        [itself.then(|| path.clone()).into_iter().collect(), pointers(child, &path)].concat()
    };
    children.into_iter().flat_map(below).collect()
}

/// The case without the field or item.
pub(crate) fn without(case: &Case, pointer: &str) -> Case {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut case = case.clone();
    match case.object.pointer_mut(parent).unwrap() {
        Value::Object(fields) => drop(fields.remove(name).unwrap()),
        Value::Array(items) => drop(items.remove(name.parse().unwrap())),
        other => panic!("{other} has no fields"),
    }
    case
}
