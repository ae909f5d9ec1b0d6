//! How long the webhook takes to answer while it knows a great many objects: a review of a guest with several disks that it writes to, a
//! seed, a network and a MAC address, which are compared with those of all others, also as these were last looked at. The objects are
//! paused, so that nothing else goes on.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use data_encoding::BASE64;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};
use tests::{Namespace, Provider, eventually, free_port};

use crate::{
    stage::Stage,
    summary::{Summary, head, line},
};

/// How many guests there are, each with a volume: twice as many objects.
const GUESTS: usize = 1000;
const BATCH: usize = 250;
const REVIEWS: usize = 1000;
/// How many disks the guest has, each a volume that nobody else has.
const DISKS: usize = 4;
/// What the median is to be below.
const GOAL: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_mins(5);

/// Measures and prints.
pub(crate) fn measure(stage: &Stage) -> Result<()> {
    let port = free_port()?;
    let flags = ["--poll=1h", "--no-leader-election", "--webhook-self-signed", &format!("--webhook-port={port}")];
    let mut provider = Provider::start(&stage.plane.kubeconfig(), &flags)?;
    provider.await_ready()?;
    let namespace = Namespace::create(&stage.plane.client())?;
    for first in (0..GUESTS).step_by(BATCH) {
        namespace.apply(&crowd(first..first + BATCH))?;
        let status = ["-n", namespace.name(), "apply", "--server-side", "--subresource=status", "-f", "-"];
        stage.plane.client().run_with_input(&status, &observed(first..first + BATCH))?;
    }
    eventually(PATIENCE, || {
        let known = |kind: &str| {
            format!("crossplane_managed_resource_exists{{gvk=\"libvirt.m.nourspeed.io/v1alpha1, Kind={kind}\"}}")
        };
        let samples = provider.metrics()?;
        let wanted = f64::from(u32::try_from(GUESTS)?);
        for kind in ["Domain", "Volume"] {
            let count = samples.get(&known(kind)).copied().unwrap_or_default();
            ensure!(count >= wanted, "{count} of kind {kind}");
        }
        Ok(())
    })?;
    let mut door = Door::open(stage, port)?;
    let admitted = door.reviews(&|number| review(namespace.name(), "qemu", number, None), true)?;
    let changed = door.reviews(&|number| review(namespace.name(), "qemu", number, Some("32Mi")), true)?;
    let refused = door.reviews(&|number| review(namespace.name(), "test", number, None), false)?;
    head(&format!("A review by the webhook with {} objects known, {REVIEWS} one by one", 2 * GUESTS));
    let goal = |summary: &Summary| {
        let verdict = if summary.median < GOAL { "met" } else { "MISSED" };
        format!("goal, a median below {GOAL:?}: {verdict}")
    };
    line(&format!("a guest with {DISKS} disks that is admitted ({})", goal(&admitted)), admitted);
    line(&format!("its change that is admitted ({})", goal(&changed)), changed);
    line(&format!("one that is refused ({})", goal(&refused)), refused);
    println!();
    Ok(())
}

/// Guests with an address and a volume each.
fn crowd(numbers: std::ops::Range<usize>) -> String {
    numbers.fold(String::new(), |mut text, number| {
        let begin = |kind: &str| {
            format!(
                "---\napiVersion: libvirt.m.nourspeed.io/v1alpha1\nkind: {kind}\n\
                 metadata: {{name: crowd-{number}, annotations: {{crossplane.io/paused: 'true', \
                 libvirt.nourspeed.io/provider-config: ClusterProviderConfig/qemu}}}}\n\
                 spec:\n  providerConfigRef: {{kind: ClusterProviderConfig, name: qemu}}\n  forProvider: "
            )
        };
        let (mac, disk) = (mac(number), disk(number));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{}{{memory: 64Mi, disks: [{{name: root, volumeRef: {{name: crowd-{disk}}}}}], \
             networkInterfaces: [{{name: lan, bridge: br0, mac: '{mac}'}}]}}\n{}{{pool: default, capacity: 1Mi}}",
            begin("Domain"),
            begin("Volume"),
        );
        text
    })
}

