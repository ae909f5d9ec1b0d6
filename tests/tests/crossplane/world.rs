//! One Crossplane with two hosts, for the tests that leave both as they are.

use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use tests::{
    Host, Manners, PATIENCE, condition,
    crossplane::{Rig, example},
    guest_files, is_true,
};

/// The version that is installed.
pub(crate) const VERSION: &str = "v0.1.0";

/// What an application team may order.
const DEFINITIONS: [&str; 2] = ["virtualmachines.compute.example.org", "virtualnetworks.compute.example.org"];

/// Crossplane, the provider, the Compositions of the examples, and the hosts rack1 and rack2.
pub(crate) struct World {
    pub(crate) rig: Rig,
    /// Beside the rig's own, which is rack1.
    pub(crate) second: Host,
}

/// The one of this program; the calling thread is in its network afterwards.
pub(crate) fn world() -> Result<&'static World> {
    static WORLD: OnceLock<Result<World>> = OnceLock::new();
    let world = WORLD.get_or_init(World::start).as_ref().map_err(|error| anyhow!("start the world: {error:#}"))?;
    world.rig.enter()?;
    Ok(world)
}

impl World {
    fn start() -> Result<Self> {
        let second = Host::start("rack2")?;
        let mut rig = Rig::start_beside("rack1", &[("/run/rack2", &second)])?;
        rig.publish(VERSION)?;
        rig.apply_example("install/activation.yaml")?;
        for file in ["compositions/virtualmachine.yaml", "compositions/virtualnetwork.yaml"] {
            // Whatever the machine has, guests of tests are emulated.
            rig.plane().apply(
                &example(file)?.replace("disks: [{name: root,", "type: Qemu\n                  disks: [{name: root,"),
            )?;
        }
        rig.install(VERSION)?;
        rig.await_established(&DEFINITIONS)?;
        rig.start_controllers()?;
        // Images come from this machine.
        let spec = "\nspec:\n  uri:";
        let local = "\nspec:\n  policy: {imageHosts: [127.0.0.1]}\n  uri:";
        let mut hosts = example("compositions/hosts.yaml")?.replace(spec, local);
        hosts = hosts.replace("spec:\n  # The folder", "spec:\n  policy: {imageHosts: [127.0.0.1]}\n  # The folder");
        rig.eventually(PATIENCE, || rig.plane().apply(&hosts))?;
        let world = Self { rig, second };
        world.await_ready("platform", &["pool/guests-rack1", "pool/guests-rack2"])?;
        Ok(world)
    }

    /// Waits until these objects (`kind/name`) are Ready and Synced.
    pub(crate) fn await_ready(&self, namespace: &str, objects: &[&str]) -> Result<()> {
        self.rig.eventually(2 * PATIENCE, || {
            for object in objects {
                let found = self.rig.plane().client().get(&["--namespace", namespace, object])?;
                let found = found.with_context(|| format!("there is no {object}"))?;
                let well = is_true(&found, "Ready") && is_true(&found, "Synced");
                ensure!(well, "{object}: {:?} {:#}", condition(&found, "Ready"), found["status"]);
            }
            Ok(())
        })
    }

    /// What the two hosts have for what is ordered in a namespace.
    pub(crate) fn on_hosts(&self, namespace: &str) -> Result<[Vec<String>; 2]> {
        let begin = format!("{namespace}_");
        let of = |host: &Host| {
            let mut all = host.everything()?;
            all.retain(|object| object.rsplit([' ', '/']).next().is_some_and(|name| name.starts_with(&begin)));
            anyhow::Ok(all)
        };
        Ok([of(self.rig.stage().host())?, of(&self.second)?])
    }

    /// The example of an application team in a namespace of a test's, with an image that is served here.
    pub(crate) fn shop(&self, namespace: &str) -> Result<String> {
        let image = self.rig.stage().image(&guest_files()?.disk, Manners::Good)?;
        let text = example("compositions/shop.yaml")?;
        let text = text.replace("https://images.example.org/debian-12-genericcloud-amd64.qcow2", &image.url);
        let zeros = format!("sha256:{}", "0".repeat(64));
        Ok(text
            .replace(&zeros, &image.checksum)
            .replace("namespace: shop", &format!("namespace: {namespace}"))
            .replace("  name: shop\n", &format!("  name: {namespace}\n")))
    }
}
