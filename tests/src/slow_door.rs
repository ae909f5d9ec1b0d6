//! An admission webhook that admits everything, slowly: between what the API server reads and what it writes, anything may happen.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Error, Result};
use data_encoding::BASE64;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;

/// Which requests for objects of the provider's group are held up, and how long.
#[derive(Clone, Copy, Debug)]
pub struct SlowDoor<'a> {
    /// `UPDATE`, `DELETE` and so on.
    pub operation: &'a str,
    /// Plural names of the kinds.
    pub resources: &'a [&'a str],
    /// CEL about the request, as in a webhook's `matchConditions`.
    pub condition: &'a str,
    /// How long each look takes.
    pub look: Duration,
}

impl SlowDoor<'_> {
    /// Has the API server ask it, in the place of the one before; it answers until the process ends.
    ///
    /// # Errors
    /// When there is no port, or the API server refuses the webhook.
    pub fn open(self, plane: &ControlPlane) -> Result<()> {
        let (port, bundle) = listen(self.look)?;
        let webhook = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "slow"},
            "webhooks": [{
                "name": "slow.example.org", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 20,
                "clientConfig": {"url": format!("https://127.0.0.1:{port}/"), "caBundle": bundle},
                "matchConditions": [{"name": "some", "expression": self.condition}],
                "rules": [{
                    "apiGroups": ["libvirt.m.nourspeed.io"], "apiVersions": ["*"], "operations": [self.operation],
                    "resources": self.resources,
                }],
            }],
        });
        plane.apply(&webhook.to_string()).map(drop)
    }
}

/// Answers its port and certificate.
fn listen(look: Duration) -> Result<(u16, String)> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.self_signed(&key)?;
    let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(Error::msg)?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)?;
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0")?);
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = config.clone();
            thread::spawn(move || answer(config, stream, look));
        }
    });
    Ok((port, BASE64.encode(certificate.pem().as_bytes())))
}

fn answer(config: Arc<ServerConfig>, stream: TcpStream, look: Duration) -> Result<()> {
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config)?, stream));
    let (mut length, mut line) = (0, String::new());
    while stream.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let review: Value = serde_json::from_slice(&body)?;
    thread::sleep(look);
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": true},
    })
    .to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
    write!(stream.get_mut(), "{head}\r\nContent-Length: {}\r\n\r\n{answer}", answer.len())?;
    Ok(stream.get_mut().flush()?)
}
