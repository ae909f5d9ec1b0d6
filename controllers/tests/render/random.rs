//! Specs of Domains that nobody wrote: made of the CRD's schema, of the values that the examples have, and of a seed.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    cases::{Case, case, cases, pointers},
    leaves::{Shown, as_field, parameters, table},
};

/// Fields whose values mean something only where the rest says so too, or that this machine cannot have.
const LEFT_OUT: [&str; 5] = ["rawXml", "os.arch", "type", "runStrategy", "memoryBacking.hugepages"];

/// The seed of a run: `SEED` of the environment, so that a failure can be seen again, else always the same.
pub(crate) fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_260_101)
}

/// A maker of specs.
pub(crate) struct Random {
    state: u64,
    schema: Value,
    minimal: Case,
    /// Values by field, as the examples and the table of fields have them.
    samples: BTreeMap<String, Vec<Value>>,
}

impl Random {
    pub(crate) fn new() -> Self {
        let mut samples: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for case in cases("domain") {
            for pointer in pointers(&case.object["spec"]["forProvider"], "/spec/forProvider") {
                let value = case.object.pointer(&pointer).unwrap().clone();
                samples.entry(as_field(&case.object, &pointer)).or_default().push(value);
            }
        }
        for (leaf, shown) in table("Domain") {
            if let Shown::Described(_, place, value) = shown {
                let is_whole = place
                    .split('/')
                    .filter(|step| step.parse::<usize>().is_err())
                    .eq(leaf.replace("[]", "").split('.'));
                samples.entry(leaf).or_default().extend(is_whole.then(|| serde_json::from_str(value).unwrap()));
            }
        }
        Self { minimal: case("domain", "minimal"), state: 1, schema: parameters("Domain", "forProvider"), samples }
    }

    /// Begins anew: what follows depends on the seed alone.
    pub(crate) fn begin(&mut self, seed: u64) {
        self.state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    }

