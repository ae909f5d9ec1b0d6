//! A cluster where nobody makes certificates: one file is applied, and the webhook works.

use std::{
    fs,
    io::copy,
    net::{IpAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use data_encoding::BASE64;
use jiff::{SignedDuration, Timestamp};
use provider_libvirt::webhook::authority::Keys;
use serde_json::{Value, json};
use tests::{ControlPlane, Namespace, PATIENCE, Provider, Scratch, eventually, free_port, manifest_on, workspace};

use crate::rig::{await_refusal, prepare};

const CONFIG: &str = "validatingwebhookconfiguration";

/// What the configuration and the Secret say.
fn known(plane: &ControlPlane) -> Result<(Value, Value)> {
    let get = |args: &[&str]| plane.client().get(args)?.with_context(|| args.join(" "));
    let config = get(&[CONFIG, "provider-libvirt"])?;
    Ok((config["webhooks"].clone(), get(&["secret", "provider-libvirt-webhook"])?))
}

#[test]
fn one_file_is_applied_on_a_plain_cluster_and_the_first_refusal_comes_within_seconds() -> Result<()> {
    let scratch = Scratch::new("plain")?;
    let plane = ControlPlane::start_with(scratch.path(), &[&workspace().join("package/crds")])?;
    let namespace = prepare(&plane)?;
    let number = free_port()?;
    let port = format!("--webhook-port={number}");
    let start = || -> Result<Provider> {
        let mut provider = Provider::start(&plane.kubeconfig(), &["--webhook-self-signed", "--debug", &port])?;
        provider.await_ready()?;
        Ok(provider)
    };
    let provider = start()?;
    let file = workspace().join("package/webhooks/webhook-config.yaml").display().to_string();
    let begun = Instant::now();
    plane.kubectl(&["apply", "-f", &file])?;
    await_refusal(&plane, &namespace).with_context(|| provider.log())?;
    println!("the first refusal came after {:?}", begun.elapsed());

    // The Secret has all of it, and what the API server trusts is what it says.
    let (webhooks, secret) = known(&plane)?;
    assert_eq!(secret["type"], "kubernetes.io/tls");
    let bundle = &secret["data"]["ca.crt"];
    let entries = webhooks.as_array().context("find the webhooks")?;
    assert!(entries.len() == 5 && entries.iter().all(|entry| entry["clientConfig"]["caBundle"] == *bundle));
    namespace.apply(&manifest_on(Some("one"), "Network", "net", "mode: Isolated"))?;
    check_log(&provider, &namespace, &secret)?;

    // Applied again, with another certificate that nobody has, and by the next process: it is put right.
    plane.kubectl(&["apply", "-f", &file])?;
    let spoilt = r#"[{"op": "replace", "path": "/webhooks/1/clientConfig/caBundle", "value": ""}]"#;
    plane.kubectl(&["patch", CONFIG, "provider-libvirt", "--type=json", "-p", spoilt])?;
    await_refusal(&plane, &namespace)?;
    eventually(PATIENCE, || {
        let (after, _) = known(&plane)?;
        ensure!(after == webhooks, "{after:#}");
        Ok(())
    })?;
    provider.term()?;
    let provider = start()?;
    await_refusal(&plane, &namespace).with_context(|| provider.log())?;
    assert_eq!(known(&plane)?.1["data"], secret["data"], "what is good is kept");
    provider.term()?;
    // One that ends soon, and one with the key of another, are made anew by the same authority.
    let provider = outlived(&plane, &namespace, &secret, &start)?;

    // A Secret that is deleted comes back with the authority that is trusted, once it is looked for: here, for another name.
    plane.kubectl(&["delete", "secret", "provider-libvirt-webhook"])?;
    let url = json!({"url": format!("https://127.0.0.1:{number}/any"), "caBundle": bundle});
    let patch = json!([{"op": "replace", "path": "/webhooks/4/clientConfig", "value": url}]).to_string();
    plane.kubectl(&["patch", CONFIG, "provider-libvirt", "--type=json", "-p", &patch])?;
    eventually(PATIENCE, || {
        let (after, anew) = known(&plane)?;
        ensure!(anew["data"]["ca.crt"] == *bundle && anew["data"]["tls.crt"] != secret["data"]["tls.crt"], "{anew:#}");
        ensure!(after[4]["clientConfig"] == url, "{after:#}");
        Ok(())
    })?;
    await_refusal(&plane, &namespace).with_context(|| provider.log())
}

/// Starts the provider with keys that are good no more, and waits for better ones. Answers the last one.
fn outlived(
    plane: &ControlPlane,
    namespace: &Namespace,
    secret: &Value,
    start: &impl Fn() -> Result<Provider>,
) -> Result<Provider> {
    let text = |field: &str| -> Result<String> {
        let kept = secret["data"][field].as_str().with_context(|| format!("find {field}"))?;
        Ok(String::from_utf8(BASE64.decode(kept.as_bytes())?)?)
    };
    let kept = Keys {
        bundle: text("ca.crt")?,
        authority_key: text("ca.key")?,
        certificate: text("tls.crt")?,
        key: text("tls.key")?,
    };
    let long_ago = Timestamp::now() - SignedDuration::from_hours(24 * 300);
    let old = Keys::renew(Some(&kept), &kept.names(), long_ago)?;
    let mixed = Keys { key: old.key.clone(), ..kept.clone() };
    let mut last = None;
    for keys in [old, mixed] {
        if let Some(provider) = last.take() {
            Provider::term(provider)?;
        }
        let data = json!({"stringData": {"tls.crt": keys.certificate, "tls.key": keys.key}}).to_string();
        plane.kubectl(&["patch", "secret", "provider-libvirt-webhook", "-p", &data])?;
        let provider = start()?;
        await_refusal(plane, namespace).with_context(|| provider.log())?;
        let (_, anew) = known(plane)?;
        let is_kept = anew["data"]["ca.crt"] == secret["data"]["ca.crt"];
        assert!(is_kept && anew["data"]["tls.crt"] != BASE64.encode(keys.certificate.as_bytes()), "{anew:#}");
        last = Some(provider);
    }
    last.context("two were started")
}

/// Neither the keys nor what a seed holds are in the log, also where every review is; that nobody can tell the way is.
fn check_log(provider: &Provider, namespace: &Namespace, secret: &Value) -> Result<()> {
    for (config, admitted) in [("one", true), ("two", false)] {
        let seed = manifest_on(Some(config), "CloudInit", config, "poolRef: {name: p}, userData: {inline: pAsSwOrD}");
        assert_eq!(namespace.apply(&seed).is_ok(), admitted);
    }
    let log = provider.log();
    for key in keys(secret)?.iter().map(String::as_str).chain(["pAsSwOrD"]) {
        assert!(!log.contains(key), "{log}");
    }
    for told in ["\"verdict\":\"warned\"", "\"denied\"", "has no endpoints"] {
        assert!(log.contains(told), "{log}");
    }
    Ok(())
}

/// What must not be told of a Secret: the lines of its keys, and those as the Secret has them.
fn keys(secret: &Value) -> Result<Vec<String>> {
    let mut told = vec!["PRIVATE KEY".to_owned()];
    for field in ["ca.key", "tls.key"] {
        let kept = secret["data"][field].as_str().with_context(|| format!("find {field}"))?;
        told.push(kept[..40].to_owned());
        let text = String::from_utf8(BASE64.decode(kept.as_bytes())?)?;
        told.extend(text.lines().filter(|line| line.len() > 10).map(str::to_owned));
    }
    Ok(told)
}

/// The clients of the configuration, each the same as all others but for its path.
fn clients(plane: &ControlPlane) -> Result<Vec<Value>> {
    let config = plane.client().get(&[CONFIG, "provider-libvirt"])?.context("find the configuration")?;
    let mut clients: Vec<Value> = config["webhooks"]
        .as_array()
        .context("find the webhooks")?
        .iter()
        .map(|one| one["clientConfig"].clone())
        .collect();
    for client in &mut clients {
        client["service"]["path"] = Value::Null;
    }
    clients.dedup();
    Ok(clients)
}

/// Exchanges the bundle of one entry for none.
fn spoil(plane: &ControlPlane) -> Result<()> {
    let none = r#"[{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}]"#;
    plane.kubectl(&["patch", CONFIG, "provider-libvirt", "--type=json", "-p", none]).map(drop)
}

#[test]
fn what_others_say_of_the_service_and_of_trust_stays_and_nobody_is_outrun() -> Result<()> {
    let scratch = Scratch::new("shared")?;
    let plane = ControlPlane::start_with(scratch.path(), &[&workspace().join("package/crds")])?;
    plane.apply(
        "{apiVersion: v1, kind: Service, metadata: {name: provider-libvirt, namespace: default}, \
         spec: {selector: {app: theirs}, ports: [{port: 443, targetPort: 9443}]}}",
    )?;
    let file = workspace().join("package/webhooks/webhook-config.yaml");
    plane.apply(&fs::read_to_string(&file)?.replace("port: 9443", "port: 443"))?;
    let port = format!("--webhook-port={}", free_port()?);
    let mut provider = Provider::start(&plane.kubeconfig(), &["--webhook-self-signed", &port])?;
    provider.await_ready()?;
    let service = json!({"name": "provider-libvirt", "namespace": "crossplane-system", "port": 443, "path": null});
    let is_told = || {
        let bundle = known(&plane)?.1["data"]["ca.crt"].clone();
        let found = clients(&plane)?;
        ensure!(found == [json!({"service": service, "caBundle": bundle})], "{found:#?}");
        Ok(())
    };
    eventually(PATIENCE, is_told)?;
    let found = plane.client().get(&["service", "provider-libvirt"])?.context("find the Service")?;
    assert_eq!(
        (&found["spec"]["selector"]["app"], &found["spec"]["ports"][0]["port"]),
        (&json!("theirs"), &json!(443))
    );

    // Left to cert-manager, it is cert-manager's.
    let annotation = "cert-manager.io/inject-ca-from";
    plane.kubectl(&["annotate", CONFIG, "provider-libvirt", &format!("{annotation}=a/b")])?;
    let told = format!("has the annotation {annotation}, so whom to trust is left to cert-manager");
    eventually(PATIENCE, || {
        ensure!(provider.log().contains(&told), "{}", provider.log());
        Ok(())
    })?;
    spoil(&plane)?;
    thread::sleep(Duration::from_secs(4));
    assert_eq!(clients(&plane)?.len(), 2, "one entry was spoilt and stays so");
    plane.kubectl(&["annotate", CONFIG, "provider-libvirt", &format!("{annotation}-")])?;
    eventually(PATIENCE, is_told)?;

    // Against somebody who never ceases it writes every two seconds at most.
    let writes = || provider.log().matches("the API server knows the webhook's certificate").count();
    let (before, begun) = (writes(), Instant::now());
    while begun.elapsed() < Duration::from_secs(6) {
        spoil(&plane)?;
    }
    let (count, most) = (writes() - before, begun.elapsed().as_secs() / 2 + 1);
    assert!((1..=most).contains(&u64::try_from(count)?), "{count} writes, and {most} are the most");
    eventually(PATIENCE, is_told)
}

/// The address of this machine that others reach it by.
fn own_address() -> Result<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    // Nothing is sent: connecting only asks for the way, here to an address that is kept for documentation.
    socket.connect(("192.0.2.1", 9)).context("find an address of this machine that is not a loopback one")?;
    Ok(socket.local_addr()?.ip())
}

/// A kubeconfig by which the API server is reached at this address; what comes there is handed on.
fn kubeconfig_at(address: IpAddr, plane: &ControlPlane, scratch: &Scratch) -> Result<PathBuf> {
    let mut config: Value = serde_json::from_str(&fs::read_to_string(plane.kubeconfig())?)?;
    let cluster = &mut config["clusters"][0]["cluster"];
    let server = cluster["server"].as_str().and_then(|url| url.strip_prefix("https://")).context("find it")?.to_owned();
    let listener = TcpListener::bind((address, 0))?;
    *cluster = json!({"server": format!("https://{}", listener.local_addr()?), "insecure-skip-tls-verify": true});
    // It ends with the process of the tests.
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(&server) else { continue };
            let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { continue };
            thread::spawn(move || hand_on(&near, &far));
            thread::spawn(move || hand_on(&far_too, &near_too));
        }
    });
    let path = scratch.path().join("elsewhere.kubeconfig");
    fs::write(&path, config.to_string())?;
    Ok(path)
}

