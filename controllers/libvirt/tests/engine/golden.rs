//! Golden files: for each case the differences found and the lines of the description that an overlay changes.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use libvirt::diff::{Difference, diff};
use libvirt::overlay::overlay;
use libvirt::rule::Rules;
use libvirt::wish::Wishes;
use libvirt::xml::Element;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/engine")
}

/// A description libvirt wrote.
pub(crate) fn description(name: &str) -> Element {
    Element::parse(&fs::read_to_string(folder().join(name).with_extension("xml")).unwrap()).unwrap()
}

/// What still differs once an overlay was made, apart from what it must not change.
pub(crate) fn left_over(wishes: &Wishes, have: &Element, rules: &Rules) -> Vec<Difference> {
    diff(wishes, have, rules).into_iter().filter(Difference::is_applied).collect()
}

/// Compares the case with its golden file, and checks on it that an overlay leaves nothing to do.
///
/// The overlaid document is written below the target directory too, to be tried on a real libvirt.
pub(crate) fn check(case: &str, wishes: &Wishes, base: &Element, rules: &Rules) {
    let result = overlay(wishes, base, rules);
    assert_eq!(overlay(wishes, &result, rules), result, "{case}: the overlay is not idempotent");
    assert_eq!(left_over(wishes, &result, rules), [], "{case}: the overlay leaves differences");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine");
    fs::create_dir_all(&out).unwrap();
    fs::write(out.join(case).with_extension("xml"), result.write().unwrap()).unwrap();

    let mut found = String::new();
    for difference in diff(wishes, base, rules) {
        let group = difference.group.map(|group| format!(" (group {group})")).unwrap_or_default();
        writeln!(found, "{difference} [{:?}]{group}", difference.route).unwrap();
    }
    found.push_str(&changed_lines(&base.write().unwrap(), &result.write().unwrap()));
    let file = folder().join(case).with_extension("golden");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, &found).unwrap();
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(found, golden, "{case}: run again with BLESS=1 if the new text is right");
}

/// The lines taken away (`-`) and added (`+`), by the longest common sequence.
fn changed_lines(before: &str, after: &str) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let mut common = vec![vec![0_usize; after.len() + 1]; before.len() + 1];
    for (i, old) in before.iter().enumerate().rev() {
        for (j, new) in after.iter().enumerate().rev() {
            common[i][j] = if old == new { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, String::new());
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == after.len() || (i < before.len() && common[i + 1][j] >= common[i][j + 1]) {
            writeln!(out, "-{}", before[i]).unwrap();
            i += 1;
        } else {
            writeln!(out, "+{}", after[j]).unwrap();
            j += 1;
        }
    }
    out
}
