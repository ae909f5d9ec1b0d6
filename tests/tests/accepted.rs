//! libvirt accepts every description that is made, and a description that it has stored needs no change: no define is ever repeated.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

// The examples are those of the golden files.
#[path = "../../controllers/tests/render/cases.rs"]
mod cases;
// And the fields are those of their table.
#[allow(dead_code, reason = "the tests beside the table need more of it")]
#[path = "../../controllers/tests/render/leaves.rs"]
mod leaves;
// So are the guests that nobody wrote.
#[path = "../../controllers/tests/render/random.rs"]
mod random;

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};
use libvirt::{
    diff::{Difference, diff},
    overlay::overlay,
    xml::Element,
};
use serde_json::{Value, json};
use tests::Host;

use cases::{Case, REFUSED, WISHED, case, cases, pointers, without};
use leaves::{Shown, pair, table};
use random::{Random, seed};

/// Fields whose value in the table a host may not take, because it lacks what that needs, and what is said then.
const NOT_HERE: [(&str, &str, &str); 2] = [
    ("domain", "os.arch", "No emulator found for arch 'aarch64'"),
    ("domain", "type", "the host cannot run domains of type kvm"),
];

/// How virsh defines a kind, shows its definition, and takes it away.
fn words(kind: &str) -> (&'static [&'static str], &'static [&'static str], &'static str) {
    match kind {
        "domain" => (&["define", "--validate"], &["dumpxml", "--inactive", "--security-info"], "undefine"),
        "network" => (&["net-define", "--validate"], &["net-dumpxml", "--inactive"], "net-undefine"),
        "pool" => (&["pool-define", "--validate"], &["pool-dumpxml", "--inactive"], "pool-undefine"),
        other => panic!("virsh does not define {other}"),
    }
}

/// What libvirt makes of a description.
fn stored(host: &Host, kind: &str, description: &Element) -> Result<Element> {
    let (define, show, _) = words(kind);
    let file = host.path("description.xml");
    fs::write(&file, description.write()?)?;
    let name = description.text_at("name").context("a description has a name")?;
    match host.virsh(&[define, &[&file.display().to_string()]].concat()) {
        Err(error) if LACKED.iter().any(|(of, why)| *of == kind && format!("{error:#}").contains(why)) => {
            return stored_by_test_driver(kind, &file, name);
        }
        defined => defined?,
    };
    Ok(Element::parse(&host.virsh(&[show, &[name]].concat())?)?)
}

/// What this machine lacks, as its libvirt says it: storage drivers, and cards whose functions guests get.
const LACKED: [(&str, &str); 2] =
    [("pool", "missing backend for pool type"), ("network", "is not an SR-IOV Virtual Function")];

/// The same of what needs that: the test driver validates and reads pools of every type, and networks of cards that nobody has.
fn stored_by_test_driver(kind: &str, file: &Path, name: &str) -> Result<Element> {
    let commands = if kind == "pool" {
        format!("pool-define --validate {}; pool-dumpxml {name}", file.display())
    } else {
        format!("net-define --validate {}; net-dumpxml {name}", file.display())
    };
    let said = Command::new("virsh").args(["-c", "test:///default", &commands]).output()?;
    let (shown, errors) = (String::from_utf8(said.stdout)?, String::from_utf8_lossy(&said.stderr).into_owned());
    let begin = shown.find(&format!("<{kind}")).with_context(|| format!("the test driver refuses {name}: {errors}"))?;
    Ok(Element::parse(shown.get(begin..).unwrap_or_default().trim())?)
}

fn remove(host: &Host, kind: &str, description: &Element) -> Result<()> {
    let (_, _, undefine) = words(kind);
    match host.virsh(&[undefine, description.text_at("name").context("a description has a name")?]) {
        // The test driver had it.
        Err(error)
            if ["Storage pool not found", "Network not found"]
                .iter()
                .any(|gone| format!("{error:#}").contains(gone)) =>
        {
            Ok(())
        }
        removed => removed.map(drop),
    }
}

/// What is still to be done on what libvirt stored; nothing, if all is well.
fn unsettled(case: &Case, stored: &Element, what: &str) -> Option<String> {
    let wishes = case.wishes(Some(stored), &case.applied()).unwrap();
    let left: Vec<String> = diff(&wishes, stored, &case.rules()).iter().map(ToString::to_string).collect();
    (!left.is_empty()).then(|| format!("{} {} {what} still differs: {}", case.kind, case.name, left.join("; ")))
}

