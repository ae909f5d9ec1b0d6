//! Changes of a running guest that have calls of their own.

use std::collections::BTreeMap;

use libvirt::{Affect, Description, Domain, End, Error, Kind, xml::Element};

use super::live::Failures;
use super::passwords::{self, NAMESPACE, Passwords};

/// Tells the running consoles their passwords, and writes down in the running guest which it was told. What fails waits for the next
/// boot, and the reason is told: a console that was started without a password can get none.
pub(super) fn change_passwords(domain: &Domain<'_>, passwords: &Passwords) -> anyhow::Result<Failures> {
    if passwords.is_empty() {
        return Ok(Failures::new());
    }
    let live = Element::parse(&domain.describe(Description::LiveSecure)?)?;
    let before = passwords::known(&live);
    let mut told = before.clone();
    let mut failures = Failures::new();
    for console in live.find_all("devices/graphics") {
        let type_ = console.get("type").unwrap_or_default();
        let Some(password) = passwords.get(type_) else { continue };
        if console.get("passwd") != Some(password.reveal()) {
            let mut console = console.clone();
            console.set("passwd", password.reveal());
            match update(domain, &console) {
                Err(error) if error.kind == Kind::Unreachable => return Err(error.into()),
                Err(error) => {
                    failures.insert(format!("devices/graphics[{type_}]@passwd"), error.to_string());
                    continue;
                }
                Ok(()) => {}
            }
        }
        told.insert(type_.to_owned(), password.print().to_owned());
    }
    if told != before {
        note(domain, &told)?;
    }
    Ok(failures)
}

fn update(domain: &Domain<'_>, device: &Element) -> Result<(), Error> {
    let text = device.write().map_err(|error| Error::other(format!("cannot write a device: {error}")))?;
    domain.update_device(&text, Affect::Live)
}

fn note(domain: &Domain<'_>, prints: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let element = prints
        .iter()
        .fold(Element::new("passwords"), |element, (type_, print)| element.attr(type_.as_str(), print.as_str()));
    Ok(domain.set_metadata(("pl", NAMESPACE), &element.write()?, Affect::Live)?)
}

/// Sets how much passes through a running interface. A direction that is wished no more has no limit.
pub(super) fn change_bandwidth(domain: &Domain<'_>, wished: &Element, live: &Element) -> Result<(), Error> {
    let Some(mac) = live.attr_at("mac@address") else { return Ok(()) };
    let inbound = [("average", c"inbound.average"), ("peak", c"inbound.peak"), ("burst", c"inbound.burst")];
    let outbound = [("average", c"outbound.average"), ("peak", c"outbound.peak"), ("burst", c"outbound.burst")];
    let mut figures = Vec::new();
    for (direction, names) in [("inbound", inbound), ("outbound", outbound)] {
        let place = format!("bandwidth/{direction}");
        if wished.find(&place).is_none() && live.find(&place).is_none() {
            continue;
        }
        for (name, parameter) in names {
            let figure = wished.attr_at(&format!("{place}@{name}")).and_then(|figure| figure.parse().ok());
            figures.push((parameter, figure.unwrap_or_default()));
        }
    }
    domain.set_interface_parameters(mac, &figures, Affect::Live)
}

/// Sets what follows the end of the run that this path is of.
pub(super) fn change_lifecycle(domain: &Domain<'_>, wished: &Element, path: &str) -> Result<(), Error> {
    let reboot = wished.text_at("on_reboot");
    if path == "on_poweroff" && reboot == Some("restart") {
        // To boot again after a shutdown and not after a reboot is refused, also on the way to doing both.
        domain.set_lifecycle(End::Reboot, "restart", Affect::Live)?;
    }
    let end = match path {
        "on_poweroff" => End::Poweroff,
        "on_reboot" => End::Reboot,
        _ => End::Crash,
    };
    // What is wished no more was taken out of the definition, and libvirt says there what it takes instead.
    wished.text_at(path).map_or(Ok(()), |word| domain.set_lifecycle(end, word, Affect::Live))
}

/// Sets how often the balloon's figures are read.
pub(super) fn change_stats_period(domain: &Domain<'_>, wished: &Element) -> Result<(), Error> {
    let period = wished.attr_at("devices/memballoon/stats@period").and_then(|period| period.parse().ok());
    domain.set_memory_stats_period(period.unwrap_or_default(), Affect::Live)
}
