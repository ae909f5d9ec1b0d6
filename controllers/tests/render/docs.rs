//! The tables of `docs/`: every field of a kind, and how a change of it comes true. What a table says is tried here: the field is changed
//! alone, and the rules of the kind tell the route of each difference that the description then shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::PathBuf,
};

use apis::quantity::Quantity;
use libvirt::diff::diff;
use serde_json::Value;

use crate::{
    cases::{Around, Case, case, cases, pointers, without},
    leaves::{Shown, as_field, leaves, pair, parameters, table},
};

/// What needs no call to the host's guest: the provider itself acts by it.
const OWN: &str = "at once, by the provider";

const INTRODUCTION: &str = "\
<!-- Written by `make bless` from the types, the examples and the rules in `controllers/src`; a test fails when it is not current. -->

Every field of `spec.forProvider`, and how a change of it comes true on what is there already. `initProvider` has the same fields and counts only at
the beginning. A field that is taken out of a spec is given back: what the provider set is taken away, and libvirt's default returns. What is kept
instead stands below the first table.

A size is a whole number of bytes, or one with Ki, Mi, Gi, Ti, Pi (powers of 1024) or k, M, G, T, P (powers of 1000): `10Mi` is 10240Ki, and
`10M` is 10000000 bytes, of which a host that counts in KiB makes 9766Ki.

";

/// Of kinds whose things are made and then not described anew.
const OF_WHAT_IS_MADE: &str = "\
<!-- Written by `make bless` from the types in `apis/src`; a test fails when it is not current. -->

Every field of `spec.forProvider`, and what a change of it does to what is there already. `initProvider` has the same fields and counts only when it
is made. What is immutable is refused by the API server.

A size is a whole number of bytes, or one with Ki, Mi, Gi, Ti, Pi (powers of 1024) or k, M, G, T, P (powers of 1000): `10Mi` is 10240Ki, and
`10M` is 10000000 bytes, of which a host that counts in KiB makes 9766Ki.

";

const OF_A_DOMAIN: &str = "\
| a change is made | |
|---|---|
| live: … | on the running guest, by the call that is named, and in its definition; where the guest or its hypervisor does not let it, it waits for the next boot |
| next boot | in the definition; the guest shows it after its next start, and until then `RestartRequired` lists it |
| definition | in the definition, where it is all there is |
| at once, by the provider | by the provider, which acts by it: nothing of it stands in the definition |
| refused | never to other data: the source of a disk that is no CD-ROM is not exchanged (`DiskSourceChanged`) |
| immutable | never; the API server refuses it, or the status says so |

Where two are named it depends on the value: memory changes live both ways up to the `maxMemory` that the guest was started with, vCPUs only upwards up to
its `maxVcpus` (fewer wait for the next boot), the data of a CD-ROM is exchanged and that of a disk is not.

Kept as the guest has it when the field is taken out, because libvirt has no default for it or another one than the guest was made with: `memory`,
`os.machine`, `features.acpi`, `features.apic`, `clock.offset`, `clock.timezone`, `video.model`, `balloon.model`, `networkInterfaces[].mac`,
`networkInterfaces[].model`, `disks[].target`. `autostart` and `paused` are left as they are, too. `disks[].bus` is again what its description says.

";

const OF_OTHERS: &str = "\
| a change is made | |
|---|---|
| live: … | on what is active, by the call that is named, and in its definition |
| next boot | in the definition; it counts from the next start on |
| at once, by the provider | by the provider, which acts by it: nothing of it stands in the definition |
| immutable | never; the API server refuses it, or the status says so |

Kept as it is when the field is taken out: `autostart`, and the `bridge` and `direct.mode` of a network, whose guests others would cut off.

";

#[test]
fn the_tables_of_all_fields_are_those_of_types_examples_and_rules() {
    for (kind, plain, legend) in
        [("Domain", "domain", OF_A_DOMAIN), ("Network", "network", OF_OTHERS), ("Pool", "pool", OF_OTHERS)]
    {
        let text = format!("# {kind}\n\n{INTRODUCTION}{legend}{}", lines(kind, plain));
        assert_current(plain, &text);
    }
}

