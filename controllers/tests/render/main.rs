//! Parameters become descriptions: golden files for what is made, and what an update changes and leaves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

mod cases;
mod changes;
mod claimed;
mod docs;
mod effects;
mod initial;
mod leaves;
mod observed;
mod properties;
mod random;
mod raw;
mod tuning;
mod unset;

use std::fs;

use libvirt::{diff::diff, xml::Element};

use cases::{WISHED, cases, folder};

/// Compares a text with its golden file; `BLESS=1` writes it.
fn golden(kind: &str, file: &str, text: &str) {
    let path = folder(kind).join(file);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{kind}/{file}: run again with BLESS=1 if the new text is right");
}

#[test]
fn every_example_becomes_the_description_beside_it() {
    for kind in ["domain", "network", "pool", "volume"] {
        for case in cases(kind) {
            golden(kind, &format!("{}.xml", case.name), &case.create().write().unwrap());
        }
    }
}

#[test]
fn what_was_made_differs_in_nothing_from_what_is_wished_afterwards() {
    for case in WISHED.into_iter().flat_map(cases) {
        let made = case.create();
        let wishes = case.wishes(Some(&made), &case.applied()).unwrap();
        assert_eq!(diff(&wishes, &made, &case.rules()), [], "{} {}", case.kind, case.name);
    }
}

#[test]
fn what_is_chosen_once_is_never_owned() {
    for case in cases("domain") {
        let owned = owned(&case.create());
        let said = !case.object["spec"]["forProvider"]["features"]["acpi"].is_null();
        let acpi = if said { "name" } else { "features/acpi" };
        let chosen = ["@type", "name", "uuid", "os/type", "os/type@arch", "devices/controller[pci,1]", acpi];
        assert_eq!(
            owned.iter().filter(|path| chosen.contains(&path.as_str())).collect::<Vec<_>>(),
            [""; 0],
            "{}",
            case.name
        );
        let spec = &case.object["spec"]["forProvider"];
        if spec["os"]["machine"].is_null() {
            assert!(!owned.contains(&"os/type@machine".to_owned()), "{}", case.name);
        }
        for nic in spec["networkInterfaces"].as_array().into_iter().flatten().filter(|nic| nic["mac"].is_null()) {
            let mac = format!("devices/interface[ua-nic-{}]/mac@address", nic["name"].as_str().unwrap());
            assert!(!owned.contains(&mac), "{} owns {mac}", case.name);
        }
    }
}

/// The paths that a domain's mark says are ours.
fn owned(description: &Element) -> Vec<String> {
    provider_libvirt::mark::owned_paths(description).unwrap()
}
