//! The CRDs in `package/crds` are those of the types. `BLESS=1 cargo test -p apis` writes them anew.

use std::{fs, path::PathBuf};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../package/crds")
}

#[test]
fn the_packaged_crds_are_generated_from_the_types() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut names = Vec::new();
    for crd in apis::crds() {
        let name = format!("{}_{}.yaml", apis::GROUP, crd.spec.names.plural);
        let yaml = serde_saphyr::to_string(&crd).unwrap();
        let path = folder().join(&name);
        if bless {
            fs::create_dir_all(folder()).unwrap();
            fs::write(&path, &yaml).unwrap();
        }
        let packaged = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            packaged == yaml,
            "package/crds/{name} is not what the types say; run `make bless` and review the difference"
        );
        names.push(name);
    }
    let mut found: Vec<String> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    names.sort();
    assert_eq!(found, names, "package/crds holds files that no type stands for");
}

#[test]
fn every_list_string_and_number_is_bounded_so_that_rules_stay_cheap() {
    for crd in apis::crds() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let kind = &crd.spec.names.kind;
        let spec = &schema["openAPIV3Schema"]["properties"]["spec"];
        let mut found = Vec::new();
        unbounded(spec, &format!("{kind}.spec"), &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}

fn unbounded(schema: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    let has = |key: &str| !schema[key].is_null();
    match schema["type"].as_str() {
        Some("string") if !has("maxLength") && !has("enum") => found.push(format!("{path}: no maxLength")),
        Some("object") if has("additionalProperties") && !has("maxProperties") => {
            found.push(format!("{path}: no maxProperties"));
        }
        Some("array") if !has("maxItems") => found.push(format!("{path}: no maxItems")),
        Some("integer") if !has("minimum") || !has("maximum") => found.push(format!("{path}: no range")),
        _ => {}
    }
    for key in ["nullable", "default"] {
        if has(key) && path.contains("forProvider") {
            found.push(format!("{path}: {key}"));
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        unbounded(property, &format!("{path}.{name}"), found);
    }
    if has("additionalProperties") {
        unbounded(&schema["additionalProperties"], &format!("{path}.*"), found);
    }
    if has("items") {
        unbounded(&schema["items"], &format!("{path}[]"), found);
    }
}