    /// George Marsaglia's xorshift: small, and the same everywhere.
    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % limit
    }

    fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    fn of(&mut self, from: &[Value]) -> Option<Value> {
        if from.is_empty() { None } else { Some(from[self.below(from.len())].clone()) }
    }

    /// A guest, and what other objects would have to tell about it.
    pub(crate) fn guest(&mut self) -> Case {
        let schema = self.schema.clone();
        let mut spec = self.object(&schema, "");
        self.sensible(&mut spec);
        guest(spec, &self.minimal)
    }

    /// The guest with one change: a field taken out, or one of the first rank put in or exchanged.
    pub(crate) fn changed(&mut self, before: &Case) -> Case {
        let mut spec = before.object["spec"]["forProvider"].as_object().unwrap().clone();
        if self.one_in(2) {
            let mut value = Value::Object(spec);
            let places = pointers(&value, "");
            let place = places[self.below(places.len())].clone();
            let (parent, name) = place.rsplit_once('/').unwrap();
            match value.pointer_mut(parent).unwrap() {
                Value::Object(fields) => drop(fields.remove(name)),
                Value::Array(items) => drop(items.remove(name.parse().unwrap())),
                _ => {}
            }
            spec = value.as_object().cloned().unwrap_or_default();
        } else {
            let names: Vec<String> = self.schema["properties"].as_object().unwrap().keys().cloned().collect();
            let name = names[self.below(names.len())].clone();
            let schema = self.schema["properties"][&name].clone();
            if let Some(value) = self.value(&schema, &name) {
                spec.insert(name, value);
            }
        }
        self.sensible(&mut spec);
        guest(spec, &self.minimal)
    }

    fn object(&mut self, schema: &Value, path: &str) -> Map<String, Value> {
        let mut fields = Map::new();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let is_required = schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
            if (is_required || self.one_in(3))
                && let Some(value) = self.value(field, &path)
            {
                fields.insert(name.clone(), value);
            }
        }
        fields
    }

    fn value(&mut self, schema: &Value, path: &str) -> Option<Value> {
        if LEFT_OUT.contains(&path) {
            return None;
        }
        if let Some(choices) = schema["enum"].as_array() {
            return self.of(choices);
        }
        if schema["properties"].is_object() {
            return Some(Value::Object(self.object(schema, path)));
        }
        let samples = self.samples.get(path).cloned().unwrap_or_default();
        match schema["type"].as_str() {
            Some("boolean") => Some(self.one_in(2).into()),
            Some("array") => Some(self.list(schema, path)),
            Some("integer") if samples.is_empty() => schema["minimum"].as_f64().map(|least| {
                #[allow(clippy::cast_possible_truncation, reason = "bounds of the schema are whole and small")]
                let least = least as i64;
                (least + i64::try_from(self.below(4)).unwrap()).into()
            }),
            _ => self.of(&samples),
        }
    }

    /// Up to three items, each with a key of its own.
    fn list(&mut self, schema: &Value, path: &str) -> Value {
        let key = schema["x-kubernetes-list-map-keys"][0].as_str().unwrap_or_default();
        let most = usize::try_from(schema["maxItems"].as_u64().unwrap_or(3)).unwrap().min(3);
        let mut items: Vec<Value> = Vec::new();
        for _ in 0..=self.below(most) {
            let Some(mut item) = self.value(&schema["items"], &format!("{path}[]")) else { continue };
            if key == "name" && schema["items"]["properties"]["name"]["enum"].is_null() && path != "cpu.features" {
                item["name"] = ["one", "two", "three"][items.len()].into();
            }
            let is_same = |other: &Value| if key.is_empty() { *other == item } else { other[key] == item[key] };
            if !items.iter().any(is_same) {
                items.push(item);
            }
        }
        items.into()
    }

    /// What the API server would refuse, it has no chance to: the rules that most specs would break are kept.
    fn sensible(&mut self, spec: &mut Map<String, Value>) {
        spec.insert("type".to_owned(), "Qemu".into());
        spec.insert("memory".to_owned(), ["64Mi", "100M", "65537Ki"][self.below(3)].into());
        if let (Some(now), Some(most)) =
            (spec.get("vcpus").and_then(Value::as_i64), spec.get("maxVcpus").and_then(Value::as_i64))
        {
            spec.insert("vcpus".to_owned(), now.min(most).into());
        }
        let vcpus = spec.get("maxVcpus").or_else(|| spec.get("vcpus")).and_then(Value::as_i64).unwrap_or(1);
        if let Some(cpu) = spec.get_mut("cpu") {
            sensible_cpu(cpu, vcpus);
        }
        let mut orders = 0;
        for disk in spec.get_mut("disks").and_then(Value::as_array_mut).into_iter().flatten() {
            sensible_disk(disk);
            if disk.get("bootOrder").is_some() {
                orders += 1;
                disk["bootOrder"] = orders.into();
            }
        }
        for nic in spec.get_mut("networkInterfaces").and_then(Value::as_array_mut).into_iter().flatten() {
            if nic.get("queues").is_some() {
                nic["model"] = "Virtio".into();
            }
            sensible_nic(nic);
        }
        sensible_numa(spec);
        sensible_threads(spec, vcpus);
        for device in spec.get_mut("hostDevices").and_then(Value::as_array_mut).into_iter().flatten() {
            keep_one(device, &["pci", "usb", "mdev"]);
            if ["pci", "usb", "mdev"].iter().all(|way| device.get(way).is_none()) {
                device["pci"] = json!({"address": "0000:01:00.0"});
            }
        }
        for folder in spec.get_mut("filesystems").and_then(Value::as_array_mut).into_iter().flatten() {
            folder["hostPath"] = "/srv/one".into();
            folder["driver"] = "Path".into();
        }
        if let Some(os) = spec.get_mut("os").and_then(Value::as_object_mut) {
            sensible_os(os, orders > 0);
        }
    }
}

fn sensible_cpu(cpu: &mut Value, vcpus: i64) {
    let fields = cpu.as_object_mut().unwrap();
    let is_custom = fields.contains_key("model");
    fields.insert("mode".to_owned(), if is_custom { "Custom" } else { "Maximum" }.into());
    if fields.contains_key("topology") {
        fields.insert("topology".to_owned(), json!({"sockets": vcpus}));
    }
}

/// One cell of all processors, or none: what cells are of is another figure of the spec.
fn sensible_numa(spec: &mut Map<String, Value>) {
    if let Some(cpu) = spec.get_mut("cpu").and_then(Value::as_object_mut) {
        cpu.remove("numa");
    }
    if let Some(tune) = spec.get_mut("numaTune").and_then(Value::as_object_mut) {
        tune.remove("memNodes");
    }
}