#[test]
fn libvirt_accepts_every_example_and_stores_it_as_wished() -> Result<()> {
    let host = Host::start("accepted")?;
    for case in WISHED.into_iter().flat_map(cases) {
        let made = case.create();
        let kept = stored(&host, case.kind, &made).with_context(|| format!("{} {}", case.kind, case.name))?;
        assert_eq!(unsettled(&case, &kept, "after its creation"), None);
        remove(&host, case.kind, &made)?;
    }
    Ok(())
}

#[test]
fn libvirt_accepts_every_example_with_any_field_taken_out_and_needs_no_second_define() -> Result<()> {
    let host = Host::start("unset")?;
    let mut problems: Vec<String> = Vec::new();
    for case in WISHED.into_iter().flat_map(cases) {
        let made = case.create();
        let base = stored(&host, case.kind, &made)?;
        for pointer in pointers(&case.object["spec"]["forProvider"], "/spec/forProvider") {
            if REFUSED.iter().any(|(kind, name, field, _)| {
                (*kind, *name) == (case.kind, case.name.as_str()) && pointer == format!("/spec/forProvider/{field}")
            }) {
                continue;
            }
            let changed = without(&case, &pointer);
            let Some(wishes) =
                changed.is_readable().then(|| changed.wishes(Some(&base), &case.applied()).ok()).flatten()
            else {
                continue;
            };
            let rules = case.rules();
            if diff(&wishes, &base, &rules).iter().any(|difference| !difference.is_applied()) {
                continue;
            }
            let what = format!("without {pointer}");
            match stored(&host, case.kind, &overlay(&wishes, &base, &rules)) {
                Ok(updated) => problems.extend(unsettled(&changed, &updated, &what)),
                Err(error) => problems.push(format!("{} {} {what}: {error:#}", case.kind, case.name)),
            }
            stored(&host, case.kind, &base)?;
        }
        remove(&host, case.kind, &made)?;
    }
    assert_eq!(problems, [""; 0], "{}", problems.join("\n"));
    Ok(())
}

#[test]
fn libvirt_accepts_every_field_set_alone_and_changed_and_needs_no_second_define() -> Result<()> {
    let host = Host::start("fields")?;
    let (mut problems, mut set, mut changed, mut missing) = (Vec::new(), 0, 0, Vec::new());
    for (kind, plain) in [("Domain", "domain"), ("Network", "network"), ("Pool", "pool")] {
        for (leaf, shown) in table(kind) {
            let Shown::Described(example, place, value) = shown else { continue };
            let (before, after) = pair(plain, &leaf, example, place, value);
            let known = NOT_HERE.iter().find(|(kind, name, _)| (*kind, *name) == (plain, leaf.as_str()));
            let said = match (set_alone(&host, &after), known) {
                (Err(error), Some((.., why))) if format!("{error:#}").contains(why) => {
                    missing.push(format!("{kind} {leaf}: {why}"));
                    continue;
                }
                (Ok(left), _) => left,
                (Err(error), _) => Some(format!("{error:#}")),
            };
            set += 1;
            problems.extend(said.map(|said| format!("{kind} {leaf} set: {said}")));
            match update(&host, &before, &after).with_context(|| format!("{kind} {leaf} changed"))? {
                Update::Refused => {}
                Update::Made(left) => {
                    changed += 1;
                    problems.extend(left.map(|left| format!("{kind} {leaf} changed: {left}")));
                }
            }
        }
    }
    println!("{set} fields set, {changed} of them changed; {} not taken by this host: {missing:?}", missing.len());
    assert_eq!(problems, [""; 0], "{}", problems.join("\n"));
    Ok(())
}

/// Makes the example anew; says what still differs then.
fn set_alone(host: &Host, case: &Case) -> Result<Option<String>> {
    let made = case.wishes(None, &[])?.create(&case.rules());
    let kept = stored(host, case.kind, &made)?;
    remove(host, case.kind, &made)?;
    Ok(unsettled(case, &kept, "once it is made"))
}

/// What becomes of a change.
enum Update {
    /// It cannot be made, and the provider says so.
    Refused,
    /// It was made; what still differs then.
    Made(Option<String>),
}

