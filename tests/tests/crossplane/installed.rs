//! What Crossplane makes of the package: kinds, webhook, role.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{
    PATIENCE,
    crossplane::SYSTEM,
    granted::{MANAGED, RESOURCES, granted, rights},
    manifest_on,
};

use crate::world::{VERSION, World, world};

fn object(world: &World, args: &[&str]) -> Result<Value> {
    world.rig.plane().client().get(args)?.with_context(|| format!("there is no {args:?}"))
}

#[test]
fn the_package_is_installed_and_healthy_with_every_kind_of_the_tree() -> Result<()> {
    let world = world()?;
    world.rig.await_healthy(VERSION)?;
    assert_eq!(world.rig.kinds()?, RESOURCES);
    let definitions = object(world, &["managedresourcedefinitions"])?;
    let definitions = definitions["items"].as_array().context("list definitions")?;
    assert_eq!(definitions.len(), MANAGED.len());
    for definition in definitions {
        assert_eq!(definition["spec"]["state"], "Active", "{}", definition["metadata"]["name"]);
    }
    // The process is what Crossplane and the runtime config say: its user and groups, and no way to more.
    let field = |name: &str| world.rig.provider_status(name);
    assert_eq!((field("Uid")?, field("Gid")?), (vec!["2000".to_owned(); 4], vec!["2000".to_owned(); 4]));
    assert_eq!((field("Groups")?, field("NoNewPrivs")?), (vec!["994".to_owned()], vec!["1".to_owned()]));
    Ok(())
}

#[test]
fn the_webhook_is_reached_by_the_service_and_the_certificate_of_crossplane() -> Result<()> {
    let world = world()?;
    let config = object(world, &["validatingwebhookconfiguration", "crossplane-provider-provider-libvirt"])?;
    let secret = object(world, &["--namespace", SYSTEM, "secret", "provider-libvirt-tls-server"])?;
    let webhooks = config["webhooks"].as_array().context("list webhooks")?;
    assert_eq!(webhooks.len(), MANAGED.len());
    for webhook in webhooks {
        let client = &webhook["clientConfig"];
        assert_eq!(client["caBundle"], secret["data"]["tls.crt"]);
        assert_eq!(
            (&client["service"]["name"], &client["service"]["namespace"]),
            (&"provider-libvirt".into(), &SYSTEM.into())
        );
    }
    let volume = manifest_on(
        Some("rack2"),
        "Volume",
        "apart",
        "poolRef: {namespace: platform, name: guests-rack1}, capacity: 1Mi",
    );
    let args = ["apply", "--server-side", "--dry-run=server", "-f", "-"];
    let wished = "Error from server (Forbidden): admission webhook \"volumes.libvirt.m.nourspeed.io\" denied the request: \
                  pool guests-rack1 uses providerConfig rack1, but volume uses providerConfig rack2. \
                  Resources must use the same libvirt instance";
    world.rig.eventually(PATIENCE, || {
        let said = match world.rig.plane().client().run_with_input(&args, &volume) {
            Ok(admitted) => admitted,
            Err(error) => format!("{error:#}"),
        };
        ensure!(said.contains(wished), "{said}");
        Ok(())
    })
}

#[test]
fn the_role_that_crossplane_makes_is_the_one_that_the_rights_are_tested_with() -> Result<()> {
    let world = world()?;
    let roles = object(world, &["clusterroles", "-l", "rbac.crossplane.io/system"])?;
    let mut systems = roles["items"].as_array().context("list roles")?.iter().filter(|role| {
        let name = role["metadata"]["name"].as_str().unwrap_or_default();
        name.starts_with("crossplane:provider:provider-libvirt-") && name.ends_with(":system")
    });
    let role = systems.next().context("find the role")?;
    assert!(systems.next().is_none(), "there is one revision");
    assert_eq!(rights(&role["rules"]), granted());
    // It is bound to the account of the Deployment and to nothing else, and nothing else is.
    let name = role["metadata"]["name"].as_str().context("read the role's name")?;
    let bindings = object(world, &["clusterrolebindings"])?;
    let account = serde_json::json!([{"kind": "ServiceAccount", "namespace": SYSTEM, "name": "provider-libvirt"}]);
    let bound: Vec<_> = bindings["items"]
        .as_array()
        .context("list bindings")?
        .iter()
        .filter(|binding| binding["subjects"] == account)
        .map(|binding| &binding["roleRef"]["name"])
        .collect();
    assert_eq!(bound, [name]);
    Ok(())
}
