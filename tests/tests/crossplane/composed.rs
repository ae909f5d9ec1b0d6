//! Composite resources become guests, and go again.

use anyhow::{Context as _, Result, bail, ensure};
use data_encoding::BASE64;
use serde_json::Value;
use tests::{Console, Host, PATIENCE, condition, crossplane::composed};

use crate::world::{World, world};

fn composite(world: &World, namespace: &str, object: &str) -> Result<Value> {
    let found = world.rig.plane().client().get(&["--namespace", namespace, object])?;
    found.with_context(|| format!("there is no {object}"))
}

/// What a guest's own user-data said.
fn await_proof(host: &Host, guest: &str, hostname: &str) -> Result<()> {
    let console = Console::new(host.path(&format!("log/qemu/{guest}.serial.console")));
    let proof = format!("> user-data of a composed guest was run on {hostname}");
    console.wait_for_line(&proof, 3 * PATIENCE).map(drop)
}

#[test]
fn composite_resources_become_guests_on_the_hosts_they_name_and_go_without_a_trace() -> Result<()> {
    let world = world()?;
    let plane = world.rig.plane();
    // Another team has a network and a guest of the same names on the same host; only its subnet is its own.
    let store = one_host(&world.shop("store")?.replace("192.168.30", "192.168.50"))?.join("---\n");
    for order in [&world.shop("shop")?, &store] {
        // The Pod would need a node; the API server takes it all the same.
        world.rig.eventually(PATIENCE, || plane.apply(order))?;
    }
    let ordered = ["virtualnetwork/front", "virtualnetwork/back", "virtualmachine/web", "virtualmachine/db"];
    world.await_ready("shop", &ordered)?;
    await_proof(world.rig.stage().host(), "shop_web_rack1", "web")?;
    await_proof(&world.second, "shop_db_rack2", "db")?;
    world.await_ready("store", &["virtualnetwork/front", "virtualmachine/web"])?;
    for namespace in ["shop", "store"] {
        let [first, _] = world.on_hosts(namespace)?;
        for object in ["domain NS_web_rack1", "network NS_front_rack1", "volume guests-rack1/NS_web_rack1"] {
            let object = object.replace("NS", namespace);
            ensure!(first.contains(&object), "{object} is not among {first:#?}");
        }
    }

    let web = composite(world, "shop", "virtualmachine/web")?;
    assert_eq!(composed(&web), ["cloudinit/web-rack1", "domain/web-rack1", "volume/web-rack1"]);
    for (name, host) in [("web", "rack1"), ("db", "rack2")] {
        for kind in ["cloudinit", "domain", "volume"] {
            let object = composite(world, "shop", &format!("{kind}/{name}-{host}"))?;
            assert_eq!(object["spec"]["providerConfigRef"]["name"], host, "{kind}");
            assert_eq!(object["metadata"]["labels"]["libvirt.nourspeed.io/instance"], host, "{kind}");
        }
    }
    check_connection(world)?;

    give_back(world, &["shop", "store"])?;
    for namespace in ["shop", "store"] {
        assert_eq!(world.on_hosts(namespace)?, [Vec::<String>::new(), Vec::new()]);
    }
    Ok(())
}

/// The namespace, a network and a guest on its first host, out of the example's documents.
fn one_host(shop: &str) -> Result<[&str; 3]> {
    let documents: Vec<&str> = shop.split("---\n").collect();
    let [space, network, _, guest, ..] = documents.as_slice() else { bail!("read the example") };
    Ok([space, network, guest])
}

/// Deletes what teams have ordered, and waits until it is gone.
fn give_back(world: &World, namespaces: &[&str]) -> Result<()> {
    let plane = world.rig.plane();
    for namespace in namespaces {
        let ordered = ["delete", "virtualmachine,virtualnetwork", "--all", "--wait=false", "--namespace", namespace];
        plane.kubectl(&ordered)?;
    }
    world.rig.eventually(2 * PATIENCE, || {
        for namespace in namespaces {
            let kinds = "virtualmachine,virtualnetwork,managed,secrets";
            let left = plane.kubectl(&["--namespace", namespace, "get", kinds, "-o", "name"])?;
            ensure!(left.is_empty(), "left: {left}");
        }
        Ok(())
    })
}

/// What the composite resource and the Secret tell of the guest.
fn check_connection(world: &World) -> Result<()> {
    let address = world.rig.eventually(PATIENCE, || {
        let web = composite(world, "shop", "virtualmachine/web")?;
        let text = |field: &str| web["status"][field].as_str().map(ToOwned::to_owned);
        ensure!(text("state").as_deref() == Some("Running"), "{:#}", web["status"]);
        ensure!(text("domain").as_deref() == Some("web-rack1"), "{:#}", web["status"]);
        text("address").with_context(|| format!("{:#}", web["status"]))
    })?;
    assert!(address.starts_with("192.168.30."), "{address}");
    world.rig.eventually(PATIENCE, || {
        let secret = composite(world, "shop", "secret/web-connection")?;
        let value = secret["data"]["addresses"].as_str().context("the Secret has no addresses yet")?;
        let value = String::from_utf8(BASE64.decode(value.as_bytes())?)?;
        ensure!(value == address, "{value} is not {address}");
        Ok(())
    })
}

/// An object's line in the tree that `crossplane beta trace` shows: name, Synced, Ready, and the reason and message of the one that is not.
/// What was never made is not said to be ready or not.
fn line(object: &Value) -> Result<String> {
    let synced = condition(object, "Synced")?;
    let ready = condition(object, "Ready").unwrap_or(("-", "", ""));
    let (_, reason, message) = if synced.0 == "True" { ready } else { synced };
    let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
    let name = format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]));
    Ok(format!("{name} {} {} {reason} {message}", synced.0, ready.0).trim_end().to_owned())
}

/// A composite resource and what it is composed of.
fn tree(world: &World, namespace: &str, object: &str) -> Result<Vec<String>> {
    let root = composite(world, namespace, object)?;
    let below = composed(&root).into_iter().map(|object| line(&composite(world, namespace, &object)?));
    std::iter::once(line(&root)).chain(below).collect()
}

#[test]
fn the_tree_of_a_composite_resource_says_what_is_lacking_and_where() -> Result<()> {
    let world = world()?;
    let plane = world.rig.plane();
    let shop = world.shop("tree")?.replace("192.168.30", "192.168.40");
    let [space, network, guest] = one_host(&shop)?;
    world.rig.eventually(PATIENCE, || plane.apply(&format!("{space}---\n{guest}")))?;
    let lacking = "Domain/web-rack1 False - ReconcileError cannot resolve references: cannot get referenced resource: \
                   waiting for Network front-rack1: there is none in namespace tree";
    let await_lines = |wished: &[&str]| {
        world.rig.eventually(2 * PATIENCE, || {
            let found = tree(world, "tree", "virtualmachine/web")?;
            ensure!(found == wished, "{found:#?}");
            Ok(())
        })
    };
    await_lines(&[
        "VirtualMachine/web True False Creating Unready resources: guest",
        "CloudInit/web-rack1 True True Available",
        lacking,
        "Volume/web-rack1 True True Available",
    ])?;
    plane.apply(network)?;
    await_lines(&[
        "VirtualMachine/web True True Available",
        "CloudInit/web-rack1 True True Available",
        "Domain/web-rack1 True True Available",
        "Volume/web-rack1 True True Available",
    ])?;
    give_back(world, &["tree"])
}