/// No pin of what the guest does not have.
fn sensible_threads(spec: &mut Map<String, Value>, vcpus: i64) {
    let threads = spec.get("iothreads").and_then(Value::as_i64).unwrap_or(0);
    let at_most = |item: &Value, key: &str, most: i64| item[key].as_i64().is_some_and(|number| number <= most);
    if let Some(tune) = spec.get_mut("cpuTune") {
        for (list, key, most) in [("vcpuPins", "vcpu", vcpus - 1), ("ioThreadPins", "ioThread", threads)] {
            if let Some(pins) = tune.get_mut(list).and_then(Value::as_array_mut) {
                pins.retain(|pin| at_most(pin, key, most));
            }
        }
    }
    for disk in spec.get_mut("disks").and_then(Value::as_array_mut).into_iter().flatten() {
        if !at_most(disk, "ioThread", threads) {
            disk.as_object_mut().unwrap().remove("ioThread");
        }
    }
}

fn sensible_nic(nic: &mut Value) {
    const WAYS: [&str; 6] = ["networkRef", "networkSelector", "network", "bridge", "direct", "user"];
    keep_one(nic, &WAYS);
    if WAYS.iter().all(|way| nic.get(way).is_none()) {
        nic["bridge"] = "br0".into();
    }
    if nic.get("direct").is_some() || nic.get("user").is_some() {
        nic.as_object_mut().unwrap().remove("filter");
    }
}

fn sensible_disk(disk: &mut Value) {
    const WAYS: [&str; 6] = ["volumeRef", "volumeSelector", "volume", "file", "block", "network"];
    keep_one(disk, &WAYS);
    if disk.get("network").is_some() {
        disk["network"] = json!({"protocol": "Nbd", "hosts": [{"name": "nas"}], "format": "Raw"});
    }
    let has_none = WAYS.iter().all(|way| disk.get(way).is_none());
    // Which of them are free is another question, and so is which figures fit others.
    for field in ["target", "ioTune"] {
        disk.as_object_mut().unwrap().remove(field);
    }
    if has_none && disk.get("device") != Some(&"Cdrom".into()) {
        disk["volumeRef"] = json!({"name": "some"});
    }
    if disk.get("io") == Some(&"Native".into()) {
        disk["cache"] = "None".into();
    }
    // Neither is on a board of this kind.
    if disk.get("bus") == Some(&"Ide".into()) {
        disk["bus"] = "Sata".into();
    }
}

fn sensible_os(os: &mut Map<String, Value>, is_ordered: bool) {
    if is_ordered {
        os.remove("boot");
    }
    if os.get("firmware") != Some(&"Efi".into()) {
        os.remove("secureBoot");
    }
    if !["kernelRef", "kernelSelector"].iter().any(|way| os.contains_key(*way)) {
        for field in ["initrdRef", "initrdSelector", "cmdline"] {
            os.remove(field);
        }
    }
    if os.get("machine").and_then(Value::as_str).is_some_and(|machine| !machine.contains("q35")) {
        os.remove("machine");
    }
}

fn keep_one(item: &mut Value, ways: &[&str]) {
    let fields = item.as_object_mut().unwrap();
    let mut said = ways.iter().filter(|way| fields.contains_key(**way)).copied().collect::<Vec<_>>().into_iter();
    said.next();
    said.for_each(|way| drop(fields.remove(way)));
}

fn guest(spec: Map<String, Value>, minimal: &Case) -> Case {
    let mut case = minimal.clone();
    let names = |list: &str| -> Vec<String> {
        let items = spec.get(list).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(|item| item["name"].as_str().map(str::to_owned)).collect()
    };
    let media: Map<String, Value> = names("disks")
        .into_iter()
        .map(|name| (name.clone(), json!({"path": format!("/pool/{name}"), "format": "Raw"})))
        .collect();
    let networks: Map<String, Value> =
        names("networkInterfaces").into_iter().map(|name| (name.clone(), format!("net-{name}").into())).collect();
    let passwords = json!({"Vnc": "one", "Spice": "two"});
    case.around = serde_json::from_value(json!({
        "passwords": passwords, "media": media, "networks": networks, "seed": "/pool/seed.iso", "kernel": "/pool/kernel", "initrd": "/pool/initrd",
    }))
    .unwrap();
    case.object["metadata"]["name"] = "random".into();
    case.object["spec"]["forProvider"] = spec.into();
    case
}
