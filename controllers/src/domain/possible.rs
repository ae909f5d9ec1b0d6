//! Whether a Domain can be described at all, whatever host it gets: pure, for admission.

use apis::{Domain, Managed, domain::Disk, volume::Format};
use libvirt::{CpuSet, Facts};

use super::{
    passwords::Password,
    render::{Medium, Surroundings, own_medium, render},
    words::Word as _,
};

/// Why no host could make the object's guest, in the words of its pass. `raw_xml` is what the policy of its config lists; where that is not
/// known, `rawXml` is not looked at.
pub(crate) fn fault(object: &Domain, raw_xml: Option<Vec<String>>) -> Option<String> {
    let mut whole = object.effective().into_owned();
    if raw_xml.is_none() {
        whole.spec.for_provider.raw_xml = None;
    }
    let around = assumed(&whole, raw_xml.unwrap_or_default());
    render(&whole, &around, &any_host(&whole), None).err().map(|error| format!("{error:#}"))
}

/// A host that offers all that is asked for.
fn any_host(object: &Domain) -> Facts {
    let arch = object.parameters().os.as_ref().and_then(|os| os.arch.clone());
    Facts {
        uuid: None,
        hostname: String::new(),
        libvirt_version: String::new(),
        hypervisor_version: None,
        arch: Some(arch.unwrap_or_else(|| "x86_64".to_owned())),
        domain_types: vec!["kvm".to_owned(), "qemu".to_owned()],
        cpus: CpuSet::default(),
        driver: String::new(),
        machines: Vec::new(),
        lacks: Vec::new(),
    }
}

/// Everything that the object refers to, as if it were there.
fn assumed(object: &Domain, raw_xml: Vec<String>) -> Surroundings {
    let parameters = object.parameters();
    let disks = parameters.disks.iter().flatten().filter(|disk| disk.network.is_none());
    let nics = parameters.network_interfaces.iter().flatten();
    let os = parameters.os.clone().unwrap_or_default();
    let consoles = parameters.graphics.iter().flatten().filter(|console| console.password_secret_ref.is_some());
    Surroundings {
        media: disks.map(|disk| (disk.name.0.clone(), medium(disk))).collect(),
        networks: nics.map(|nic| (nic.name.0.clone(), nic.name.0.clone())).collect(),
        seed: (parameters.cloud_init_ref.is_some() || parameters.cloud_init_selector.is_some()).then(|| file("seed")),
        passwords: consoles.map(|console| (console.type_.word(), Password::new("-", "-"))).collect(),
        kernel: (os.kernel_ref.is_some() || os.kernel_selector.is_some()).then(|| file("kernel")),
        initrd: (os.initrd_ref.is_some() || os.initrd_selector.is_some()).then(|| file("initrd")),
        raw_xml,
        ..Surroundings::default()
    }
}

fn medium(disk: &Disk) -> Medium {
    let format = disk.volume.as_ref().map_or(Format::Raw, |volume| volume.format);
    own_medium(disk).unwrap_or_else(|| Medium::file(file(&disk.name.0), format))
}

fn file(name: &str) -> String {
    format!("/{name}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn domain(parameters: &Value) -> Domain {
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Domain",
            "metadata": {"namespace": "n", "name": "a", "uid": "11111111-2222-3333-4444-555555555555"},
            "spec": {"forProvider": parameters},
        }))
        .unwrap()
    }

    #[test]
    fn what_no_host_could_make_is_said_and_what_one_could_is_not() {
        let disk = |name: &str| json!({"name": name, "target": "vda", "volumeRef": {"name": name}});
        let raw = "<domain><devices><hub type='usb'/></devices></domain>";
        let table = [
            (json!({"memory": "1Gi"}), None, None),
            (json!({"memory": "2Gi", "maxMemory": "1Gi"}), None, Some("memory must not be larger than maxMemory")),
            (
                json!({"memory": "1Gi", "disks": [disk("a"), disk("b")]}),
                None,
                Some("disks b: target vda is said of two disks"),
            ),
            (
                json!({"memory": "1Gi", "graphics": [{"type": "Vnc", "passwordSecretRef": {"name": "s", "key": "k"}}],
                    "cloudInitRef": {"name": "c"}, "os": {"kernelRef": {"name": "k"}, "cmdline": "quiet"},
                    "networkInterfaces": [{"name": "lan", "networkRef": {"name": "n"}}],
                    "disks": [disk("a"), {"name": "b", "volume": {"pool": "p", "name": "v", "format": "Qcow2"}}]}),
                None,
                None,
            ),
            (json!({"memory": "1Gi", "rawXml": raw}), None, None),
            (json!({"memory": "1Gi", "rawXml": raw}), Some(vec!["devices/hub".to_owned()]), None),
            (json!({"memory": "1Gi", "rawXml": raw}), Some(Vec::new()), Some("is not allowed here")),
        ];
        for (parameters, raw_xml, expected) in table {
            let said = fault(&domain(&parameters), raw_xml);
            match (&said, expected) {
                (None, None) => {}
                (Some(said), Some(expected)) => assert!(said.contains(expected), "{parameters}: {said}"),
                _ => panic!("{parameters}: {said:?}"),
            }
        }
    }
}
