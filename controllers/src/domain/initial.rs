//! A domain that is made of `forProvider` and `initProvider` together: pure.
//!
//! Devices that only `initProvider` speaks of get names of a class of their own, which nothing compares or takes away later; and of what
//! is owned only `forProvider` counts. The description is as an update would leave it, so that there is nothing to do after it.

use apis::{Domain, Managed};
use libvirt::{Facts, overlay::overlay, rule::Rules, xml::Element};
use serde_json::Value;

use super::{
    Surroundings,
    claim::{self, claim},
    passwords, render,
};
use crate::mark;

/// What begins the names of devices that only `initProvider` speaks of.
pub const INITIAL: &str = "ua-init-";

/// The description of a new domain, with this UUID.
pub fn description(
    object: &Domain,
    around: &Surroundings,
    facts: &Facts,
    rules: &Rules,
    uuid: &str,
) -> anyhow::Result<Element> {
    let mut wishes = render::render(&object.merged(), around, facts, None)?;
    passwords::reveal(&mut wishes, around, None);
    wishes.set("uuid", uuid);
    let mut description = wishes.create(rules);
    if object.initial().is_none() {
        return Ok(description);
    }
    claim::name_initial(&mut description, object);
    mark::remove(&mut description);
    passwords::remove(&mut description);
    let claimed = claim(object, around, &description, false);
    let mut wishes = render::render(&claimed.object, &claimed.around, facts, Some(&claimed.base))?;
    passwords::reveal(&mut wishes, &claimed.around, Some(&claimed.base));
    Ok(overlay(&wishes, &claimed.base, rules))
}

/// The surroundings without what only `initProvider` refers to.
pub fn lasting(object: &Domain, around: &Surroundings) -> Surroundings {
    let said = serde_json::to_value(object.parameters()).unwrap_or_default();
    let mut around = around.clone();
    around.seed = around.seed.filter(|_| refers(&said, "cloudInit"));
    around.ignition = around.ignition.filter(|_| refers(&said, "cloudInit"));
    around.kernel = around.kernel.filter(|_| refers(&said["os"], "kernel"));
    passwords::lasting(object, &mut around.passwords);
    around.initrd = around.initrd.filter(|_| refers(&said["os"], "initrd"));
    around
}

/// Whether a reference of this name is set, in whatever way.
pub fn refers(parameters: &Value, field: &str) -> bool {
    ["Ref", "Selector"].iter().any(|way| !parameters[format!("{field}{way}")].is_null())
}
