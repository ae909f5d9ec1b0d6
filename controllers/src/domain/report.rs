//! What the status says of a domain.

use apis::{
    condition::{Status, Type, Wish},
    domain::{
        Address, ConsoleObservation, DiskObservation, DomainObservation, GraphicsObservation, InterfaceObservation,
        RunStrategy,
    },
};
use libvirt::{State, mirror::DomainEntry, xml::Element};
use managed::external::{Pass, Report};

use crate::details;

use super::{Domains, Found, Surroundings, pending, power, render};

impl Domains {
    /// Status from what was found.
    pub(super) fn observe(
        &self,
        pass: &Pass<'_, Self>,
        around: Option<&Surroundings>,
        found: &Found,
    ) -> Report<DomainObservation> {
        let Some(entry) = found.entry.as_deref() else {
            return Report::of(DomainObservation::default(), Wish::creating());
        };
        let pending = around.map(|around| self.pending(pass, around, found, entry)).unwrap_or_default();
        let mut conditions = Vec::new();
        if !pending.is_empty() {
            conditions.push(
                Wish::new(Type::RestartRequired, Status::True, "ChangesPending")
                    .because(restart_message(&pending, &found.hindrances)),
            );
        }
        if let Some(connected) = found.guest_agent {
            let (status, reason) =
                if connected { (Status::True, "Connected") } else { (Status::False, "Disconnected") };
            conditions.push(Wish::new(Type::GuestAgentConnected, status, reason));
        }
        let observation = observation(entry, found, pending);
        let details = details::domain(pass.object, pass.host.uri(), &observation);
        let ready = ready(pass.object.spec.for_provider.run_strategy.unwrap_or_default(), entry, found);
        Report { conditions, details, recheck: found.recheck, ..Report::of(observation, ready) }
    }

    fn pending(&self, pass: &Pass<'_, Self>, around: &Surroundings, found: &Found, entry: &DomainEntry) -> Vec<String> {
        let (Some(live), Some(base)) = (&entry.live, &entry.inactive) else { return Vec::new() };
        let around = found.complete(around);
        render::render(pass.object, &around, pass.host.facts(), Some(base))
            .map(|wishes| pending::pending(wishes, live, &self.rules))
            .unwrap_or_default()
    }
}

fn restart_message(pending: &[String], hindrances: &[String]) -> String {
    let waiting = format!("waiting for the guest's next boot: {}", pending.join(", "));
    if hindrances.is_empty() {
        return waiting;
    }
    format!("{waiting} (not possible on the running guest: {})", hindrances.join("; "))
}

fn ready(strategy: RunStrategy, entry: &DomainEntry, found: &Found) -> Wish {
    let state = power::shown(entry.state);
    match (strategy, entry.state.state) {
        (RunStrategy::Always, State::Running | State::Blocked) => Wish::available(),
        (RunStrategy::Always, State::Shutoff) if found.recheck.is_some() => {
            Wish::unavailable(format!("the guest is {state}; it is started again if it stays so for 15s"))
        }
        (RunStrategy::Always, _) => Wish::unavailable(format!("the guest is {state}")),
        (RunStrategy::Manual, State::Crashed) => Wish::unavailable(format!("the guest is {state}")),
        (RunStrategy::Manual, _) => Wish::available(),
        (RunStrategy::Halted, State::Shutoff | State::Crashed) => Wish::available(),
        (RunStrategy::Halted, _) => Wish::unavailable(
            found.shutdown.clone().unwrap_or_else(|| format!("the guest is {state} and was asked to shut down")),
        ),
    }
}

fn observation(entry: &DomainEntry, found: &Found, pending_changes: Vec<String>) -> DomainObservation {
    let mut seen = DomainObservation {
        id: Some(entry.uuid.clone()),
        state: Some(power::shown(entry.state)),
        pending_changes,
        ..DomainObservation::default()
    };
    let Some(shown) = entry.live.as_ref().or(entry.inactive.as_ref()) else { return seen };
    seen.machine = shown.attr_at("os/type@machine").map(str::to_owned);
    seen.disks = shown.find_all("devices/disk").into_iter().filter_map(disk).collect();
    seen.network_interfaces = shown.find_all("devices/interface").into_iter().filter_map(interface).collect();
    seen.consoles = shown.find_all("devices/serial").into_iter().filter_map(console).collect();
    if let Some(live) = &entry.live {
        seen.graphics = live.find_all("devices/graphics").into_iter().filter_map(graphics).collect();
        seen.addresses = addresses(found, &seen.network_interfaces);
    }
    seen
}

fn own_name(device: &Element, prefix: &str) -> Option<String> {
    device.attr_at("alias@name")?.strip_prefix(prefix).map(str::to_owned)
}

fn disk(device: &Element) -> Option<DiskObservation> {
    let name = own_name(device, render::DISK).or_else(|| own_name(device, render::SEED));
    let path = device.attr_at("source@file").or_else(|| device.attr_at("source@dev")).map(str::to_owned);
    Some(DiskObservation { name, target: device.attr_at("target@dev")?.to_owned(), path })
}

fn interface(device: &Element) -> Option<InterfaceObservation> {
    let source = device.attr_at("source@network").or_else(|| device.attr_at("source@bridge")).map(str::to_owned);
    Some(InterfaceObservation {
        name: own_name(device, render::NIC),
        mac: device.attr_at("mac@address")?.to_owned(),
        source,
    })
}

fn console(device: &Element) -> Option<ConsoleObservation> {
    Some(ConsoleObservation {
        name: own_name(device, render::SERIAL)?,
        log: device.attr_at("log@file").map(str::to_owned),
    })
}

fn graphics(device: &Element) -> Option<GraphicsObservation> {
    let host = device.attr_at("listen@address").or_else(|| device.get("listen"))?.to_owned();
    let port = device.get("port")?.parse().ok().filter(|port| *port > 0)?;
    Some(GraphicsObservation { type_: device.get("type")?.to_owned(), host, port })
}

fn addresses(found: &Found, interfaces: &[InterfaceObservation]) -> Vec<Address> {
    let name = |mac: &str| interfaces.iter().find(|nic| nic.mac == mac).and_then(|nic| nic.name.clone());
    found
        .leases
        .iter()
        .map(|lease| Address {
            ip: lease.ip.clone(),
            mac: lease.mac.clone(),
            interface: name(&lease.mac),
            source: "Lease".to_owned(),
        })
        .collect()
}