fn mac(number: usize) -> String {
    format!("52:54:00:00:{:02x}:{:02x}", number / 256, number % 256)
}

/// The disk of a guest. The first volumes are left to the guest that is reviewed.
fn disk(number: usize) -> usize {
    number.max(DISKS)
}

/// The same guests and volumes as they were last looked at.
fn observed(numbers: std::ops::Range<usize>) -> String {
    numbers.fold(String::new(), |mut text, number| {
        let begin = |kind: &str| {
            format!(
                "---\napiVersion: libvirt.m.nourspeed.io/v1alpha1\nkind: {kind}\nmetadata: {{name: crowd-{number}}}\n\
                 status:\n  atProvider: "
            )
        };
        let path = |disk: usize| format!("/var/lib/libvirt/images/crowd-{disk}");
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{}{{disks: [{{name: root, target: vda, path: {}}}], networkInterfaces: [{{name: lan, mac: '{}'}}]}}\n\
             {}{{pool: default, name: crowd-{number}, path: {}}}",
            begin("Domain"),
            path(disk(number)),
            mac(number),
            begin("Volume"),
            path(number),
        );
        text
    })
}

/// One connection, as an API server keeps it.
struct Door(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Door {
    fn open(stage: &Stage, port: u16) -> Result<Self> {
        let secret = stage.plane.client().get(&["secret", "provider-libvirt-webhook", "-n", "default"])?;
        let secret = secret.context("find the webhook's Secret")?;
        let bundle = BASE64.decode(secret["data"]["ca.crt"].as_str().unwrap_or_default().as_bytes())?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&bundle) {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("provider-libvirt.default.svc")?;
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(StreamOwned::new(ClientConnection::new(Arc::new(config), name)?, stream))))
    }

    /// How long these reviews take.
    fn reviews(&mut self, review: &dyn Fn(usize) -> Value, allowed: bool) -> Result<Summary> {
        let mut times = Vec::with_capacity(REVIEWS);
        for number in 0..REVIEWS {
            let review = review(number).to_string();
            let begin = Instant::now();
            let answer = self.ask(&review)?;
            times.push(begin.elapsed());
            ensure!(answer["response"]["allowed"] == json!(allowed), "{answer:#}");
        }
        Ok(Summary::of(times))
    }

    fn ask(&mut self, review: &str) -> Result<Value> {
        let path = "/validate-libvirt-m-nourspeed-io-v1alpha1-domain";
        let stream = self.0.get_mut();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{review}",
            review.len()
        )?;
        stream.flush()?;
        let mut length = 0;
        loop {
            let mut header = String::new();
            self.0.read_line(&mut header)?;
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        serde_json::from_slice(&body).context("read the answer")
    }
}

/// A guest that is new, or whose memory was this until now.
fn review(namespace: &str, config: &str, number: usize, memory: Option<&str>) -> Value {
    let disks: Vec<Value> = (0..DISKS)
        .map(|disk| json!({"name": format!("disk-{disk}"), "volumeRef": {"name": format!("crowd-{disk}")}}))
        .collect();
    let object = json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Domain",
        "metadata": {"name": format!("new-{number}"), "namespace": namespace, "uid": format!("new-{number}")},
        "spec": {
            "providerConfigRef": {"kind": "ClusterProviderConfig", "name": config},
            "managementPolicies": ["*"],
            "forProvider": {
                "memory": "64Mi", "cloudInitRef": {"name": "none"}, "disks": disks,
                "networkInterfaces": [{"name": "lan", "network": "default", "mac": "52:54:00:ff:00:01"}],
            },
        },
    });
    let old = memory.map(|memory| {
        let mut old = object.clone();
        old["spec"]["forProvider"]["memory"] = memory.into();
        old
    });
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "operation": if old.is_some() { "UPDATE" } else { "CREATE" }, "object": object, "oldObject": old,
            "kind": {"group": "libvirt.m.nourspeed.io", "version": "v1alpha1", "kind": "Domain"},
        },
    })
}
