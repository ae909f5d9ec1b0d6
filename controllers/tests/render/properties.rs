//! What holds for any spec of a Domain and any change of it, tried on some hundreds that nobody wrote.

use std::collections::BTreeMap;

use libvirt::{diff::diff, overlay::overlay, xml::Element};

use crate::{
    cases::Case,
    random::{Random, seed},
};

const ROUNDS: u64 = 400;

/// Runs a property on many guests that can be described, and says of how many the description was refused.
fn for_many(mut property: impl FnMut(&Case, &Case, &str)) {
    let seed = seed();
    let mut refused = 0;
    let mut random = Random::new();
    for round in 0..ROUNDS {
        random.begin(seed.wrapping_add(round));
        let before = random.guest();
        let after = random.changed(&before);
        let what = format!(
            "SEED={} before {} after {}",
            seed.wrapping_add(round),
            before.object["spec"]["forProvider"],
            after.object["spec"]["forProvider"]
        );
        assert!(before.is_readable(), "it cannot be read: {what}");
        match before.wishes(None, &[]) {
            Ok(_) => property(&before, &after, &what),
            Err(_) => refused += 1,
        }
    }
    println!("SEED={seed}: {ROUNDS} specs, {refused} of them refused with a sentence");
    assert!(refused < ROUNDS / 2, "the generator must make specs that can be described; {refused} of {ROUNDS} cannot");
}

#[test]
fn what_is_made_of_any_spec_differs_in_nothing_from_what_is_wished_afterwards() {
    for_many(|before, _, what| {
        let made = before.create();
        assert_eq!(diff(&before.wishes(Some(&made), &[]).unwrap(), &made, &before.rules()), [], "{what}");
        assert_eq!(Element::parse(&made.write().unwrap()).unwrap().write().unwrap(), made.write().unwrap(), "{what}");
    });
}

#[test]
fn any_change_is_applied_or_refused_and_never_makes_another_guest() {
    let mut changed = 0;
    for_many(|before, after, what| {
        let made = before.create();
        if !after.is_readable() {
            return;
        }
        // A refusal is a sentence; a panic would end the test.
        let Ok(wishes) = after.wishes(Some(&made), &[]) else { return };
        let rules = after.rules();
        let result = overlay(&wishes, &made, &rules);
        let left = diff(&after.wishes(Some(&result), &[]).unwrap(), &result, &rules);
        assert!(left.iter().all(|difference| !difference.is_applied()), "{left:?} {what}");
        changed += u64::from(result != made);
        for path in ["name", "uuid", "os/type"] {
            assert_eq!(result.text_at(path), made.text_at(path), "{what}");
        }
        assert_eq!(result.attr_at("os/type@arch"), made.attr_at("os/type@arch"), "{what}");
        assert_eq!(result.get("type"), made.get("type"), "{what}");
        let kept = |old: &BTreeMap<String, String>, new: &BTreeMap<String, String>| {
            old.iter().all(|(name, value)| new.get(name).is_none_or(|other| other == value))
        };
        let (old, new) = (data(&made), data(&result));
        assert!(kept(&old, &new), "a disk has other data: {old:?} {new:?} {what}");
        let said = |case: &Case| case.object["spec"]["forProvider"]["networkInterfaces"].clone();
        if said(before) == said(after) {
            assert_eq!(addresses(&made), addresses(&result), "{what}");
        }
    });
    assert!(changed > ROUNDS / 3, "only {changed} changes changed anything");
}

/// The file of each disk that is no CD-ROM, by its alias.
fn data(description: &Element) -> BTreeMap<String, String> {
    let disks = description.find_all("devices/disk").into_iter().filter(|disk| disk.get("device") == Some("disk"));
    let of = |disk: &Element| Some((disk.attr_at("alias@name")?.to_owned(), disk.attr_at("source@file")?.to_owned()));
    disks.filter_map(of).collect()
}

/// The MAC address of each interface, by its alias.
fn addresses(description: &Element) -> BTreeMap<String, String> {
    let nics = description.find_all("devices/interface").into_iter();
    let of = |nic: &Element| Some((nic.attr_at("alias@name")?.to_owned(), nic.attr_at("mac@address")?.to_owned()));
    nics.filter_map(of).collect()
}
