//! What taking a field out of a spec changes: every field of every example, in one golden file a kind.

use std::fmt::Write as _;

use libvirt::diff::diff;

use crate::{
    cases::{Case, REFUSED, WISHED, cases, pointers, without},
    golden,
};

#[test]
fn a_field_taken_out_changes_what_the_golden_file_says() {
    for kind in WISHED {
        let mut text = String::new();
        for case in cases(kind) {
            for pointer in pointers(&case.object["spec"]["forProvider"], "/spec/forProvider") {
                writeln!(
                    text,
                    "{} {}{}",
                    case.name,
                    pointer.replacen("/spec/forProvider/", "", 1),
                    effect(&case, &pointer)
                )
                .unwrap();
            }
        }
        golden(kind, "unset.golden", &text);
    }
}

fn effect(case: &Case, pointer: &str) -> String {
    let made = case.create();
    let refusal = |entry: &&(&str, &str, &str, &str)| {
        (entry.0, entry.1) == (case.kind, case.name.as_str()) && pointer == format!("/spec/forProvider/{}", entry.2)
    };
    if let Some((.., sentence)) = REFUSED.iter().find(refusal) {
        return format!(": refused by the API server: {sentence}");
    }
    let changed = without(case, pointer);
    if !changed.is_readable() {
        return ": required".to_owned();
    }
    match changed.wishes(Some(&made), &case.applied()) {
        Err(error) => format!(": refused: {error:#}"),
        Ok(wishes) => diff(&wishes, &made, &case.rules())
            .iter()
            .filter(|difference| difference.path != "metadata/pl:object")
            .fold(String::new(), |text, difference| text + "\n    " + &difference.to_string()),
    }
}
