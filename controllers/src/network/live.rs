//! What changes on a running network: no guest notices.

use anyhow::Context;
use libvirt::{
    Affect, Section, UpdateCommand,
    diff::{Difference, diff},
    is_lender,
    overlay::overlay,
    rule::{Live, Route, Rules},
    wish::Wishes,
    xml::Element,
};

use super::{fields, observed};

/// Changes what libvirt can change of a running network, entry by entry.
///
/// A changed entry is taken away and added anew: libvirt 9.0 looks for the one to modify by any of MAC, address and name, and changes
/// another one when two guests exchange their addresses. What goes, goes first, because what comes may have its address.
pub(super) fn change(network: &libvirt::Network<'_>, wishes: &Wishes, rules: &Rules) -> anyhow::Result<()> {
    let live = Element::parse(&network.describe(false)?).context("read the network's description")?;
    let live = &*observed::prefixed(&live);
    let wished = overlay(wishes, live, rules);
    let items = items(&diff(wishes, live, rules), live);
    let commands = [(UpdateCommand::Delete, live), (UpdateCommand::Add, &wished)];
    for (command, of) in commands {
        for (item, section) in &items {
            let Some(element) = wishes.locate(item, of, rules) else { continue };
            let text = entry(*section, command, element).write().context("write an entry of the network")?;
            network
                .update((command, *section), parent_index(live, item), &text, Affect::Live)
                .with_context(|| format!("change {item} of the running network"))?;
        }
    }
    Ok(())
}

/// The entries that differ and can be changed, each once.
fn items(differences: &[Difference], live: &Element) -> Vec<(String, Section)> {
    let mut items: Vec<(String, Section)> = Vec::new();
    for difference in differences.iter().filter(|difference| is_live(difference, live)) {
        let end = difference.path.rfind(']').map_or(difference.path.len(), |end| end + 1);
        let item = &difference.path[..end];
        if let Some(section) = section(item).filter(|_| items.iter().all(|(known, _)| known != item)) {
            items.push((item.to_owned(), section));
        }
    }
    items
}

/// What libvirt needs to know of an entry. Of a DNS host that is to go it knows the address only: by a name that others have, too, it
/// would find several.
fn entry(section: Section, command: UpdateCommand, element: &Element) -> Element {
    let mut entry = element.clone();
    if (section, command) == (Section::DnsHost, UpdateCommand::Delete) {
        entry.retain(|_| false);
    }
    entry
}

fn section(item: &str) -> Option<Section> {
    let sections = [
        ("/dhcp/range[", Section::DhcpRange),
        ("/dhcp/host[", Section::DhcpHost),
        ("dns/host[", Section::DnsHost),
        ("dns/srv[", Section::DnsSrv),
        ("dns/txt[", Section::DnsTxt),
        ("portgroup[", Section::PortGroup),
    ];
    sections.into_iter().find(|(within, _)| item.contains(within)).map(|(_, section)| section)
}

/// Whether a difference of the running network can be made true while it runs. Where no DNS server runs, its names wait with it, and where
/// guests have what libvirt must not give to a second one, everything does: with any update libvirt (9.0) forgets who has what.
fn is_live(difference: &Difference, live: &Element) -> bool {
    let has_server = live.attr_at("dns@enable") != Some("no");
    let can = difference.route == Route::Live(Live::Network) && (has_server || !difference.path.starts_with("dns/"));
    can && !has_lent(live)
}

/// Whether guests have interfaces or functions of cards of the network for themselves alone.
fn has_lent(live: &Element) -> bool {
    let entries = || live.find("forward").into_iter().flat_map(Element::elements);
    is_lender(live) && entries().any(|entry| entry.get("connections").is_some_and(|guests| guests != "0"))
}

/// Which of the network's addresses a path like `ip[192.168.0.1,ipv4]/dhcp/…` lies in; -1 leaves the search to libvirt.
fn parent_index(live: &Element, item: &str) -> i32 {
    let address = item.strip_prefix("ip[").and_then(|rest| rest.split([',', ']']).next());
    let at = live.named("ip").position(|ip| ip.get("address") == address);
    at.and_then(|at| i32::try_from(at).ok()).unwrap_or(-1)
}

/// The differences of the definition, and those of the running network that an earlier pass did not get done.
pub(super) fn and_running(
    mut differences: Vec<Difference>,
    live: Option<&Element>,
    wishes: impl FnOnce() -> anyhow::Result<Wishes>,
    rules: &Rules,
) -> anyhow::Result<Vec<Difference>> {
    if let (Some(live), true) = (live, differences.is_empty()) {
        let live = &*observed::prefixed(live);
        differences = diff(&wishes()?, live, rules);
        differences.retain(|difference| is_live(difference, live));
    }
    Ok(differences)
}

/// The differences that only a start makes true.
pub(super) fn waiting(wishes: &Wishes, live: &Element, rules: &Rules) -> Vec<Difference> {
    let live = &*observed::prefixed(live);
    // A prefix that is declared says nothing by itself.
    let says = |difference: &Difference| difference.is_applied() && !difference.path.starts_with("@xmlns:");
    let waits = |difference: &Difference| says(difference) && !is_live(difference, live);
    diff(wishes, live, rules).into_iter().filter(waits).collect()
}

/// Where they are, by the fields of the spec.
pub(super) fn fields(differences: &[Difference]) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for field in differences.iter().map(|difference| fields::field(&difference.path)) {
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    fields
}
