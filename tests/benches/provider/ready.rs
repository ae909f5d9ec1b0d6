//! From `kubectl apply` to Ready, many domains at once.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tests::{Namespace, Provider};

use crate::{
    stage::{Driver, Stage},
    summary::{Summary, head, line, millis},
};

const COUNT: usize = 50;
/// The same, to divide by.
const EACH: f64 = 50.0;
const PATIENCE: Duration = Duration::from_mins(5);
const COLUMNS: &str = "-o=custom-columns=N:.metadata.name,R:.status.conditions[?(@.type==\"Ready\")].status";

/// Measures and prints.
pub(crate) fn measure(stage: &Stage, driver: Driver) -> Result<()> {
    let host = stage.open(driver)?;
    let mut provider = Provider::start(&stage.plane.kubeconfig(), &[])?;
    provider.await_ready()?;
    let namespace = Namespace::create(&stage.plane.client())?;
    // The first domain pays for the connection, and is the mould of the plain loop's.
    let mut watch = Watch::start(&namespace, stage)?;
    namespace.apply(&driver.domains("first", 1))?;
    watch.until_ready(1)?;
    let mould = host.mould("first-0")?;

    let before = host.loop_over(&mould, COUNT)?;
    let parallel = host.loop_in_parallel(&mould, COUNT, 4)?;
    let requests = requests(&provider)?;
    let begun = Instant::now();
    namespace.apply(&driver.domains("many", COUNT))?;
    let applied = begun.elapsed();
    let seen = watch.until_ready(COUNT)?;
    let written = delta(&requests, &self::requests(&provider)?);
    remove(&namespace, &provider)?;
    let after = host.loop_over(&mould, COUNT)?;

    head(&format!("{COUNT} domains of libvirt's {} driver, from the begin until each runs", driver.name()));
    line("plain loop, define + start one after another, before", before);
    line("plain loop, after", after);
    line("plain loop, 4 at a time", parallel);
    line(
        "provider, kubectl apply of all until each is Ready",
        Summary::of(seen.iter().map(|one| one.ready - begun).collect()),
    );
    line(
        "provider, each from its creation until it is Ready",
        Summary::of(seen.iter().map(|one| one.ready - one.made).collect()),
    );
    println!("  kubectl itself took {}; requests of the provider for one domain: {written}\n", millis(applied));
    Ok(())
}

/// Deletes all domains and waits until they are gone, and stops no sooner than the provider is done.
fn remove(namespace: &Namespace, provider: &Provider) -> Result<()> {
    namespace
        .kubectl(&["delete", "domains", "--all", "--timeout=240s"])
        .with_context(|| format!("delete the domains; the provider's log:\n{}", provider.log()))?;
    Ok(())
}

/// When a domain was made and became Ready, as the API server told.
pub(crate) struct Seen {
    made: Instant,
    ready: Instant,
}

/// `kubectl get --watch`, each line with its time.
pub(crate) struct Watch {
    child: Child,
    lines: Receiver<(Instant, String)>,
    made: HashMap<String, Instant>,
    ready: HashMap<String, Instant>,
}

impl Watch {
    pub(crate) fn start(namespace: &Namespace, stage: &Stage) -> Result<Self> {
        let client = stage.plane.client();
        let mut command = Command::new(client.program());
        command.arg("--kubeconfig").arg(client.kubeconfig()).args([
            "-n",
            namespace.name(),
            "get",
            "domains",
            "--watch",
        ]);
        command.args(["--no-headers", COLUMNS]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context("start kubectl")?;
        let output = child.stdout.take().context("open kubectl's output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines, made: HashMap::new(), ready: HashMap::new() })
    }

    /// Waits until so many domains more than last time are Ready.
    pub(crate) fn until_ready(&mut self, count: usize) -> Result<Vec<Seen>> {
        self.ready.clear();
        let deadline = Instant::now() + PATIENCE;
        let mut fresh: HashMap<String, Instant> = HashMap::new();
        while fresh.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((at, line)) = self.lines.recv_timeout(left) else {
                bail!("{} of {count} domains Ready in time", fresh.len())
            };
            let mut words = line.split_whitespace();
            let (Some(name), Some(ready)) = (words.next(), words.next()) else { continue };
            self.made.entry(name.to_owned()).or_insert(at);
            if ready == "True" {
                fresh.entry(name.to_owned()).or_insert(at);
            }
        }
        Ok(fresh.into_iter().filter_map(|(name, ready)| Some(Seen { made: *self.made.get(&name)?, ready })).collect())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended with its API server.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Requests to the API server so far, by method and answer.
fn requests(provider: &Provider) -> Result<HashMap<String, f64>> {
    let samples = provider.metrics()?;
    Ok(samples.into_iter().filter(|(name, _)| name.starts_with("rest_client_requests_total")).collect())
}

fn delta(before: &HashMap<String, f64>, after: &HashMap<String, f64>) -> String {
    let mut parts: Vec<String> = after
        .iter()
        .map(|(name, count)| (name, (count - before.get(name).copied().unwrap_or(0.0)) / EACH))
        .filter(|(_, count)| *count > 0.0)
        .map(|(name, count)| {
            let labels = name.split('"').skip(1).step_by(2).collect::<Vec<_>>().join(" ");
            format!("{labels} {count:.2}")
        })
        .collect();
    parts.sort();
    parts.join(", ")
}
