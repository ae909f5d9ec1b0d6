//! Networks and pools, on descriptions that libvirt wrote.

use libvirt::diff::diff;
use libvirt::wish::{Part, Wishes};

use crate::golden::{check, description};
use crate::table;

fn network() -> Wishes {
    let mut wishes = Wishes::new("network");
    wishes.set("name", "engine-net");
    wishes.set("forward@mode", "nat");
    let host = Part::new().with("@ip", "192.168.150.5").with("@name", "one");
    let mut ip = Part::new().with("@netmask", "255.255.255.0");
    ip.item("dhcp/range", "192.168.150.10,192.168.150.20", Part::new());
    ip.item("dhcp/host", "52:54:00:00:00:01", host);
    wishes.item("ip", "192.168.150.1,ipv4", ip);
    wishes.item("ip", "fd00:0::0:1,ipv6", Part::new().with("@prefix", "64"));
    wishes.item("dns/txt", "a", Part::new().with("@value", "b"));
    wishes
}

#[test]
fn a_network_as_wished_has_no_difference_whatever_the_spelling_of_its_addresses() {
    assert_eq!(diff(&network(), &description("network"), &table::network()), []);
}

#[test]
fn a_network_gains_and_loses_hosts_ranges_and_records() {
    let mut wishes = network();
    let two = Part::new().with("@ip", "192.168.150.6");
    let mut ip = Part::new();
    ip.item("dhcp/host", "52:54:00:00:00:02", two);
    ip.own_all("dhcp/host");
    wishes.item("ip", "192.168.150.1,ipv4", ip);
    let mut host = Part::new();
    host.item("hostname", "two", Part::new());
    host.item("hostname", "deux", Part::new());
    wishes.item("dns/host", "192.168.150.2", host);
    wishes.forget(&[
        "ip[192.168.150.1,ipv4]/dhcp/range[192.168.150.10,192.168.150.20]".to_owned(),
        "dns/txt[gone]".to_owned(),
    ]);
    check("network", &wishes, &description("network"), &table::network());
}

#[test]
fn a_pool_is_compared_by_meaning_and_its_path_is_immutable() {
    let mut wishes = Wishes::new("pool");
    wishes.set("target/path", "/var/lib/libvirt/images//p2/");
    wishes.set("target/permissions/mode", "711");
    wishes.set("target/permissions/owner", "0");
    assert_eq!(diff(&wishes, &description("pool"), &table::pool()), []);
    wishes.set("target/path", "/elsewhere");
    wishes.set("target/permissions/mode", "0755");
    check("pool", &wishes, &description("pool"), &table::pool());
}
