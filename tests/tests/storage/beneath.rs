//! Images of the host that refer to other files: whoever could write to one could have the host open any file.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use serde_json::json;
use tests::run;

use super::{STAGE, allow, await_refused, guest_on};

fn image(path: &str, options: &[&str]) -> Result<()> {
    run("qemu-img", &[&["create", "-q", "-f", "qcow2"], options, &[path, "1M"]].concat()).map(drop)
}

#[test]
fn an_image_gives_a_guest_no_file_that_is_no_volume_of_the_host() -> Result<()> {
    let scenario = STAGE.scenario("beneath")?;
    let host = scenario.host();
    let (pool, secret) = (host.their_pool("beneath")?, host.path("secret").display().to_string());
    fs::write(&secret, vec![b's'; 1 << 20])?;
    let there = |name: &str| Path::new(&pool).join(name).display().to_string();
    image(&there("base"), &[])?;
    image(&there("good"), &["-b", "base", "-F", "qcow2"])?;
    image(&there("outside"), &["-b", &secret, "-F", "raw"])?;
    image(&there("far"), &["-b", "outside", "-F", "qcow2"])?;
    image(&there("data"), &["-o", &format!("data_file={secret},data_file_raw=on")])?;
    // A circle: each of two images stands on the other.
    image(&there("round"), &[])?;
    image(&there("back"), &["-b", "round", "-F", "qcow2"])?;
    run("qemu-img", &["rebase", "-q", "-u", "-b", "back", "-F", "qcow2", &there("round")])?;
    host.virsh(&["pool-refresh", "beneath"])?;
    allow(&scenario, &json!({}))?;
    let guest = |name: &str, volume: &str, format: &str| {
        let disks = format!("disks: [{{name: data, volume: {{pool: beneath, name: {volume}, format: {format}}}}}]");
        guest_on(&scenario, name, &disks)
    };
    let outside = format!("stands on {secret}, which is no volume of an active pool of the host");
    let refused = [
        ("outside", format!("disks[data].volume: {} {outside}", there("outside"))),
        ("far", format!("disks[data].volume: {} {outside}", there("far"))),
        ("data", format!("disks[data].volume: {} keeps its data in another file", there("data"))),
        ("round", format!("disks[data].volume: {} stands on more than 32 files", there("round"))),
    ];
    let guests = refused.each_ref().map(|(name, _)| guest(name, name, "Qcow2")).concat();
    scenario.apply(&(guests + &guest("good", "good", "Qcow2")))?;
    scenario.await_ready(&["domain/good"])?;
    for (name, why) in &refused {
        await_refused(&scenario, name, why)?;
    }
    let list = host.virsh(&["list", "--all", "--name"])?;
    ensure!(refused.iter().all(|(name, _)| !list.lines().any(|line| line.trim() == *name)), "{list}");
    // What a guest wrote as raw bytes becomes nobody's image, not even its own.
    for (name, _) in &refused {
        scenario.delete(&[&format!("domain/{name}")])?;
    }
    scenario.apply(&guest("writer", "data", "Raw"))?;
    scenario.await_ready(&["domain/writer"])?;
    scenario.apply(&guest("writer", "data", "Qcow2"))?;
    await_refused(&scenario, "writer", "refused: DiskSourceChanged")?;
    scenario.delete(&["domain/writer"])?;
    scenario.apply(&guest("reader", "data", "Qcow2"))?;
    await_refused(&scenario, "reader", &refused[2].1)
}
