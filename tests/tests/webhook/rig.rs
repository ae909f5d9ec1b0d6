//! Certificates as a cluster would mount them, and the package's webhook configuration for a provider on this machine.

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use data_encoding::BASE64;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::Value;
use tests::{ControlPlane, Namespace, Scratch, eventually, free_port, manifest_on, workspace};

/// How soon the first refusal comes, once everything is there, also on a busy machine.
const SOON: Duration = Duration::from_mins(1);

/// The door of one provider.
pub(crate) struct Gate {
    pub(crate) port: u16,
    names: Vec<String>,
    issuer: Issuer<'static, KeyPair>,
    authority: String,
    folder: Scratch,
}

impl Gate {
    /// With a certificate that is good.
    pub(crate) fn new() -> Result<Self> {
        Self::of(free_port()?, &["127.0.0.1".to_owned()])
    }

    /// The same on this port and for these names.
    pub(crate) fn of(port: u16, names: &[String]) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        let gate = Self { port, names: names.to_owned(), issuer, authority, folder: Scratch::new("gate")? };
        gate.exchange("first", 2100)?;
        Ok(gate)
    }

    /// Mounts a new certificate, good until the beginning of this year, by exchanging one symbolic link as kubelet does.
    pub(crate) fn exchange(&self, version: &str, until: i32) -> Result<()> {
        let mut params = CertificateParams::new(self.names.clone())?;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let (folder, data) = (self.folder.path(), self.folder.path().join(version));
        fs::create_dir(&data)?;
        fs::write(data.join("tls.crt"), certificate.pem())?;
        fs::write(data.join("tls.key"), key.serialize_pem())?;
        symlink(version, folder.join("..new"))?;
        fs::rename(folder.join("..new"), folder.join("..data"))?;
        for file in ["tls.crt", "tls.key"] {
            if !folder.join(file).exists() {
                symlink(Path::new("..data").join(file), folder.join(file))?;
            }
        }
        Ok(())
    }

    /// Who signs, as `caBundle` has it.
    pub(crate) fn authority(&self) -> String {
        self.authority_said(1)
    }

    /// The same said so many times: to the API server that is another bundle, so it begins with new connections.
    fn authority_said(&self, times: usize) -> String {
        BASE64.encode(self.authority.repeat(times).as_bytes())
    }

    /// The provider's flags.
    pub(crate) fn flags(&self) -> Vec<String> {
        let folder = self.folder.path().display();
        vec![
            "--enable-webhooks".to_owned(),
            format!("--webhook-port={}", self.port),
            format!("--webhook-cert-dir={folder}"),
        ]
    }

    /// Applies the package's webhook configuration, with this provider's address in place of its Service.
    pub(crate) fn register(&self, plane: &ControlPlane) -> Result<()> {
        self.register_anew(plane, 1)
    }

    /// The same with the authority said so many times.
    pub(crate) fn register_anew(&self, plane: &ControlPlane, times: usize) -> Result<()> {
        let file = workspace().join("package/webhooks/webhook-config.yaml");
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let mut config: Value = serde_saphyr::from_str(&text)?;
        for webhook in config["webhooks"].as_array_mut().context("find the webhooks")? {
            let path = webhook["clientConfig"]["service"]["path"].as_str().context("find the path")?;
            let url = format!("https://127.0.0.1:{}{path}", self.port);
            webhook["clientConfig"] = serde_json::json!({"url": url, "caBundle": self.authority_said(times)});
        }
        plane.apply(&config.to_string()).map(drop)
    }
}

/// A namespace on a plane without hosts, with a pool on the first of two configs that lead to libvirt's test driver.
pub(crate) fn prepare(plane: &ControlPlane) -> Result<Namespace> {
    for name in ["one", "two"] {
        plane.apply(&format!(
            "{{apiVersion: libvirt.m.nourspeed.io/v1alpha1, kind: ClusterProviderConfig, metadata: {{name: {name}}}, \
             spec: {{uri: 'test:///default'}}}}"
        ))?;
    }
    let namespace = Namespace::create(&plane.client())?;
    namespace.apply(&manifest_on(Some("one"), "Pool", "p", "target: {path: /p}"))?;
    Ok(namespace)
}

/// What the API server says to a volume in that pool and on the second config, without keeping it.
pub(crate) fn ask(plane: &ControlPlane, namespace: &Namespace) -> String {
    let wrong = manifest_on(Some("two"), "Volume", "v", "poolRef: {name: p}, capacity: 1Mi");
    let args = ["-n", namespace.name(), "apply", "--server-side", "--dry-run=server", "-f", "-"];
    match plane.client().run_with_input(&args, &wrong) {
        Ok(admitted) => admitted,
        Err(error) => format!("{error:#}"),
    }
}

/// Waits until that is refused.
pub(crate) fn await_refusal(plane: &ControlPlane, namespace: &Namespace) -> Result<()> {
    eventually(SOON, || {
        let said = ask(plane, namespace);
        let wished = "admission webhook \"volumes.libvirt.m.nourspeed.io\" denied the request: pool p uses providerConfig one, \
                      but volume uses providerConfig two. Resources must use the same libvirt instance";
        ensure!(said.contains(wished), "{said}");
        Ok(())
    })
}
