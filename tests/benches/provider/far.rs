//! A host at the end of a line of 20 ms there and back: how soon an event is answered, and how many domains are made in a second beside a
//! program that dials for each of them. Its domains are libvirt's test driver's; the provider comes by TCP with SASL,
//! and that program by TLS, because the bindings that it is written with cannot say a password.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use tests::{Far, Namespace, Provider};
use virt::domain::Domain;

use crate::{
    plain,
    ready::{Column, Watch},
    stage::{Driver, Stage, count_of},
    summary::{Summary, head, line, millis},
};

const ROUND_TRIP: Duration = Duration::from_millis(20);
/// How many domains are made, unless `LINK_DOMAINS` says otherwise.
const DOMAINS: u32 = 100;
const REPETITIONS: usize = 20;
const LOCALLY: Duration = Duration::from_millis(20);

/// From the end of `virDomainDestroy` until the domain runs again, as a connection beside the daemon sees it.
pub(crate) fn event(stage: &Stage) -> Result<()> {
    let world = World::start(stage)?;
    let namespace = Namespace::create(&stage.plane.client())?;
    let mut watch = Watch::start(&namespace, stage, Column::Ready)?;
    namespace.apply(&Driver::Test.domains_on("far", "event", 1))?;
    watch.until(1)?;
    let domain = world.near.domain("event-0")?;
    let here = answers(&domain)?;
    world.far.tcp.delay(ROUND_TRIP / 2);
    let there = answers(&domain)?;
    world.far.tcp.delay(Duration::ZERO);
    head(&format!("From an event to what the provider does about it, {REPETITIONS} times, test driver"));
    let verdict = |is_met| if is_met { "met" } else { "MISSED" };
    line(&format!("locally (goal, a median below {LOCALLY:?}: {})", verdict(here.median < LOCALLY)), here);
    let trips = there.median.as_secs_f64() / ROUND_TRIP.as_secs_f64();
    line(&format!("{trips:.1} round trips of {ROUND_TRIP:?} (goal, below 5: {})", verdict(trips < 5.0)), there);
    println!();
    namespace.kubectl(&["delete", "domains", "--all", "--timeout=60s"]).map(drop)
}

/// Many domains made at once over the line.
pub(crate) fn link(stage: &Stage) -> Result<()> {
    let count = count_of("LINK_DOMAINS", DOMAINS)?;
    let world = World::start(stage)?;
    let namespace = Namespace::create(&stage.plane.client())?;
    let mut watch = Watch::start(&namespace, stage, Column::Ready)?;
    namespace.apply(&Driver::Test.domains_on("far", "first", 1))?;
    watch.until(1)?;
    let mould = world.near.mould("first-0")?;
    for line in [&world.far.tcp, &world.far.tls] {
        line.delay(ROUND_TRIP / 2);
    }
    let alone = world.dial_for_each(&mould, count, 1)?;
    let four = world.dial_for_each(&mould, count, 4)?;
    let before = world.far.tcp.opened();
    let begin = Instant::now();
    namespace.apply(&Driver::Test.domains_on("far", "many", count as usize))?;
    let applied = begin.elapsed();
    watch.until(count as usize)?;
    let ours = begin.elapsed();
    let dialled = world.far.tcp.opened() - before;
    world.far.tcp.delay(Duration::ZERO);
    let rate = |took: Duration| f64::from(count) / took.as_secs_f64();
    println!("{count} domains defined and started over a line of {ROUND_TRIP:?}, test driver");
    println!("  a program that dials for each of them         {:>9.1} a second", rate(alone));
    println!("  four of them at once                          {:>9.1} a second", rate(four));
    println!(
        "  the provider, from kubectl apply to Ready     {:>9.1} a second, {:.1} times as many as the one",
        rate(ours),
        rate(ours) / rate(alone)
    );
    println!("  kubectl itself took {}; the provider dialled {dialled} times meanwhile\n", millis(applied));
    namespace.kubectl(&["delete", "domains", "--all", "--timeout=300s"]).map(drop)
}

/// Destroys the domain again and again, each time from when it runs.
fn answers(domain: &Domain) -> Result<Summary> {
    let mut times = Vec::new();
    for _ in 0..REPETITIONS {
        domain.destroy().context("destroy the domain")?;
        times.push(plain::until_running(domain)?);
        // The pass that started it is over before the next one.
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(Summary::of(times))
}

/// The host, a provider that is connected to it over the line, and a connection beside it.
struct World {
    // The provider goes before what it is connected to.
    _provider: Provider,
    near: plain::Host,
    far: Far,
}

impl World {
    fn start(stage: &Stage) -> Result<Self> {
        let far = Far::start("bench-far")?;
        let near = plain::Host::open(&format!("test+unix:///default?socket={}", far.host.socket().display()))?;
        let (user, password) = Far::LOGIN;
        stage.plane.apply(&format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: far, namespace: default}}\n\
             stringData: {{username: {user}, password: {password}}}\n\
             ---\napiVersion: libvirt.m.nourspeed.io/v1alpha1\nkind: ClusterProviderConfig\nmetadata: {{name: far}}\n\
             spec: {{uri: \"{}\", credentials: {{source: Secret, secretRef: {{namespace: default, name: far}}}}}}\n",
            uri(&far),
        ))?;
        let mut provider = Provider::start(&stage.plane.kubeconfig(), &["--no-leader-election"])?;
        provider.await_ready()?;
        Ok(Self { _provider: provider, near, far })
    }

    /// How long so many threads take to make domains, each by a connection of its own.
    fn dial_for_each(&self, mould: &str, count: u32, threads: u32) -> Result<Duration> {
        let own = self.far.pki.client("plain")?;
        let folder = self.far.host.path("client");
        fs::create_dir_all(&folder).context("create a folder for certificates")?;
        let files = [
            ("cacert.pem", &self.far.pki.authority),
            ("clientcert.pem", &own.certificate),
            ("clientkey.pem", &own.key),
        ];
        for (name, text) in files {
            fs::write(folder.join(name), text).context("write a certificate")?;
        }
        let uri = format!("test+tls://127.0.0.1:{}/default?pkipath={}", self.far.tls.port(), folder.display());
        let begin = Instant::now();
        std::thread::scope(|scope| {
            let work = |first: u32| -> Result<()> {
                for number in (first..count).step_by(threads as usize) {
                    plain::Host::open(&uri)?.make(mould, &format!("plain-{number}"))?;
                }
                Ok(())
            };
            let running: Vec<_> = (0..threads).map(|first| scope.spawn(move || work(first))).collect();
            running.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow!("a thread panicked"))?)
        })?;
        let took = begin.elapsed();
        for number in 0..count {
            plain::remove(&self.near.domain(&format!("plain-{number}"))?)?;
        }
        Ok(took)
    }
}

fn uri(far: &Far) -> String {
    far.tcp_uri().replace("qemu+tcp", "test+tcp").replace("/system", "/default")
}
