//! Image servers that not everybody can reach: with a certificate of their own authority, with headers that they want, and by a proxy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::fs;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{ImageProxy, Manners, PATIENCE, Scenario, SharedStage, Stage, TlsDoor, condition, sha256};

const API: &str = "libvirt.m.nourspeed.io/v1alpha1";

// Of the configs here each has a proxy of its own.
static PROXIED: SharedStage = SharedStage::new("proxied", &["--poll=30s", "--debug"]);

#[test]
fn an_image_comes_by_https_from_a_server_that_only_the_object_knows_and_that_wants_a_header_which_is_nowhere_to_be_seen()
-> Result<()> {
    let stage = Stage::start("doors", &["--poll=30s", "--debug"])?;
    let scenario = stage.scenario("doors")?;
    let (images, image) = (stage.images(), scenario.host().path("image"));
    fs::write(&image, (0..1_u32 << 20).map(|at| (at % 251).to_le_bytes()[0]).collect::<Vec<u8>>())?;
    let sum = sha256(&image)?;
    images.serve("image", &image, Manners::Good);
    let door = TlsDoor::open(images.port(), "X-Api-Key: open-sesame")?;
    scenario.apply(&scenario.pool())?;
    let volume = |name: &str, bundle: &str| {
        let http = format!("{{url: '{}', checksum: {sum}, headersRef: {{name: key}}{bundle}}}", door.url("image"));
        scenario.apply(&scenario.volume(name, &format!("format: Raw, source: {{http: {http}}}"))).map(drop)
    };
    let said = |name: &str, what: &str| said(&scenario, name, what);
    volume("stranger", "")?;
    said("stranger", "waiting for Secret key: there is none")?;
    holds(&scenario, "Secret", "key", "Host", "elsewhere")?;
    said("stranger", "waiting for Secret key: the header Host is the provider's own to send")?;
    scenario.namespace().kubectl(&["delete", "secret", "key"])?;
    holds(&scenario, "Secret", "key", "X-Api-Key", "shut-sesame")?;
    said("stranger", "the server's certificate is of an unknown authority")?;

    let inline = json!({"inline": door.certificate}).to_string();
    volume("inline", &format!(", caBundle: {inline}"))?;
    said("inline", "403 Forbidden")?;
    holds(&scenario, "Secret", "key", "X-Api-Key", "open-sesame")?;
    volume("from-secret", ", caBundle: {secretKeyRef: {name: ca, key: ca.crt}}")?;
    said("from-secret", "waiting for Secret ca: there is none")?;
    holds(&scenario, "Secret", "ca", "ca.crt", "nothing")?;
    said("from-secret", "waiting for Secret ca: ca.crt: it holds no certificate")?;
    holds(&scenario, "Secret", "ca", "ca.crt", &door.certificate)?;
    holds(&scenario, "ConfigMap", "ca", "ca.crt", &door.certificate)?;
    volume("from-map", ", caBundle: {configMapKeyRef: {name: ca, key: ca.crt}}")?;
    scenario.await_ready(&["volume/inline", "volume/from-secret", "volume/from-map"])?;
    for name in ["inline", "from-secret", "from-map"] {
        let path = scenario.path("volume", name)?;
        assert_eq!(sha256(&path)?, sum, "{name}");
    }
    said("stranger", "the server's certificate is of an unknown authority")?;
    check_hidden(&scenario)?;
    scenario.clear()
}

#[test]
fn an_image_comes_by_the_proxy_of_its_config_once_that_lets_in() -> Result<()> {
    let world = World::new("by-proxy", "ClusterProviderConfig")?;
    let World { scenario, proxy, door, namespace, .. } = &world;
    world.volume("plain", &world.plain("image"), "")?;
    let missing = format!("waiting for Secret proxy: there is none in namespace {namespace}");
    said(scenario, "plain", &format!("spec.policy.imageProxy: cannot get referenced resource: {missing}"))?;
    world.login("shut-sesame")?;
    let turned = format!("proxy {} does not take the credentials of the ProviderConfig's", proxy.address());
    said(scenario, "plain", &turned)?;
    world.login("open-sesame")?;
    let bundle = json!({"inline": door.certificate});
    world.volume("secure", &world.secure(), &format!(", caBundle: {bundle}"))?;
    // Loopback addresses are the provider's own, and not those of the proxy.
    world.volume("here", &scenario.stage().images().url("by-proxy"), "")?;
    scenario.await_ready(&["volume/plain", "volume/secure", "volume/here"])?;
    for name in ["plain", "secure", "here"] {
        let path = scenario.path("volume", name)?;
        assert_eq!(sha256(&path)?, world.sum, "{name}");
    }
    let tunnel = format!("CONNECT {}:{} HTTP/1.1", TlsDoor::NAME, door.port());
    assert_eq!(proxy.asked(), [tunnel, format!("GET {} HTTP/1.1", world.plain("image"))]);
    check_hidden(scenario)?;
    world.end()
}

