//! From `kubectl apply` to Ready, many domains at once.

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
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

/// Measures and prints.
pub(crate) fn measure(stage: &Stage, driver: Driver) -> Result<()> {
    let host = stage.open(driver)?;
    let mut provider = Provider::start(&stage.plane.kubeconfig(), &[])?;
    provider.await_ready()?;
    let namespace = Namespace::create(&stage.plane.client())?;
    // The first domain pays for the connection, and is the mould of the plain loop's.
    let mut watch = Watch::start(&namespace, stage, Column::Ready)?;
    namespace.apply(&driver.domains("first", 1))?;
    watch.until(1)?;
    let mould = host.mould("first-0")?;

    let before = host.loop_over(&mould, COUNT)?;
    let parallel = host.loop_in_parallel(&mould, COUNT, 4)?;
    let requests = requests(&provider)?;
    let begun = Instant::now();
    namespace.apply(&driver.domains("many", COUNT))?;
    let applied = begun.elapsed();
    let seen = watch.until(COUNT)?;
    let written = delta(&requests, &self::requests(&provider)?);
    remove(&namespace, &provider)?;
    let after = host.loop_over(&mould, COUNT)?;

    head(&format!("{COUNT} domains of libvirt's {} driver, from the begin until each runs", driver.name()));
    line("plain loop, define + start one after another, before", before);
    line("plain loop, after", after);
    line("plain loop, 4 at a time", parallel);
    line(
        "provider, kubectl apply of all until each is Ready",
        Summary::of(seen.iter().map(|one| one.shown - begun).collect()),
    );
    line(
        "provider, each from its creation until it is Ready",
        Summary::of(seen.iter().map(|one| one.shown - one.made).collect()),
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

/// When a domain was made and showed what was waited for, as the API server told.
pub(crate) struct Seen {
    pub(crate) made: Instant,
    pub(crate) shown: Instant,
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    /// That it is Ready.
    Ready,
    /// That a pass has ended, well or not.
    Synced,
}

impl Column {
    fn words(self) -> String {
        let condition = match self {
            Self::Ready => "Ready",
            Self::Synced => "Synced",
        };
        format!("-o=custom-columns=N:.metadata.name,C:.status.conditions[?(@.type==\"{condition}\")].status")
    }

    fn shows(self, word: &str) -> bool {
        match self {
            Self::Ready => word == "True",
            Self::Synced => word != "<none>",
        }
    }
}

/// `kubectl get --watch`, each line with its time.
pub(crate) struct Watch {
    child: Arc<Mutex<Option<Child>>>,
    lines: Receiver<(Instant, String)>,
    column: Column,
    made: HashMap<String, Instant>,
    shown: HashSet<String>,
}

impl Watch {
    pub(crate) fn start(namespace: &Namespace, stage: &Stage, column: Column) -> Result<Self> {
        let client = stage.plane.client();
        let mut command = Command::new(client.program());
        command.arg("--kubeconfig").arg(client.kubeconfig());
        command.args(["-n", namespace.name(), "get", "domains", "--watch", "--no-headers", &column.words()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = Arc::new(Mutex::new(Some(command.spawn().context("start kubectl")?)));
        let (sender, lines) = channel();
        let watched = Arc::clone(&child);
        std::thread::spawn(move || watch(&mut command, &watched, &sender));
        Ok(Self { child, lines, column, made: HashMap::new(), shown: HashSet::new() })
    }

    /// Waits until so many domains more than last time show it.
    pub(crate) fn until(&mut self, count: usize) -> Result<Vec<Seen>> {
        let deadline = Instant::now() + PATIENCE;
        let mut fresh = Vec::new();
        while fresh.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((at, line)) = self.lines.recv_timeout(left) else {
                bail!("{} of {count} domains {:?} in time", fresh.len(), self.column)
            };
            let mut words = line.split_whitespace();
            let (Some(name), Some(word)) = (words.next(), words.next()) else { continue };
            let made = *self.made.entry(name.to_owned()).or_insert(at);
            if self.column.shows(word) && self.shown.insert(name.to_owned()) {
                fresh.push(Seen { made, shown: at });
            }
        }
        Ok(fresh)
    }
}

/// Reads until nobody wants to read any more. The API server drops a watch that is slower than what happens; then it begins anew, with
/// what there is.
fn watch(command: &mut Command, child: &Mutex<Option<Child>>, sender: &Sender<(Instant, String)>) {
    let locked = || child.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let Some(output) = locked().as_mut().and_then(|child| child.stdout.take()) else { return };
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send((Instant::now(), line)).is_err() {
                return;
            }
        }
        let mut child = locked();
        let Some(ended) = child.as_mut() else { return };
        let _ = ended.wait();
        let Ok(next) = command.spawn() else { return };
        *child = Some(next);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended with its API server.
        if let Some(mut child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Requests to the API server so far, by method and answer.
fn requests(provider: &Provider) -> Result<HashMap<String, f64>> {
    let samples = provider.metrics()?;
    Ok(samples.into_iter().filter(|(name, _)| name.starts_with("rest_client_requests_total")).collect())
}

/// How many requests of each method were made for one domain, with the codes that they were answered by.
fn delta(before: &HashMap<String, f64>, after: &HashMap<String, f64>) -> String {
    let mut parts: Vec<String> = after
        .iter()
        .map(|(name, count)| (name, (count - before.get(name).copied().unwrap_or(0.0)) / EACH))
        .filter(|(_, count)| *count > 0.0)
        .map(|(name, count)| {
            let label = |key: &str| name.split_once(&format!("{key}=\""))?.1.split('"').next();
            format!("{} {} {count:.2}", label("method").unwrap_or("?"), label("code").unwrap_or("?"))
        })
        .collect();
    parts.sort();
    parts.join(", ")
}
