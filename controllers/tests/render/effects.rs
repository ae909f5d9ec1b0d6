//! A field that exists works: what the table of leaves says is so.

use std::{fs, path::PathBuf};

use apis::{Domain, Managed, Volume};
use libvirt::xml::Element;
use provider_libvirt::references::Refers;

use crate::{
    cases::Case,
    leaves::{Shown, leaves, pair, parameters, table},
};

#[test]
fn every_leaf_of_every_kind_has_an_effect() {
    for (kind, plain) in [
        ("Domain", "domain"),
        ("Volume", "volume"),
        ("Pool", "pool"),
        ("Network", "network"),
        ("CloudInit", "cloudinit"),
    ] {
        let table = table(kind);
        assert_eq!(
            leaves(&parameters(kind, "forProvider")),
            table.iter().map(|(leaf, _)| leaf.clone()).collect(),
            "the leaves of {kind}"
        );
        for (leaf, shown) in &table {
            check(plain, leaf, shown);
        }
    }
}

fn check(kind: &'static str, leaf: &str, shown: &Shown) {
    match shown {
        Shown::Described(example, place, value) => {
            let (before, after) = pair(kind, leaf, example, place, value);
            assert_ne!(described(&before), described(&after), "{kind} {leaf} changes nothing");
        }
        Shown::Refers(example, place, value) => {
            let (before, after) = pair(kind, leaf, example, place, value);
            let wants = |case: &Case| match kind {
                "domain" => format!("{:?}", Domain::wants(case.object::<Domain>().parameters())),
                "volume" => format!("{:?}", Volume::wants(case.object::<Volume>().parameters())),
                _ => panic!("no example of {kind}"),
            };
            assert_ne!(wants(&before), wants(&after), "{kind} {leaf} refers to the same");
        }
        Shown::Test(file, test, word) => {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(&format!("fn {test}(")), "{kind} {leaf}: {file} has no test {test}");
            assert!(text.contains(word), "{kind} {leaf}: {file} does not say {word}");
        }
    }
}

/// The description without our own mark, which lists fields even if they change nothing; or why there is none.
fn described(case: &Case) -> Result<Element, String> {
    if case.kind == "volume" {
        return Ok(case.create());
    }
    let mut description = case.wishes(None, &[]).map_err(|error| format!("{error:#}"))?.create(&case.rules());
    description.retain(|child| child.name != "metadata");
    Ok(description)
}