#[test]
fn the_tables_of_volumes_and_seeds_are_those_of_their_types() {
    for (kind, plain) in [("Volume", "volume"), ("CloudInit", "cloudinit")] {
        let schema = parameters(kind, "forProvider");
        let fixed = immutable(&schema);
        let mut text =
            format!("# {kind}\n\n{OF_WHAT_IS_MADE}| field | type | what it is | a change |\n|---|---|---|---|\n");
        for leaf in leaves(&schema) {
            let field = Field::of(&schema, &leaf);
            let change = if is_fixed(&fixed, &leaf) { "immutable" } else { change(kind, &leaf) };
            writeln!(text, "| `{leaf}` | {} | {} | {change} |", cell(&field.type_()), cell(field.said)).unwrap();
        }
        assert_current(plain, &text);
    }
}

/// What a change of a field does to a volume or seed that is there.
fn change(kind: &str, leaf: &str) -> &'static str {
    match kind {
        _ if leaf.contains(".policy.") => OWN,
        _ if leaf.starts_with("poolSelector.") => "none: it stays in the pool that was chosen",
        "Volume" if leaf == "capacity" => "it grows, also under a running guest, which sees it; it never shrinks",
        "Volume" if leaf.starts_with("encryption.passphraseRef.") => {
            "none on the host: a Secret that holds another passphrase than the volume was made with is refused"
        }
        "Volume" if leaf == "wipe" => "none now: it counts when the volume is deleted",
        "CloudInit" => {
            "another seed is made and exchanged in the drive of its guest, also while that runs; of format Ignition it counts from its next start"
        }
        _ => panic!("{kind} {leaf}: what does a change of it do?"),
    }
}

fn is_fixed(fixed: &BTreeSet<String>, leaf: &str) -> bool {
    fixed.iter().any(|field| leaf == *field || leaf.starts_with(&format!("{field}.")))
}

fn assert_current(plain: &str, text: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(format!("{plain}.md"));
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, found, "docs/{plain}.md: run `make bless` and review the difference");
}

/// A line for each leaf.
fn lines(kind: &str, plain: &'static str) -> String {
    let schema = parameters(kind, "forProvider");
    let shown: BTreeMap<String, Shown> = table(kind).into_iter().collect();
    let fixed = immutable(&schema);
    let mut text = "| field | type | what it is | a change is made |\n|---|---|---|---|\n".to_owned();
    for leaf in leaves(&schema) {
        let class = if is_fixed(&fixed, &leaf) { "immutable".to_owned() } else { class(plain, &leaf, &shown[&leaf]) };
        let field = Field::of(&schema, &leaf);
        writeln!(text, "| `{leaf}` | {} | {} | {class} |", cell(&field.type_()), cell(field.said)).unwrap();
    }
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// A leaf's part of the schema.
struct Field<'a> {
    schema: &'a Value,
    /// Its description; of items of a list that of the list.
    said: &'a str,
}

impl<'a> Field<'a> {
    fn of(parameters: &'a Value, leaf: &str) -> Self {
        let (mut schema, mut said) = (parameters, "");
        for step in leaf.split('.') {
            let name = step.trim_end_matches("[]");
            schema = &schema["properties"][name];
            said = schema["description"].as_str().unwrap_or_default();
            for _ in 0..(step.len() - name.len()) / 2 {
                schema = &schema["items"];
                said = schema["description"].as_str().unwrap_or(said);
            }
        }
        assert!(!said.is_empty(), "{leaf} has no description");
        // That stands above the table, once.
        let said = said.trim_end_matches(Quantity::WRITTEN).trim_end();
        Self { schema, said: said.trim_end_matches('.') }
    }

    fn type_(&self) -> String {
        let schema = self.schema;
        let text = |key: &str| schema[key].as_str().unwrap_or_default();
        if let Some(choices) = schema["enum"].as_array() {
            return choices.iter().map(|choice| choice.as_str().unwrap()).collect::<Vec<_>>().join(", ");
        }
        match (text("type"), text("pattern")) {
            ("integer", _) => {
                let bound = |key: &str| schema[key].as_f64().unwrap();
                format!("{} to {}", bound("minimum"), bound("maximum"))
            }
            ("string", pattern) if pattern.ends_with("(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$") => "size".to_owned(),
            ("string", pattern) if pattern.contains("(ms|s|m|h)") => "duration".to_owned(),
            ("object", _) => "map".to_owned(),
            (other, _) => other.to_owned(),
        }
    }
}

