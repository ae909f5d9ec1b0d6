//! What is done to a network on its host: each in one section, in which it is looked at anew.

use anyhow::{Context, anyhow};
use apis::{Managed, Network};
use libvirt::{
    Connection, Listing,
    diff::{Difference, diff},
    overlay::overlay,
    rule::Rules,
    wish::Wishes,
    xml::Element,
};
use managed::external::{Deletion, Refusal};

use super::{
    checks, count, live, observed, render,
    reserved::Reservation,
    restart::{self, Anew},
};
use crate::applied;

pub(super) fn wishes(object: &Network, reserved: &[Reservation], create: bool) -> anyhow::Result<Wishes> {
    render::whole(object, reserved, create, &applied::paths(object))
}

/// A Network, and what it keeps for the interfaces of Domains.
pub(super) struct Wished {
    pub(super) object: Network,
    pub(super) reserved: Vec<Reservation>,
    /// Whether it may be started anew: nobody is plugged into it meanwhile.
    pub(super) may_restart: bool,
}

impl Wished {
    fn wishes(&self) -> anyhow::Result<Wishes> {
        wishes(&self.object, &self.reserved, false)
    }
}

/// Looks at the network anew and does what is needed: define, change live, set autostart, start. Answers whether one that ran was started
/// anew, and how that came out.
pub(super) fn make_true(
    host: &Connection,
    wished: &Wished,
    uuid: &str,
    rules: &Rules,
    create: bool,
) -> anyhow::Result<Anew> {
    let is_new = host.find_network(uuid)?.is_none();
    if is_new {
        define_new(host, wished, uuid, rules)?;
    }
    let network = host.find_network(uuid)?.ok_or_else(|| anyhow!("the network went away meanwhile"))?;
    let done = bring_about(host, &network, wished, rules, create);
    if done.is_err() && is_new && !network.is_active()? {
        // What cannot start leaves nothing behind.
        network.undefine().context("undefine a network that does not start")?;
    }
    done
}

fn define_new(
    host: &Connection,
    Wished { object, reserved, may_restart: _ }: &Wished,
    uuid: &str,
    rules: &Rules,
) -> anyhow::Result<()> {
    let name = object.external_name();
    anyhow::ensure!(
        host.find_network_by_name(name)?.is_none(),
        "network {name:?} is on the host already and is not ours"
    );
    let mut wishes = wishes(&object.merged(), reserved, true)?;
    wishes.set("uuid", uuid);
    let description = wishes.create(rules);
    is_apart(host, uuid, &description)?;
    define(host, &description)
}

fn define(host: &Connection, description: &Element) -> anyhow::Result<()> {
    host.define_network(&description.write().context("write the description")?).context("define network").map(drop)
}

/// Fails where another network of the host has the bridge or addresses of this description.
fn is_apart(host: &Connection, uuid: &str, description: &Element) -> anyhow::Result<()> {
    for other in host.list_networks(Listing::All)? {
        // One that neither runs nor will by itself is in nobody's way.
        if other.uuid()? != uuid && (other.is_active()? || other.autostart().unwrap_or(false)) {
            let other = other.describe(false).context("read the description of another network")?;
            checks::apart(description, &Element::parse(&other).context("read the description of another network")?)?;
        }
    }
    Ok(())
}

fn bring_about(
    host: &Connection,
    network: &libvirt::Network<'_>,
    wished: &Wished,
    rules: &Rules,
    create: bool,
) -> anyhow::Result<Anew> {
    let object = &wished.object;
    let base = Element::parse(&network.describe(true)?).context("read the network's description")?;
    let (base, wishes) = (observed::prefixed(&base), wished.wishes()?);
    // What runs without a definition would be gone with its next stop.
    let differences = diff(&wishes, &base, rules);
    if !network.is_persistent()? || differences.iter().any(Difference::is_applied) {
        let wished = overlay(&wishes, &base, rules);
        // What others have made of it meanwhile must not keep a network from changes of other fields.
        if differences.iter().any(|difference| checks::is_place(&difference.path)) {
            is_apart(host, &network.uuid()?, &wished)?;
        }
        define(host, &wished)?;
    }
    let autostart = if create { object.merged().parameters().autostart } else { object.parameters().autostart };
    if let Some(autostart) =
        autostart.filter(|autostart| network.autostart().is_ok_and(|present| present != *autostart))
    {
        network.set_autostart(autostart).context("set autostart of network")?;
    }
    if !network.is_active()? {
        return start(network).map(|()| Anew::None);
    }
    live::change(network, &wishes, rules)?;
    if wished.may_restart { restart::anew(host, network, &wishes, rules) } else { Ok(Anew::None) }
}

pub(super) fn start(network: &libvirt::Network<'_>) -> anyhow::Result<()> {
    network.create().map_err(|error| {
        // libvirt's words name an interface only, which may be of another network, of the host, or left by a network that is gone.
        let said = error.to_string();
        let cure = if said.contains("is already in use by interface") {
            "the host has its addresses already: set others in spec.forProvider.ips, or remove that interface if nothing uses it"
        } else if said.contains("error creating bridge interface") && said.contains("File exists") {
            "the host has an interface of that name already: set another one in spec.forProvider.bridge, or remove that interface if nothing uses it"
        } else {
            return anyhow::Error::from(error).context("start network");
        };
        anyhow::Error::from(error).context(cure).context("start network")
    })
}

pub(super) fn remove(host: &Connection, uuid: &str) -> anyhow::Result<Deletion> {
    let Some(network) = host.find_network(uuid)? else { return Ok(Deletion::Absent) };
    let guests = restart::guests_on(host, &network)?;
    if let Some(guest) = guests.first() {
        let message = format!(
            "the network is used by {} running on the host, {guest} first; it is not deleted before they are off it",
            count(guests.len(), "domain")
        );
        return Ok(Deletion::Refused(Refusal { reason: "InUse", message }));
    }
    if network.is_active()? {
        network.destroy().context("stop network")?;
    }
    if network.is_persistent()? {
        network.undefine().context("undefine network")?;
    }
    Ok(Deletion::Requested)
}
