//! What bringing an image onto a host costs, beside `curl | virsh vol-upload` of the same image, and what many small volumes cost.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tests::{ImageServer, Manners, Namespace, PATIENCE, Provider, run, sha256};

use crate::stage::{Driver, Stage, kib};

/// The size of the image in MiB.
const SIZE: u16 = 2048;
/// How often the memory of the provider is looked at meanwhile.
const SAMPLE: Duration = Duration::from_millis(50);
/// How often each way is gone, one after the other.
const ROUNDS: u8 = 3;
const VOLUMES: u16 = 100;
const POOL: &str = "imports";

/// Measures and prints.
pub(crate) fn measure(stage: &Stage) -> Result<()> {
    stage.host.their_pool(POOL)?;
    let mut provider = Provider::start(&stage.plane.kubeconfig(), &["--poll=10s", "--no-leader-election"])?;
    provider.await_ready()?;
    let namespace = Namespace::create(&stage.plane.client())?;
    images(stage, &provider, &namespace)?;
    blank(stage, &namespace)
}

/// An image of random bytes, so that neither side can leave any out, and its checksum.
fn image(folder: &Path) -> Result<(PathBuf, String)> {
    let path = folder.join("image");
    let (mut random, mut file) = (File::open("/dev/urandom")?, File::create(&path)?);
    let mut piece = vec![0; 1 << 20];
    for _ in 0..SIZE {
        random.read_exact(&mut piece)?;
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    let sum = sha256(&path)?;
    Ok((path, sum))
}

fn images(stage: &Stage, provider: &Provider, namespace: &Namespace) -> Result<()> {
    let (path, checksum) = image(&stage.host.path(POOL))?;
    let server = ImageServer::start()?;
    let url = server.serve("image", &path, Manners::Good);
    let rate = |took: Duration| f64::from(SIZE) / took.as_secs_f64();
    println!("An image of {SIZE} MiB by HTTP into a volume of a pool of folders, {ROUNDS} times in turn");
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    let mut peak = 0;
    for round in 0..ROUNDS {
        let took = upload(stage, &url, &format!("plain-{round}"))?;
        plain.push(rate(took));
        let (took, resident) = import(provider, namespace, &volume(&format!("ours-{round}"), &url, &checksum))?;
        ours.push(rate(took));
        peak = peak.max(resident);
    }
    let shown = |rates: &[f64]| rates.iter().map(|rate| format!("{rate:>5.0}")).collect::<Vec<_>>().join(" ");
    println!("  curl | virsh vol-upload, no checksum          {} MiB/s", shown(&plain));
    let best = |rates: &[f64]| rates.iter().copied().fold(0.0, f64::max);
    let verdict = if best(&ours) >= best(&plain) { "met" } else { "MISSED" };
    println!(
        "  provider, apply to Ready, checksum verified   {} MiB/s (goal, at least equal: {verdict})",
        shown(&ours)
    );
    let verdict = if peak < 64 * 1024 { "met" } else { "MISSED" };
    println!(
        "  largest VmRSS of the provider meanwhile       {:>5} MiB   (goal, below 64 MiB: {verdict})\n",
        peak / 1024
    );
    namespace.kubectl(&["delete", "volumes", "--all", "--timeout=300s"])?;
    fs::remove_file(&path).context("remove the image")
}

/// What a shell script would do.
fn upload(stage: &Stage, url: &str, name: &str) -> Result<Duration> {
    let begun = Instant::now();
    stage.host.virsh(&["vol-create-as", POOL, name, &format!("{SIZE}M"), "--format", "raw"])?;
    let virsh = format!("virsh -q -c {} vol-upload --pool {POOL} {name} /dev/stdin", stage.host.uri());
    run("bash", &["-o", "pipefail", "-c", &format!("curl -fsS {url} | {virsh}")])?;
    let took = begun.elapsed();
    stage.host.virsh(&["vol-delete", "--pool", POOL, name])?;
    Ok(took)
}

/// From apply until Ready, and the most that the provider had of memory meanwhile, in KiB.
fn import(provider: &Provider, namespace: &Namespace, manifest: &str) -> Result<(Duration, u64)> {
    let status = PathBuf::from(format!("/proc/{}/status", provider.pid()));
    let done = AtomicBool::new(false);
    let sample = || -> Result<u64> {
        let mut peak = 0;
        while !done.load(Ordering::Relaxed) {
            peak = peak.max(kib(&status, "VmRSS")?);
            thread::sleep(SAMPLE);
        }
        Ok(peak)
    };
    thread::scope(|scope| {
        let sampler = scope.spawn(sample);
        let begun = Instant::now();
        let waited = namespace.apply(manifest).and_then(|_| await_all(namespace));
        let took = begun.elapsed();
        done.store(true, Ordering::Relaxed);
        let peak = sampler.join().map_err(|_| anyhow::anyhow!("the sampler ended early"))??;
        waited.with_context(|| provider.log())?;
        Ok((took, peak))
    })
}

fn await_all(namespace: &Namespace) -> Result<()> {
    namespace.kubectl(&["wait", "volumes", "--all", "--for=condition=Ready", "--timeout=600s"]).map(drop)
}

/// Looks at all of them at once: `kubectl wait` asks for each by itself, which takes seconds for many.
fn await_ready(namespace: &Namespace) -> Result<()> {
    const READY: &str = r#"jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#;
    let begun = Instant::now();
    loop {
        let seen = namespace.kubectl(&["get", "volumes", "-o", READY])?;
        if seen.split_whitespace().filter(|status| *status == "True").count() == usize::from(VOLUMES) {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "not all are Ready: {seen}");
        thread::sleep(SAMPLE);
    }
}

/// Many small volumes, beside one virsh that makes them one after the other.
fn blank(stage: &Stage, namespace: &Namespace) -> Result<()> {
    let script = |verb: &str| {
        (0..VOLUMES).fold(String::new(), |mut text, number| {
            // Writing to a string does not fail.
            let _ = match verb {
                "make" => write!(text, "vol-create-as {POOL} plain-{number} 1M --format qcow2; "),
                _ => write!(text, "vol-delete --pool {POOL} plain-{number}; "),
            };
            text
        })
    };
    let begun = Instant::now();
    stage.host.virsh(&[&script("make")])?;
    let plain = begun.elapsed();
    stage.host.virsh(&[&script("remove")])?;
    let manifests =
        (0..VOLUMES).map(|number| volume_of(&format!("ours-{number}"), "capacity: 1Mi")).collect::<String>();
    let begun = Instant::now();
    namespace.apply(&manifests)?;
    let applied = begun.elapsed();
    await_ready(namespace)?;
    println!("{VOLUMES} blank qcow2 volumes of 1 MiB");
    println!("  one virsh, one after the other                {:>9.2} s", plain.as_secs_f64());
    println!("  provider, from kubectl apply until all Ready  {:>9.2} s", begun.elapsed().as_secs_f64());
    println!("    of which kubectl apply                      {:>9.2} s\n", applied.as_secs_f64());
    namespace.kubectl(&["delete", "volumes", "--all", "--timeout=300s"]).map(drop)
}

fn volume(name: &str, url: &str, checksum: &str) -> String {
    volume_of(name, &format!("format: Raw, source: {{http: {{url: \"{url}\", checksum: \"sha256:{checksum}\"}}}}"))
}

fn volume_of(name: &str, parameters: &str) -> String {
    format!(
        "---\napiVersion: libvirt.m.nourspeed.io/v1alpha1\nkind: Volume\nmetadata: {{name: {name}}}\nspec:\n  \
         providerConfigRef: {{kind: ClusterProviderConfig, name: {}}}\n  forProvider: {{pool: {POOL}, {parameters}}}\n",
        Driver::Qemu.name()
    )
}
