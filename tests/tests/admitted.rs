//! A real API server takes the CRDs, every example and every golden object without a warning, and refuses what it should.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

// The objects are those of the golden files.
#[path = "../../controllers/tests/render/cases.rs"]
#[allow(dead_code, reason = "only the objects are of interest here, not what is made of them")]
mod cases;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tests::{ControlPlane, Kubectl, Scratch, cert_manager, crossplane_programs, workspace};

use cases::{Case, REFUSED, case, cases, without};

/// A control plane with the package's CRDs, applied under the eyes of the test.
fn plane(scratch: &Scratch) -> Result<(ControlPlane, String)> {
    let plane = ControlPlane::start(scratch.path())?;
    let crds = workspace().join("package/crds").display().to_string();
    let answer = plane.client().run_with_input(&["apply", "--server-side", "--warnings-as-errors", "-f", &crds], "")?;
    plane.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", &crds])?;
    Ok((plane, answer))
}

/// Every YAML file in a folder and its folders.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What the server says to an object that it is asked about strictly and does not keep.
fn ask(client: &Kubectl, text: &str) -> Result<String> {
    const ASK: [&str; 7] =
        ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", "-"];
    client.run_with_input(&ASK, text)
}

fn ask_of(client: &Kubectl, case: &Case) -> Result<String> {
    let mut object = case.object.clone();
    object["metadata"]["uid"].take();
    object["metadata"].as_object_mut().context("an object has metadata")?.remove("uid");
    object["metadata"]["namespace"] = Value::from("default");
    ask(client, &object.to_string())
}

#[test]
fn the_crds_and_every_example_are_taken_without_a_warning() -> Result<()> {
    let scratch = Scratch::new("admitted")?;
    let (plane, answer) = plane(&scratch)?;
    let crds = files(&workspace().join("package/crds"))?.len();
    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!((lines.len(), lines.iter().all(|line| line.ends_with("serverside-applied"))), (crds, true), "{answer}");

    let client = plane.client();
    client.apply(&cert_manager())?;
    client.run(&["apply", "--server-side", "-f", &crossplane_programs()?.join("crds").display().to_string()])?;
    client.run(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"])?;
    let mut documents = 0;
    for file in files(&workspace().join("examples"))? {
        let text = fs::read_to_string(&file)?;
        let objects: Vec<Value> =
            serde_saphyr::from_multiple(&text).with_context(|| format!("read {}", file.display()))?;
        for object in objects {
            // Kinds that Crossplane makes of another example are taken where there is a Crossplane: tests/crossplane.
            if object["apiVersion"].as_str().is_some_and(|version| version.starts_with("compute.example.org/")) {
                continue;
            }
            // A namespace that is only asked about is not there for the objects in it.
            if let Some(namespace) = object["metadata"]["namespace"].as_str() {
                client.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}"))?;
            }
            let answer = ask(&client, &object.to_string()).with_context(|| file.display().to_string())?;
            assert!(answer.trim().ends_with("serverside-applied (server dry run)"), "{}: {answer}", file.display());
            documents += 1;
        }
    }
    assert!(documents > 5, "only {documents} documents are in examples/");
    Ok(())
}

#[test]
fn every_golden_object_is_taken_and_one_without_what_it_needs_is_refused_with_a_sentence() -> Result<()> {
    let scratch = Scratch::new("golden")?;
    let (plane, _) = plane(&scratch)?;
    let client = plane.client();
    for case in ["domain", "network", "pool", "volume"].into_iter().flat_map(cases) {
        let answer = ask_of(&client, &case).with_context(|| format!("{} {}", case.kind, case.name))?;
        assert!(
            answer.trim().ends_with("serverside-applied (server dry run)"),
            "{} {}: {answer}",
            case.kind,
            case.name
        );
    }
    for (kind, name, field, sentence) in REFUSED {
        let changed = without(&case(kind, name), &format!("/spec/forProvider/{field}"));
        let refused = format!("{:#}", ask_of(&client, &changed).expect_err("it should be refused"));
        assert!(refused.contains(sentence), "{kind} {name} without {field}: {refused}");
    }
    Ok(())
}
