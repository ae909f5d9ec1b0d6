//! What is changed on a running guest, beside its definition.

use std::collections::BTreeMap;

use libvirt::{
    Affect, BlockTune, Error, Kind,
    diff::{Difference, diff},
    rule::{Live, Route},
    wish::Wishes,
    xml::Element,
};

use super::{act::Order, claim, live_devices, render, tune};

/// What could not be changed on a running guest, and why, by path.
pub(super) type Failures = BTreeMap<String, String>;

impl Order {
    /// Changes on the running guest what can be changed there. What fails waits for the next boot, and the reason is told.
    pub(super) fn change_running(
        &self,
        domain: &libvirt::Domain<'_>,
        mut wishes: Wishes,
        [wished, base, present]: [&Element; 3],
    ) -> anyhow::Result<Failures> {
        let live = if self.renamed { claim::running(base, present, &self.object) } else { present.clone() };
        render::give_back(&mut wishes, &live);
        let differences = diff(&wishes, &live, &self.rules);
        // First, because a disk may be plugged in for an I/O thread that is new.
        let mut failures = tune::tune(domain, &differences, [wished, present], &self.facts.cpus)?;
        let mut updated: Vec<String> = Vec::new();
        for difference in differences {
            let Route::Live(how) = difference.route else { continue };
            let item = device_of(&difference.path);
            let done = match how {
                Live::Device | Live::Update => {
                    if updated.iter().any(|known| known == item) {
                        continue;
                    }
                    updated.push(item.to_owned());
                    self.change_device(domain, &difference, &wishes, [wished, &live, present])
                }
                Live::Memory => change_memory(domain, wished, &live),
                Live::Vcpus => change_vcpus(domain, wished, &live),
                Live::InterfaceTune => {
                    let bandwidth = format!("{item}/bandwidth");
                    if updated.contains(&bandwidth) {
                        continue;
                    }
                    updated.push(bandwidth);
                    self.change_bandwidth(domain, item, &wishes, [wished, &live])
                }
                Live::Lifecycle if self.ending => Ok(()),
                Live::Lifecycle => live_devices::change_lifecycle(domain, wished, &difference.path),
                Live::Balloon => live_devices::change_stats_period(domain, wished),
                // Done above.
                Live::Scheduler | Live::IoThreads | Live::MemoryTune | Live::BlockWeight => continue,
                Live::BlockTune => self.change_block_tune(domain, item, &wishes, [wished, &live]),
                Live::Network => Ok(()),
            };
            match done {
                Err(error) if error.kind == Kind::Unreachable => return Err(error.into()),
                Err(error) => drop(failures.insert(difference.path, error.to_string())),
                Ok(()) => {}
            }
        }
        Ok(failures)
    }

    fn change_device(
        &self,
        domain: &libvirt::Domain<'_>,
        difference: &Difference,
        wishes: &Wishes,
        [wished, live, present]: [&Element; 3],
    ) -> Result<(), Error> {
        let item = device_of(&difference.path);
        let whole = difference.path == item;
        let known = |device: Element| if self.renamed { claim::as_running(device, present) } else { device };
        match (wishes.locate(item, wished, &self.rules), wishes.locate(item, live, &self.rules)) {
            (Some(device), None) => plug(domain, device),
            (None, Some(device)) if whole => domain.detach_device(&text(&known(device.clone()))?, Affect::Live),
            (Some(device), Some(present)) => {
                domain.update_device(&text(&known(at_its_address(device, present)))?, Affect::Live)
            }
            (None, Some(_) | None) => Ok(()),
        }
    }

    fn change_bandwidth(
        &self,
        domain: &libvirt::Domain<'_>,
        item: &str,
        wishes: &Wishes,
        [wished, live]: [&Element; 2],
    ) -> Result<(), Error> {
        let device = |of| wishes.locate(item, of, &self.rules);
        match (device(wished), device(live)) {
            (Some(wished), Some(live)) => live_devices::change_bandwidth(domain, wished, live),
            (_, None) | (None, _) => Ok(()),
        }
    }

    /// Sets all limits of a disk: those that are wished no more become none.
    fn change_block_tune(
        &self,
        domain: &libvirt::Domain<'_>,
        item: &str,
        wishes: &Wishes,
        [wished, live]: [&Element; 2],
    ) -> Result<(), Error> {
        let of = |description| wishes.locate(item, description, &self.rules);
        let (Some(disk), Some(running)) = (of(wished), of(live)) else { return Ok(()) };
        let Some(target) = running.attr_at("target@dev") else { return Ok(()) };
        domain.set_block_tune(target, &BlockTune::of(disk), Affect::Live)
    }
}

fn text(device: &Element) -> Result<String, Error> {
    device.write().map_err(|error| Error::other(format!("cannot write a device: {error}")))
}

/// Plugs a device in: at the place that it has in the definition if it can, else wherever there is room. What could not be plugged in
/// before got a place in the definition that the running guest may use otherwise.
fn plug(domain: &libvirt::Domain<'_>, device: &Element) -> Result<(), Error> {
    let mut anywhere = device.clone();
    anywhere.retain(|part| part.name != "address");
    match domain.attach_device(&text(device)?, Affect::Live) {
        Err(error) if [Kind::Rejected, Kind::Exists, Kind::Other].contains(&error.kind) && anywhere != *device => {
            domain.attach_device(&text(&anywhere)?, Affect::Live)
        }
        done => done,
    }
}

/// The device in which a path lies: `devices/disk[ua-disk-a]` of `devices/disk[ua-disk-a]/source@file`.
fn device_of(path: &str) -> &str {
    path.find(']').map_or(path, |end| &path[..=end])
}

/// The device as wished, at the address where it is plugged in now.
fn at_its_address(wished: &Element, present: &Element) -> Element {
    let mut device = wished.clone();
    if device.find("address").is_none()
        && let Some(address) = present.find("address")
    {
        device.push(address.clone());
    }
    device
}

fn change_memory(domain: &libvirt::Domain<'_>, wished: &Element, live: &Element) -> Result<(), Error> {
    let figure = |description: &Element, path| description.text_at(path).and_then(|text| text.parse::<u64>().ok());
    match (figure(wished, "currentMemory"), figure(live, "memory")) {
        (Some(now), Some(most)) if now <= most => domain.set_memory(now, Affect::Live),
        _ => Ok(()),
    }
}

/// Only upwards: a guest that is asked to give a processor up may not, and QEMU does not survive asking again.
fn change_vcpus(domain: &libvirt::Domain<'_>, wished: &Element, live: &Element) -> Result<(), Error> {
    let most =
        |description: &Element| description.text_at("vcpu").and_then(|text| text.parse::<u32>().ok()).unwrap_or(1);
    let now = |description: &Element| {
        description.attr_at("vcpu@current").and_then(|text| text.parse().ok()).unwrap_or_else(|| most(description))
    };
    let (wished, present) = (now(wished), now(live));
    if wished > present && wished <= most(live) { domain.set_vcpus(wished, Affect::Live) } else { Ok(()) }
}
