//! What a guest gets of its host: what cannot be is refused with what could, and what others chose stays.

use libvirt::{diff::diff, overlay::overlay, xml::Element};
use serde_json::{Value, json};

use crate::cases::{Case, case};

fn with(parameters: &Value) -> Case {
    let mut case = case("domain", "minimal");
    for (name, value) in parameters.as_object().unwrap() {
        case.object["spec"]["forProvider"][name] = value.clone();
    }
    case
}

fn check(table: &[(Value, &str)]) {
    for (parameters, wanted) in table {
        let refused = with(parameters).wishes(None, &[]).map(|_| ()).unwrap_err();
        assert_eq!(format!("{refused:#}"), *wanted, "{parameters}");
    }
}

#[test]
fn what_libvirt_would_drop_or_fail_on_is_refused_with_what_is_wrong() {
    let pins = |pins: Value| json!({"vcpus": 2, "iothreads": 1, "cpuTune": pins});
    check(&[
        (
            pins(json!({"vcpuPins": [{"vcpu": 2, "cpus": "0"}]})),
            "cpuTune.vcpuPins: vCPU 2 is pinned, and the guest can have 2, counted from 0",
        ),
        (
            pins(json!({"ioThreadPins": [{"ioThread": 2, "cpus": "0"}]})),
            "cpuTune.ioThreadPins: I/O thread 2 is pinned, and iothreads is 1",
        ),
        (
            json!({"disks": [{"name": "a", "device": "Cdrom", "ioThread": 1}]}),
            "disks a: ioThread 1 is more than iothreads, which is 0",
        ),
        (
            json!({"memory": "1Gi", "memoryTune": {"hardLimit": "1Gi"}}),
            "memoryTune.hardLimit must be larger than memory: the hypervisor needs some of its own, and beyond it the host ends the guest",
        ),
        (
            json!({"memory": "1Gi", "memoryTune": {"hardLimit": "3Gi", "swapHardLimit": "2Gi"}}),
            "memoryTune.swapHardLimit must not be smaller than memoryTune.hardLimit",
        ),
    ]);
}

#[test]
fn cells_that_do_not_fit_the_guest_are_refused() {
    let cells = |cells: Value| json!({"memory": "128Mi", "vcpus": 2, "cpu": {"numa": cells}});
    let cell = |id: i32, cpus: &str, memory: &str| json!({"id": id, "cpus": cpus, "memory": memory});
    check(&[
        (
            cells(json!([cell(0, "0-1", "96Mi")])),
            "cpu.numa: the cells have 96Mi together and the guest has 128Mi; the cells' memory must sum up to maxMemory, or to memory where that is not set",
        ),
        (cells(json!([cell(1, "0-1", "128Mi")])), "cpu.numa: cells are numbered from 0, without a gap"),
        (cells(json!([cell(0, "0-1", "64Mi"), cell(1, "1", "64Mi")])), "cpu.numa: vCPU 1 is in two cells"),
        (cells(json!([cell(0, "1", "128Mi")])), "cpu.numa: vCPU 0 is in no cell"),
        (
            cells(json!([cell(0, "0-2", "128Mi")])),
            "cpu.numa: vCPU 2 is in a cell, and the guest can have 2, counted from 0",
        ),
        (
            json!({"numaTune": {"memNodes": [{"cell": 0, "nodeset": "0"}]}}),
            "numaTune.memNodes: cell 0 is none of cpu.numa, which has 0",
        ),
    ]);
}

#[test]
fn cells_and_pins_of_others_stay_and_their_memory_must_be_theirs() {
    let made = with(&json!({"memory": "128Mi", "vcpus": 2})).create().write().unwrap();
    let theirs = "<cpu><numa><cell id='0' cpus='0-1' memory='131072' unit='KiB'/></numa></cpu>\
                  <cputune><vcpupin vcpu='1' cpuset='3'/></cputune><iothreads>2</iothreads>\
                  <iothreadids><iothread id='4'/><iothread id='7'/></iothreadids><features>";
    let base = Element::parse(&made.replacen("<features>", theirs, 1)).unwrap();
    let pinned = json!({"memory": "128Mi", "vcpus": 2, "cpuTune": {"vcpuPins": [{"vcpu": 0, "cpus": "0,1"}]}});
    let case = with(&pinned);
    let result = overlay(&case.wishes(Some(&base), &[]).unwrap(), &base, &case.rules());
    let pins: Vec<_> = result.find_all("cputune/vcpupin").into_iter().map(|pin| pin.get("cpuset").unwrap()).collect();
    assert_eq!(pins, ["3", "0,1"]);
    assert_eq!((result.find("cpu"), result.find("iothreadids")), (base.find("cpu"), base.find("iothreadids")));
    // libvirt stores the set in a form of its own.
    let stored = Element::parse(&result.write().unwrap().replace("\"0,1\"", "\"0-1\"")).unwrap();
    assert_eq!(diff(&case.wishes(Some(&stored), &[]).unwrap(), &stored, &case.rules()), []);

    // Another number of threads is of threads numbered from 1.
    let fewer = with(&json!({"memory": "128Mi", "vcpus": 2, "iothreads": 1}));
    let result = overlay(&fewer.wishes(Some(&base), &[]).unwrap(), &base, &fewer.rules());
    assert_eq!((result.text_at("iothreads"), result.find("iothreadids")), (Some("1"), None));

    let refused = with(&json!({"memory": "256Mi", "vcpus": 2})).wishes(Some(&base), &[]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the guest's memory lies in NUMA cells of 128Mi together, and the spec says 256Mi; say the cells in cpu.numa, or the memory that they have"
    );
}
