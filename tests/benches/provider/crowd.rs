//! A hundred hosts with ten domains each at rest: what they cost the provider.
//!
//! A hundred daemons would cost this machine three gigabytes, and more time than the provider does. There are ten, each the host of ten
//! configs: to the provider these are a hundred hosts, each with two connections, a thread, a mirror and polls of its own. Each mirror
//! holds the names of its nine neighbours' domains too, a hundred in place of ten, and is told their events.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::{Host, Namespace, Provider, eventually};

use crate::{
    memory::{Resident, number},
    plain,
    stage::{Driver, Stage, count_of, figure},
    upkeep::{TICKS, cpu},
};

/// How many hosts, unless `CROWD_HOSTS` says otherwise.
const HOSTS: u32 = 100;
/// How many of them share a daemon.
const SHARE: u32 = 10;
const DOMAINS: u32 = 10;
/// How long they rest: two polls of the default length.
const REST: Duration = Duration::from_mins(2);
const PATIENCE: Duration = Duration::from_mins(10);

/// Measures and prints.
pub(crate) fn measure(stage: &Stage) -> Result<()> {
    let hosts = count_of("CROWD_HOSTS", HOSTS)?;
    let daemons: Vec<(Host, plain::Host)> = (0..hosts.div_ceil(SHARE)).map(daemon).collect::<Result<_>>()?;
    let mut provider = Provider::start(&stage.plane.kubeconfig(), &["--no-leader-election"])?;
    provider.await_ready()?;
    std::thread::sleep(Duration::from_secs(10));
    let empty = Resident::of(&provider)?;
    for number in 0..hosts {
        let (host, _) = &daemons[(number / SHARE) as usize];
        stage.configure(&format!("crowd-{number}"), &uri(host), "")?;
    }
    let up = "provider_libvirt_host_up{host=\"ClusterProviderConfig crowd-";
    await_figure(&provider, up, hosts)?;
    std::thread::sleep(Duration::from_secs(10));
    let connected = Resident::of(&provider)?;

    let namespace = Namespace::create(&stage.plane.client())?;
    for number in 0..hosts {
        let name = format!("crowd-{number}");
        namespace.apply(&Driver::Test.domains_on(&name, &name, DOMAINS as usize))?;
    }
    let objects = hosts * DOMAINS;
    let ready = "crossplane_managed_resource_ready{gvk=\"libvirt.m.nourspeed.io/v1alpha1, Kind=Domain\"";
    await_figure(&provider, ready, objects)?;
    std::thread::sleep(Duration::from_secs(90));
    let ticks = cpu(&provider)?;
    std::thread::sleep(REST);
    let share = (cpu(&provider)? - ticks) / TICKS / REST.as_secs_f64() * 100.0;
    let full = Resident::of(&provider)?;
    println!(
        "{hosts} hosts with {DOMAINS} domains each at rest, test driver, {SHARE} hosts to a daemon, --poll of one minute"
    );
    let verdict = if share < 1.0 { "met" } else { "MISSED" };
    println!("  processor time of the provider                {share:>9.2} % of a core (goal, below 1 %: {verdict})");
    let threads = std::fs::read_dir(format!("/proc/{}/task", provider.pid())).context("read its threads")?.count();
    println!("  threads of the provider                       {threads:>9}");
    println!("  VmRSS, RssAnon, PSS without a host             {}", empty.mib());
    println!("  with all hosts                                 {}", connected.mib());
    println!("  with all domains                               {}", full.mib());
    println!("  each host                                      {}", connected.each(&empty, number(u64::from(hosts))));
    println!(
        "  each domain                                    {}\n",
        full.each(&connected, number(u64::from(objects)))
    );
    namespace
        .kubectl(&["delete", "domains", "--all", "--timeout=600s"])
        .with_context(|| format!("delete the domains; the provider's log:\n{}", provider.log()))?;
    for number in 0..hosts {
        let config = format!("crowd-{number}");
        stage.plane.kubectl(&["delete", "clusterproviderconfig", &config, "--wait=false"])?;
    }
    Ok(())
}

/// Waits until a figure of the provider has come so far.
fn await_figure(provider: &Provider, name: &str, wanted: u32) -> Result<()> {
    eventually(PATIENCE, || {
        let count = figure(provider, name)?;
        ensure!(count > f64::from(wanted) - 0.5, "{count} of {wanted}: {name}");
        Ok(())
    })
}

fn uri(host: &Host) -> String {
    format!("test+unix:///default?socket={}", host.socket().display())
}

fn daemon(number: u32) -> Result<(Host, plain::Host)> {
    let host = Host::start(&format!("crowd-{number}"))?;
    // The test driver forgets everything when nobody is connected.
    let keep = plain::Host::open(&uri(&host))?;
    Ok((host, keep))
}
