//! Certificates are exchanged while they are served, and the day is told on which one expired.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use apis::Domain;
use jiff::Timestamp;
use provider_libvirt::webhook::{certificate::Served, router::path};
use reqwest::tls::Version;

use crate::{
    served::{Authority, client, mount, serve},
    world::World,
};

#[test]
fn a_certificate_is_told_to_have_expired_with_the_date() {
    let (authority, folder, served) = (Authority::new(), tempfile::tempdir().unwrap(), Served::default());
    let (folder, now): (_, Timestamp) = (folder.path(), "2026-06-01T00:00:00Z".parse().unwrap());
    served.look(folder);
    let none = served.fault(now).unwrap();
    let missing = format!("the webhook has no certificate: read {}/tls.crt: No such file", folder.display());
    assert!(none.starts_with(&missing), "{none}");
    let (certificate, key) = authority.sign(2026);
    mount(folder, "1", &certificate, &key);
    served.look(folder);
    assert_eq!(served.fault(now).unwrap(), "the webhook's certificate expired at 2026-01-01T00:00:00Z");
    assert_eq!(served.fault("2025-12-31T23:59:59Z".parse().unwrap()), None);
    let (certificate, key) = authority.sign(2027);
    mount(folder, "2", &certificate, &key);
    served.look(folder);
    assert_eq!(served.fault(now), None);
}

#[test]
fn what_cannot_be_used_leaves_the_certificate_that_is_served() {
    let (authority, folder, served) = (Authority::new(), tempfile::tempdir().unwrap(), Served::default());
    let (folder, now): (_, Timestamp) = (folder.path(), "2026-06-01T00:00:00Z".parse().unwrap());
    let (certificate, key) = authority.sign(2100);
    mount(folder, "good", &certificate, &key);
    served.look(folder);
    let (other, other_key) = authority.sign(2026);
    let bad = [
        ("mixed", other.as_str(), key.as_str()),
        ("mixed-2", certificate.as_str(), other_key.as_str()),
        ("empty", "", ""),
        ("no-key", other.as_str(), "nonsense"),
        ("cut", &other[..other.len() / 2], other_key.as_str()),
    ];
    for (what, certificate, key) in bad {
        mount(folder, what, certificate, key);
        served.look(folder);
        assert_eq!(served.fault(now), None, "{what}");
    }
    mount(folder, "old", &other, &other_key);
    served.look(folder);
    assert!(served.fault(now).is_some(), "the next good one is taken");
}

/// Asks in a loop, on kept connections and on new ones, until told to stop; the answers that did not come.
async fn hammer(client: reqwest::Client, url: String, stop: Arc<AtomicBool>, asked: Arc<AtomicUsize>) -> Vec<String> {
    let mut failed = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match client.post(&url).header("content-type", "application/json").body("{}").send().await {
            Ok(answer) if answer.status().as_u16() == 400 => {}
            Ok(answer) => failed.push(answer.status().to_string()),
            Err(error) => failed.push(format!("{error:?}")),
        }
        asked.fetch_add(1, Ordering::Relaxed);
    }
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_exchanged_under_load_without_a_lost_request() {
    let (authority, folder, served) = (Authority::new(), tempfile::tempdir().unwrap(), Arc::new(Served::default()));
    let (certificate, key) = authority.sign(2100);
    mount(folder.path(), "0", &certificate, &key);
    served.look(folder.path());
    let port = serve(&World::new(), served.clone()).await;
    let url = format!("https://localhost:{port}{}", path::<Domain>());
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients = [client(&authority), client(&authority).pool_max_idle_per_host(0)];
    let tasks =
        clients.map(|client| tokio::spawn(hammer(client.build().unwrap(), url.clone(), stop.clone(), asked.clone())));
    for version in 1..=20 {
        let (certificate, key) = authority.sign(2100);
        mount(folder.path(), &version.to_string(), &certificate, &key);
        served.look(folder.path());
        let before = asked.load(Ordering::Relaxed);
        while asked.load(Ordering::Relaxed) < before + 10 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        assert_eq!(task.await.unwrap(), Vec::<String>::new());
    }
    // Whoever trusts only another authority is served from the moment its certificate is there.
    let other = Authority::new();
    let (certificate, key) = other.sign(2100);
    mount(folder.path(), "other", &certificate, &key);
    served.look(folder.path());
    assert!(client(&authority).build().unwrap().post(&url).send().await.is_err());
    assert_eq!(client(&other).build().unwrap().post(&url).send().await.unwrap().status().as_u16(), 415);
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_nothing_older_or_plain() {
    let (authority, served) = (Authority::new(), Arc::new(Served::default()));
    let (certificate, key) = authority.sign(2100);
    served.set(certificate.as_bytes(), key.as_bytes()).unwrap();
    let port = serve(&World::new(), served).await;
    let url = |scheme: &str| format!("{scheme}://localhost:{port}/");
    for version in [Version::TLS_1_2, Version::TLS_1_3] {
        let client = client(&authority).tls_version_min(version).tls_version_max(version).build().unwrap();
        assert_eq!(client.get(url("https")).send().await.unwrap().status().as_u16(), 404, "{version:?}");
    }
    let plain = client(&authority).build().unwrap().get(url("http")).send().await;
    assert!(plain.is_err(), "{plain:?}");
    // An older one is refused with TLS's alert "protocol version", which no client of ours can ask for.
    let signatures = [0, 10, 0, 13, 0, 6, 0, 4, 4, 3, 4, 1];
    let hello =
        [22, 3, 1, 0, 57, 1, 0, 0, 53, 3, 2].into_iter().chain([0; 32]).chain([0, 0, 2, 0, 47, 1, 0]).chain(signatures);
    let alert = tokio::task::spawn_blocking(move || {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(&hello.collect::<Vec<u8>>()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map(|_| answer)
    });
    let alert = alert.await.unwrap().unwrap();
    assert_eq!((alert[0], alert[5], alert[6]), (21, 2, 70), "{alert:?}");
}