/// The fields of which a rule of the schema says that they cannot be changed.
fn immutable(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let all = leaves(schema);
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let message = rule["message"].as_str().unwrap_or_default();
        let Some((field, _)) = message.split_once(" cannot be changed") else { continue };
        let around = rule["fieldPath"].as_str().unwrap_or_default().trim_start_matches('.');
        let names = [field.to_owned(), format!("{around}.{field}")];
        let is_field = |name: &&String| all.iter().any(|leaf| leaf == *name || leaf.starts_with(&format!("{name}.")));
        let name = names.iter().find(is_field).unwrap_or_else(|| panic!("no field is meant by: {message}"));
        found.insert(name.clone());
    }
    found
}

/// How a change of a leaf comes true.
fn class(kind: &'static str, leaf: &str, shown: &Shown) -> String {
    if leaf.contains(".policy.") {
        return OWN.to_owned();
    }
    let routes = match shown {
        Shown::Described(example, place, value) => {
            let (before, after) = pair(kind, leaf, example, place, value);
            let mut routes = routes(&before, &after);
            if !leaf.contains("[]") {
                routes.extend(alone(kind, place, value));
            }
            assert!(!routes.is_empty(), "{kind} {leaf}: no rule tells how a change comes true");
            routes
        }
        Shown::Refers(..) | Shown::Test(..) => elsewhere(kind, leaf),
    };
    if routes.is_empty() {
        return OWN.to_owned();
    }
    let is_live = |route: &String| route.starts_with("live");
    let (live, rest): (Vec<String>, Vec<String>) = routes.into_iter().partition(is_live);
    [live, rest].concat().join("; ")
}

/// The routes of what differs once the first is made and the second wished.
fn routes(before: &Case, after: &Case) -> BTreeSet<String> {
    let made = before.create();
    let Ok(wishes) = after.wishes(Some(&made), &before.applied()) else { return BTreeSet::new() };
    let differences = diff(&wishes, &made, &before.rules());
    let told = differences.iter().filter(|difference| difference.path != "metadata/pl:object");
    told.map(|difference| difference.route.to_string()).collect()
}

/// The same for a value in an example that says next to nothing.
fn alone(kind: &'static str, place: &str, value: &str) -> BTreeSet<String> {
    if place.split('/').any(|step| step.parse::<usize>().is_ok()) {
        return BTreeSet::new();
    }
    let before = case(kind, if kind == "network" { "nat" } else { "minimal" });
    let mut after = before.clone();
    let pointer = format!("/spec/forProvider/{place}");
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let Some(fields) = after.object.pointer_mut(parent) else { return BTreeSet::new() };
    fields[name] = serde_json::from_str(value).unwrap();
    if after.is_readable() { routes(&before, &after) } else { BTreeSet::new() }
}

/// The routes of what differs where an example says the field no more, or what it refers to is elsewhere.
fn elsewhere(kind: &'static str, leaf: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_said = false;
    let parent = leaf.rsplit_once('.').map(|(parent, _)| parent);
    for case in cases(kind) {
        for pointer in pointers(&case.object["spec"]["forProvider"], "/spec/forProvider") {
            let field = as_field(&case.object, &pointer);
            let changed = if field == leaf {
                let changed = without(&case, &pointer);
                changed.is_readable().then_some(changed).into_iter().collect()
            } else if Some(field.as_str()) == parent {
                others(&case, &without(&case, &pointer))
            } else {
                continue;
            };
            is_said = true;
            for changed in &changed {
                found.extend(routes(&case, changed));
            }
        }
    }
    assert!(
        is_said,
        "{kind} {leaf} is in no example of controllers/tests/golden, so nothing tells how a change comes true"
    );
    found
}

/// The example with something else elsewhere, once for all that only it refers to and `less`, the example without a reference, does not.
fn others(case: &Case, less: &Case) -> Vec<Case> {
    let said = serde_json::to_value(&case.around).unwrap();
    let seen = |case: &Case, around: &Around| {
        let case = Case { around: around.clone(), ..case.clone() };
        format!("{:?}", case.surroundings())
    };
    let mut found = Vec::new();
    for pointer in pointers(&said, "").iter().filter(|pointer| said.pointer(pointer).is_some_and(Value::is_string)) {
        let mut other = said.clone();
        let place = other.pointer_mut(pointer).unwrap();
        *place = format!("{}-other", place.as_str().unwrap()).into();
        let Ok(other) = serde_json::from_value::<Around>(other) else { continue };
        if seen(case, &other) != seen(case, &case.around) && seen(less, &other) == seen(less, &case.around) {
            found.push(Case { around: other, ..case.clone() });
        }
    }
    found
}