fn hand_on(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
}

#[test]
fn the_service_leads_to_the_address_by_which_the_provider_reaches_the_api_server() -> Result<()> {
    let scratch = Scratch::new("facing")?;
    let plane = ControlPlane::start_with(scratch.path(), &[&workspace().join("package/crds")])?;
    let (address, number) = (own_address()?, free_port()?);
    let kubeconfig = kubeconfig_at(address, &plane, &scratch)?;
    let mut provider = Provider::start(&kubeconfig, &["--webhook-self-signed", &format!("--webhook-port={number}")])?;
    provider.await_ready()?;
    let namespace = prepare(&plane)?;
    plane.kubectl(&["apply", "-f", &workspace().join("package/webhooks/webhook-config.yaml").display().to_string()])?;
    await_refusal(&plane, &namespace).with_context(|| provider.log())?;
    let get = |kind: &str| plane.client().get(&[kind, "provider-libvirt"])?.with_context(|| format!("find the {kind}"));
    let (service, slice) = (get("service")?, get("endpointslice")?);
    assert_eq!(service["spec"]["ports"][0]["port"], number);
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "provider-libvirt");
    assert_eq!(slice["endpoints"][0]["addresses"], json!([address.to_string()]));
    assert_eq!((&slice["ports"][0]["port"], &slice["addressType"]), (&json!(number), &json!("IPv4")));
    assert!(!provider.log().contains("has no endpoints"), "{}", provider.log());
    Ok(())
}