/// Makes the first example and changes it to the second.
fn update(host: &Host, before: &Case, after: &Case) -> Result<Update> {
    let made = before.create();
    let base = stored(host, before.kind, &made)?;
    let rules = before.rules();
    let outcome = match after.wishes(Some(&base), &before.applied()) {
        Ok(wishes) if diff(&wishes, &base, &rules).iter().all(Difference::is_applied) => {
            let updated = stored(host, before.kind, &overlay(&wishes, &base, &rules));
            Update::Made(updated.map_or_else(
                |error| Some(format!("{error:#}")),
                |updated| unsettled(after, &updated, "once it is changed"),
            ))
        }
        Ok(_) | Err(_) => Update::Refused,
    };
    remove(host, before.kind, &made)?;
    Ok(outcome)
}

/// How many guests that nobody wrote are tried.
const GUESTS: u64 = 60;

#[test]
fn libvirt_stores_guests_that_nobody_wrote_and_any_change_of_them_as_wished() -> Result<()> {
    let host = Host::start("random")?;
    let (seed, mut problems, mut taken, mut changed) = (seed(), Vec::new(), 0, 0);
    let mut refused: Vec<String> = Vec::new();
    let mut random = Random::new();
    for seed in seed..seed + GUESTS {
        random.begin(seed);
        let before = random.guest();
        let after = random.changed(&before);
        let what = |case: &Case| format!("SEED={seed} {}", case.object["spec"]["forProvider"]);
        let Ok(wishes) = before.wishes(None, &[]) else { continue };
        let made = wishes.create(&before.rules());
        let base = match stored(&host, "domain", &made) {
            Ok(base) => base,
            Err(error) => {
                refused.push(format!("{error:#}").lines().last().unwrap_or_default().to_owned());
                continue;
            }
        };
        taken += 1;
        problems.extend(unsettled(&before, &base, &what(&before)));
        let rules = before.rules();
        let wishes = after.is_readable().then(|| after.wishes(Some(&base), &[]).ok()).flatten();
        let wishes = wishes.filter(|wishes| diff(wishes, &base, &rules).iter().all(Difference::is_applied));
        if let Some(wishes) = wishes {
            match stored(&host, "domain", &overlay(&wishes, &base, &rules)) {
                Ok(updated) => {
                    changed += 1;
                    problems.extend(unsettled(&after, &updated, &what(&after)));
                }
                Err(error) => refused.push(format!("{error:#}").lines().last().unwrap_or_default().to_owned()),
            }
        }
        remove(&host, "domain", &made)?;
    }
    refused.sort();
    refused.dedup();
    println!("SEED={seed}: {taken} of {GUESTS} guests taken, {changed} changed; libvirt refused some: {refused:#?}");
    assert_eq!(problems, [""; 0], "{}", problems.join("\n"));
    assert!(taken > GUESTS / 3, "libvirt took {taken} of {GUESTS} guests only: {refused:#?}");
    Ok(())
}

#[test]
fn an_emulated_guest_can_go_from_every_cpu_mode_to_every_other() -> Result<()> {
    let host = Host::start("cpus")?;
    // Emulation has no host's CPU to pass through; what libvirt adds beside HostPassthrough it adds beside Maximum too.
    let modes =
        [json!({"mode": "Custom", "model": "qemu64"}), json!({"mode": "HostModel"}), json!({"mode": "Maximum"})];
    let minimal = case("domain", "minimal");
    let with = |cpu: &Value| {
        let mut case = minimal.clone();
        case.object["spec"]["forProvider"]["cpu"] = cpu.clone();
        case
    };
    for (from, to) in modes.iter().flat_map(|from| modes.iter().map(move |to| (from, to))) {
        let (before, after) = (with(from), with(to));
        let base = stored(&host, "domain", &before.create()).with_context(|| from.to_string())?;
        let wishes = after.wishes(Some(&base), &[])?;
        let updated = stored(&host, "domain", &overlay(&wishes, &base, &after.rules()));
        let updated = updated.with_context(|| format!("from {from} to {to}"))?;
        assert_eq!(unsettled(&after, &updated, &format!("from {from} to {to}")), None);
        remove(&host, "domain", &base)?;
    }
    Ok(())
}
