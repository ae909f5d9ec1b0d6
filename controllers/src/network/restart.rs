//! Starting a network anew for what only a start makes true: never under a running guest.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::Context;
use apis::{Managed, Network, network::NetworkRestartPolicy};
use libvirt::{Connection, Error, rule::Rules, wish::Wishes, xml::Element};

use super::{act::start, count, live};

/// What waits for a start that the policy lets be, and who is in its way.
#[derive(Debug, Default)]
pub(super) struct Restart {
    pub(super) paths: Vec<String>,
    pub(super) guests: Vec<String>,
}

impl Restart {
    /// Who is in the way, in words.
    pub(super) fn obstacle(&self) -> Option<String> {
        let first = self.guests.first()?;
        Some(format!(
            "once it is used by no running guest; now by {}, {first} first",
            count(self.guests.len(), "domain")
        ))
    }
}

/// What starts have not helped, by UID: another one would not either.
#[derive(Debug, Default)]
pub(super) struct Vain(Mutex<HashMap<String, Vec<String>>>);

impl Vain {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a start has left just this.
    pub(super) fn is(&self, uid: &str, paths: &[String]) -> bool {
        self.all().get(uid).is_some_and(|left| left == paths)
    }

    /// What a start has left.
    pub(super) fn note(&self, uid: &str, left: Vec<String>) {
        self.all().insert(uid.to_owned(), left);
    }

    /// The object is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.all().remove(uid);
    }
}

/// Whether a network is started anew for changes.
pub(super) fn is_allowed(object: &Network) -> bool {
    object.parameters().restart_policy == Some(NetworkRestartPolicy::WhenUnused)
}

/// The running guests that are on a network: by its name, or by the bridge that libvirt makes for it and takes away with it.
pub(super) fn guests_on(host: &Connection, network: &libvirt::Network<'_>) -> Result<Vec<String>, Error> {
    let name = network.name()?;
    let live = Element::parse(&network.describe(false)?)
        .map_err(|error| Error::other(format!("cannot read a network's description from the host: {error}")))?;
    let is_own = [None, Some("nat"), Some("route"), Some("open")].contains(&live.attr_at("forward@mode"));
    let bridge = live.attr_at("bridge@name").filter(|_| is_own);
    let is_on = |nic: &&Element| {
        nic.attr_at("source@network") == Some(name.as_str())
            || bridge.is_some_and(|bridge| nic.attr_at("source@bridge") == Some(bridge))
    };
    let running = host.running()?;
    let uses = |live: &Element| live.find_all("devices/interface").iter().any(is_on);
    running.iter().filter(|running| uses(&running.live)).map(|running| running.domain.name()).collect()
}

/// Starts a network anew where something waits for that and no guest is on it. Answers whether it did.
pub(super) fn anew(
    host: &Connection,
    network: &libvirt::Network<'_>,
    wishes: &Wishes,
    rules: &Rules,
) -> anyhow::Result<bool> {
    let live = Element::parse(&network.describe(false)?).context("read the network's description")?;
    if live::waiting(wishes, &live, rules).is_empty() || !guests_on(host, network)?.is_empty() {
        return Ok(false);
    }
    network.destroy().context("stop network, to start it anew")?;
    start(network)?;
    Ok(true)
}