#[test]
fn what_would_be_refused_without_a_proxy_is_refused_with_one() -> Result<()> {
    let world = World::new("by-own-proxy", "ProviderConfig")?;
    let World { scenario, proxy, .. } = &world;
    world.login("open-sesame")?;
    scenario.stage().images().redirect("away", "http://169.254.169.254/latest/meta-data");
    let shut = format!("proxy {} does not connect to the server: 403 Forbidden", proxy.address());
    let cases = [
        ("strange", world.secure(), "the server's certificate is of an unknown authority"),
        ("sent", world.plain("away"), "image host 169.254.169.254 is not public"),
        ("shut", "https://shut.invalid/image".to_owned(), &shut),
        (
            "nobody",
            "http://nobody.invalid/image".to_owned(),
            "image host nobody.invalid cannot be resolved by the provider, so nobody can say whether the proxy would find it",
        ),
        (
            "aside",
            "http://aside.invalid/image".to_owned(),
            "GET http://aside.invalid/image: host aside.invalid cannot be resolved",
        ),
    ];
    for (name, url, _) in &cases {
        world.volume(name, url, "")?;
    }
    for (name, _, what) in &cases {
        said(scenario, name, what)?;
    }
    let tunnels = [format!("{}:{}", TlsDoor::NAME, world.door.port()), "shut.invalid:443".to_owned()];
    let asked = format!("GET {} HTTP/1.1", world.plain("away"));
    assert_eq!(proxy.asked(), [&tunnels.map(|server| format!("CONNECT {server} HTTP/1.1"))[..], &[asked]].concat());
    check_hidden(scenario)?;
    world.end()
}

#[test]
fn the_proxy_of_a_config_has_no_credentials_in_its_url_and_no_secret_of_another_namespace() -> Result<()> {
    let scenario = PROXIED.scenario("unproxied")?;
    let (own, cluster, url) = ("ProviderConfig", "ClusterProviderConfig", "http://proxy.example.org:3128");
    let config = |kind: &str, proxy: Value| {
        let spec = json!({"uri": scenario.host().uri(), "policy": {"imageProxy": proxy}});
        let config = json!({"apiVersion": API, "kind": kind, "metadata": {"name": "unproxied"}, "spec": spec});
        scenario.apply(&config.to_string())
    };
    let foreign = json!({"name": "a", "namespace": "kube-system"});
    let field = "spec.policy.imageProxy";
    let cases = [
        (own, json!({"url": "http://me:word@proxy.example.org"}), ".url"),
        (own, json!({"url": "socks5://proxy.example.org"}), ".url"),
        (own, json!({"url": "http://proxy.example.org/pac"}), ".url"),
        (own, json!({"url": url, "noProxy": ["a b"]}), ".noProxy[0]"),
        (own, json!({"url": url, "noProxy": ["*example.org"]}), ".noProxy[0]"),
        (own, json!({"url": url, "credentialsRef": foreign}), ".credentialsRef.namespace out"),
        (cluster, json!({"url": url, "credentialsRef": {"name": "a"}}), ".credentialsRef.namespace is needed"),
    ];
    for (kind, proxy, sentence) in cases {
        let refused = format!("{:#}", config(kind, proxy).unwrap_err());
        assert!(refused.contains(&format!("{field}{sentence}")), "{refused}");
    }
    let names = ["*", "example.org", ".example.org", "*.example.org:8080"];
    let addresses = ["10.0.0.5", "10.0.0.5:80", "10.0.0.0/8", "fd00::/8", "fd00::1", "[fd00::1]:80"];
    let known = [&names[..], &addresses].concat();
    config(own, json!({"url": "https://[fd00::1]:3129/", "noProxy": known, "credentialsRef": {"name": "a"}})).map(drop)
}

