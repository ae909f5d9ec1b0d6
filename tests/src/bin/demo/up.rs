//! `demo up`.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tests::{Kubectl, eventually, real_kvm};

use crate::{State, host, objects, stage};

const READY: Duration = Duration::from_mins(5);
const BOOT: Duration = Duration::from_mins(2);

/// Brings the demo up, or checks that it is, and prints what it shows.
pub(crate) fn up(state: &State) -> Result<()> {
    let emulate = !real_kvm();
    state.say(if emulate {
        "guests are emulated: this machine has no KVM of Intel or AMD. Write type: Qemu in Domains of your own here"
    } else {
        "guests run on KVM"
    });
    let (kubectl, image) = stage::start(state)?;
    objects::render(state, &kubectl, &image, emulate)?;
    host::note_before(state)?;
    let file = state.path("objects.json").display().to_string();
    kubectl.run(&["apply", "--server-side", "--force-conflicts", "-f", &file])?;
    state.say("examples/quickstart applied; waiting until all of it is Ready");
    let ready = objects::await_ready(state, &kubectl, READY)?;
    host::Traces::note(state, &ready)?;
    state.say("all Ready; waiting for the guest to say what it did");
    let domain =
        ready.iter().find(|object| objects::text(object, "/kind") == "Domain").context("find the example's Domain")?;
    let address = await_address(state, &kubectl, &objects::title(domain))?;
    let proof = await_proof(domain, &ready)?;
    report(state, &kubectl, domain, &address, &proof)
}

fn await_address(state: &State, kubectl: &Kubectl, domain: &str) -> Result<String> {
    eventually(BOOT, || {
        let all = objects::read(state, kubectl)?;
        let found = all.iter().find(|object| objects::title(object) == domain);
        match found.map(|object| objects::text(object, "/status/atProvider/addresses/0/ip")).unwrap_or_default() {
            "" => bail!("{domain} has no address in its status"),
            address => Ok(address.to_owned()),
        }
    })
}

/// The guest's own lines about its host name and its user-data.
fn await_proof(domain: &Value, all: &[Value]) -> Result<Vec<String>> {
    let console = host::console(domain).context("find the Domain's console log in its status")?;
    console.wait_for_line("hostname ", BOOT)?;
    let inline = |object| objects::text(object, "/spec/forProvider/userData/inline");
    let user_data = all.iter().map(inline).find(|text| !text.is_empty()).context("find the example's user-data")?;
    console.wait_for_line("seed-end user-data", BOOT)?;
    let read = console.seed_file("user-data").unwrap_or_default();
    if read.trim_end() != user_data.trim_end() {
        bail!("the guest read other user-data than the example's:\n{read}");
    }
    if user_data.starts_with("#!") {
        let end = console.wait_for_line("userdata-end ", BOOT)?;
        if end != "userdata-end 0" {
            bail!("the guest's user-data failed: {end}");
        }
    }
    let wanted = ["hostname ", "dhcp ", "userdata-", "> "];
    let lines = console.lines();
    Ok(lines.into_iter().filter(|line| wanted.iter().any(|start| line.starts_with(start))).collect())
}

fn report(state: &State, kubectl: &Kubectl, domain: &Value, address: &str, proof: &[String]) -> Result<()> {
    println!("\n$ kubectl get managed\n{}", kubectl.run(&["get", "managed", "--all-namespaces"])?);
    println!("The guest's address, by its Domain's status: {address}");
    println!("What the guest wrote on its console:");
    for line in proof {
        println!("  {line}");
    }
    let name = match objects::text(domain, "/metadata/annotations/crossplane.io~1external-name") {
        "" => objects::text(domain, "/metadata/name"),
        name => name,
    };
    let objects = objects::read(state, kubectl)?;
    println!("\nLook further (make demo-down takes it all away):");
    println!("  export KUBECONFIG={}; {} get managed -A", kubectl.kubeconfig().display(), kubectl.program().display());
    println!("  virsh -c {} console {name}    # Enter for a shell, Ctrl-] to leave", host::uri(&objects));
    Ok(())
}
