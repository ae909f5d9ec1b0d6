//! What people type: `kubectl get managed`, `wait`, `describe` and `explain` answer with what they need.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{PATIENCE, Scenario, SharedStage, eventually};

static STAGE: SharedStage = SharedStage::new("kubectl", &["--poll=2s"]);

const GROUP: &str = "libvirt.m.nourspeed.io";

/// One object of each kind.
fn everything(scenario: &Scenario<'_>) -> String {
    let on = format!(
        ", networkInterfaces: [{{name: lan, networkRef: {{name: {0}}}}}], cloudInitRef: {{name: {0}}}",
        scenario.name()
    );
    scenario.idle_world(&on) + &scenario.network() + &scenario.seed("one", "#!/bin/sh\n")
}

#[test]
fn objects_are_waited_for_listed_and_described() -> Result<()> {
    let scenario = STAGE.scenario("words")?;
    scenario.apply(&everything(&scenario))?;
    let kubectl = |words: &[&str]| scenario.namespace().kubectl(words);
    let objects = ["pool/words", "volume/root", "network/words", "cloudinit/words", "domain/words"];
    for object in objects {
        let waited = kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", object])?;
        assert!(waited.trim_end().ends_with("condition met"), "{waited}");
    }
    kubectl(&["wait", "--for=condition=Synced", "--timeout=60s", "managed", "--all"])?;

    let table = kubectl(&["get", "managed"])?;
    for object in objects {
        let (kind, name) = object.split_once('/').unwrap();
        let row = format!("{kind}.{GROUP}/{name}");
        let row = table.lines().find(|line| line.starts_with(&row)).with_context(|| format!("{row} in\n{table}"))?;
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words[1..3], ["True", "True"], "{row}");
    }
    for heading in ["READY", "SYNCED", "EXTERNAL-NAME", "AGE"] {
        assert_eq!(table.matches(heading).count(), 5, "{heading} in\n{table}");
    }
    let wide = kubectl(&["get", "domains", "-o=wide"])?;
    let (headings, row) = wide.split_once('\n').context("the table has a row")?;
    // A column may be empty.
    let seen = |heading: &str| headings.find(heading).and_then(|at| row[at..].split_whitespace().next());
    assert_eq!((seen("VCPUS"), seen("UP-TO-DATE")), (Some("1"), Some("True")), "{wide}");
    for category in ["crossplane", "libvirt"] {
        assert!(kubectl(&["get", category])?.contains("domain.libvirt.m.nourspeed.io/words"), "{category}");
    }
    let config = scenario.stage().plane().kubectl(&["get", "provider"])?;
    assert!(config.contains("clusterproviderconfig.libvirt.m.nourspeed.io/default"), "{config}");

    let described = kubectl(&["describe", "domain", "words"])?;
    let events = described.split_once("\nEvents:\n").with_context(|| described.clone())?.1;
    let created = events.lines().find(|line| line.contains("CreatedExternalResource")).context(events.to_owned())?;
    let words: Vec<&str> = created.split_whitespace().collect();
    assert_eq!(words[..2], ["Normal", "CreatedExternalResource"], "{created}");
    let source = "managed/domain.libvirt.m.nourspeed.io";
    assert!(created.ends_with("Successfully requested creation of external resource") && created.contains(source));
    for said in ["Type:                  Ready", "Reason:                Available", "At Provider:"] {
        assert!(described.contains(said), "{said} in\n{described}");
    }
    Ok(())
}

#[test]
fn a_mistake_is_described_with_its_cause() -> Result<()> {
    let scenario = STAGE.scenario("mistake")?;
    scenario.apply(&(scenario.pool() + &scenario.volume("tape", "capacity: 1Mi, format: Raw")))?;
    scenario.await_ready(&["volume/tape"])?;
    scenario.change("volume", "tape", &serde_json::json!({"capacity": "4Ki"}))?;
    let sentence = "a volume never shrinks, because data would be cut off. Set capacity to at least that";
    scenario.await_object("volume", "tape", |_| {
        let described = scenario.namespace().kubectl(&["describe", "volume", "tape"])?;
        let events = described.split_once("\nEvents:\n").context("no events yet")?.1;
        let warning =
            events.lines().find(|line| line.contains("CannotUpdateExternalResource")).context("no warning yet")?;
        ensure!(warning.trim_start().starts_with("Warning") && warning.ends_with(sentence), "{warning}");
        Ok(())
    })
}

#[test]
fn every_field_is_explained() -> Result<()> {
    let scenario = STAGE.scenario("explained")?;
    let plane = scenario.stage().plane();
    let disks = ["explain", "domain.spec.forProvider.disks", "--recursive"];
    // The API server publishes what it explains a moment after it serves it.
    let names: BTreeSet<String> = fields(&eventually(PATIENCE, || plane.kubectl(&disks))?);
    let short = plane.kubectl(&disks[..2])?;
    for (name, text) in explained(&short) {
        assert!(names.contains(&name) && text.len() > 10, "{name}: {text:?}");
    }
    assert!(names.len() >= 8 && fields(&short).is_subset(&names), "{names:?}");
    assert!(["name", "volumeRef", "device", "bus", "readOnly"].iter().all(|name| names.contains(*name)), "{names:?}");

    let list = plane.client().get(&["crds"])?.context("list the CRDs")?;
    let crds = list["items"].as_array().context("read the CRDs")?.iter().filter(|crd| crd["spec"]["group"] == GROUP);
    let (mut seen, mut bare) = (0, Vec::new());
    for crd in crds {
        for version in crd["spec"]["versions"].as_array().context("read the versions")? {
            let kind = crd["spec"]["names"]["kind"].as_str().unwrap_or_default();
            seen += walk(&version["schema"]["openAPIV3Schema"], kind, &mut bare);
        }
    }
    assert!(seen > 200, "only {seen} fields were seen");
    assert_eq!(bare, Vec::<String>::new(), "fields without a description");
    Ok(())
}

/// Goes through the properties of a schema; answers how many there are, and collects the paths of those without a description.
fn walk(schema: &Value, path: &str, bare: &mut Vec<String>) -> usize {
    // What the API server itself explains.
    let own = ["apiVersion", "kind", "metadata"];
    let mut seen = 0;
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if !path.contains('.') && own.contains(&name.as_str()) {
            continue;
        }
        let path = format!("{path}.{name}");
        seen += 1 + walk(property, &path, bare) + walk(&property["items"], &path, bare);
        seen += walk(&property["additionalProperties"], &path, bare);
        if property["description"].as_str().is_none_or(|text| text.trim().is_empty()) {
            bare.push(path);
        }
    }
    seen
}

/// The names of the fields that `kubectl explain` lists, `<name>\t<type>` each, indented.
fn fields(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter_map(|line| line.trim_start().split_once('\t'));
    lines.filter(|(_, kind)| kind.starts_with('<')).map(|(name, _)| name.to_owned()).collect()
}

/// The fields that `kubectl explain` lists, each with what it says of it.
fn explained(text: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for line in text.lines().skip_while(|line| !line.starts_with("FIELDS:")).skip(1) {
        match line.trim_start().split_once('\t') {
            Some((name, kind)) if kind.starts_with('<') => all.push((name.to_owned(), String::new())),
            _ => {
                if let Some((_, text)) = all.last_mut() {
                    text.push_str(line.trim());
                }
            }
        }
    }
    all
}