/// A config with a proxy that wants a login, and an image behind it.
struct World {
    scenario: Scenario<'static>,
    namespace: String,
    proxy: ImageProxy,
    door: TlsDoor,
    sum: String,
}

impl World {
    /// With a pool on a config of this kind, both named as the scenario, whose name the image has on its server.
    fn new(name: &'static str, kind: &str) -> Result<Self> {
        let scenario = PROXIED.scenario(name)?;
        let (images, image) = (scenario.stage().images(), scenario.host().path(name));
        fs::write(&image, (0..1_u32 << 20).map(|at| (at % 241).to_le_bytes()[0]).collect::<Vec<u8>>())?;
        for served in ["image", name] {
            images.serve(served, &image, Manners::Good);
        }
        let proxy = ImageProxy::open(("images", "open-sesame"), "shut.invalid")?;
        let door = TlsDoor::open(images.port(), "Accept-Encoding: identity")?;
        let namespace = scenario.namespace().name().to_owned();
        let mut secret = json!({"name": "proxy"});
        if kind == "ClusterProviderConfig" {
            secret["namespace"] = json!(namespace);
        }
        let url = format!("http://{}", proxy.address());
        let image_proxy = json!({"url": url, "credentialsRef": secret, "noProxy": ["aside.invalid"]});
        let hosts = [TlsDoor::NAME, "shut.invalid", "aside.invalid", "127.0.0.1"];
        let spec = json!({"uri": scenario.host().uri(), "policy": {"imageHosts": hosts, "imageProxy": image_proxy}});
        let config = json!({"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec});
        let (reference, target) = (json!({"kind": kind, "name": name}), json!({"path": scenario.folder()}));
        let spec = json!({"providerConfigRef": reference, "forProvider": {"target": target}});
        let pool = json!({"apiVersion": API, "kind": "Pool", "metadata": {"name": name}, "spec": spec});
        scenario.apply(&format!("{config}\n---\n{pool}"))?;
        // Volumes go where their pool is.
        scenario.await_ready(&[&format!("pool/{name}")])?;
        Ok(Self { namespace, proxy, door, sum: sha256(&image)?, scenario })
    }

    /// Where a name is served that is had by the proxy alone.
    fn plain(&self, name: &str) -> String {
        format!("http://{}:{}/{name}", TlsDoor::NAME, self.scenario.stage().images().port())
    }

    /// The same of the image, by TLS.
    fn secure(&self) -> String {
        format!("https://{}:{}/image", TlsDoor::NAME, self.door.port())
    }

    /// A volume of the image at this URL.
    fn volume(&self, name: &str, url: &str, more: &str) -> Result<()> {
        let http = format!("{{url: '{url}', checksum: {}{more}}}", self.sum);
        let volume = self.scenario.volume(name, &format!("format: Raw, source: {{http: {http}}}"));
        self.scenario.apply(&volume).map(drop)
    }

    /// Has the Secret say this password.
    fn login(&self, password: &str) -> Result<()> {
        let data = json!({"username": "images", "password": password});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "proxy"}, "stringData": data});
        self.scenario.apply(&secret.to_string()).map(drop)
    }

    fn end(self) -> Result<()> {
        self.scenario.delete_all()?;
        self.scenario.await_all_gone(PATIENCE)
    }
}

/// Waits until a volume says that it cannot be made, and this of why.
fn said(scenario: &Scenario<'_>, name: &str, what: &str) -> Result<()> {
    scenario.await_object("volume", name, |volume| {
        let (status, _, message) = condition(volume, "Synced")?;
        ensure!(status == "False" && message.contains(what), "{message}");
        Ok(())
    })
}

/// What lets in is in no status, event or log.
fn check_hidden(scenario: &Scenario<'_>) -> Result<()> {
    let told = scenario.namespace().kubectl(&["get", "volumes,events", "-o", "yaml"])? + &scenario.stage().log();
    for hidden in ["sesame", "b3Blbi1zZXNhbWU", "aW1hZ2VzOm9wZW4tc2VzYW1l"] {
        assert!(!told.contains(hidden), "{hidden} is to be seen");
    }
    Ok(())
}

/// Has a Secret or `ConfigMap` hold a value under a key.
fn holds(scenario: &Scenario<'_>, kind: &str, name: &str, key: &str, value: &str) -> Result<()> {
    let field = if kind == "Secret" { "stringData" } else { "data" };
    let object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, field: {key: value}});
    scenario.apply(&object.to_string()).map(drop)
}
