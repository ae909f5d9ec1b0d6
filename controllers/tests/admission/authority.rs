//! The certificate that the provider makes itself: who may trust it, and when there is a new one.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan, Unit, tz::TimeZone};
use provider_libvirt::webhook::{authority::Keys, certificate::Served};

use crate::{
    served::{client_of, serve},
    world::World,
};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn later(now: Timestamp, days: i64) -> Timestamp {
    now.to_zoned(TimeZone::UTC).saturating_add(days.days()).timestamp()
}

/// How many certificates a bundle has.
fn count(keys: &Keys) -> usize {
    keys.bundle.matches("BEGIN CERTIFICATE").count()
}

#[test]
fn a_certificate_is_due_when_it_lacks_a_name_or_has_less_than_three_months() {
    let now = Timestamp::now().round(Unit::Hour).unwrap();
    let called = names(&["a.b.svc", "10.0.0.1", "fd00::1"]);
    let keys = Keys::renew(None, &called, now).unwrap();
    assert!(!keys.is_due(&called, now) && !keys.is_due(&called[..1], now));
    for more in ["c.b.svc", "10.0.0.2", "fd00::2"] {
        assert!(keys.is_due(&[called.clone(), names(&[more])].concat(), now), "{more}");
    }
    assert!(!keys.is_due(&called, later(now, 365 - 90 - 2)) && keys.is_due(&called, later(now, 365 - 90 + 1)));
    let next = Keys::renew(Some(&keys), &called, later(now, 300)).unwrap();
    assert!(!next.is_due(&called, later(now, 300)));
    assert!(next.bundle == keys.bundle && next.authority_key == keys.authority_key, "the same authority");
    assert!(next.certificate != keys.certificate && next.key != keys.key, "another certificate with another key");
}

#[test]
fn an_authority_has_a_successor_before_its_last_year_and_both_are_trusted() {
    let (now, called) = (Timestamp::now(), names(&["a.b.svc"]));
    let first = Keys::renew(None, &called, now).unwrap();
    let late = later(now, 3650 - 399);
    assert!(first.is_due(&called, late));
    let second = Keys::renew(Some(&first), &called, late).unwrap();
    assert!(
        second.authority_key != first.authority_key && second.bundle.ends_with(&first.bundle.replace("\r\n", "\n"))
    );
    assert_eq!((count(&first), count(&second)), (1, 2));
    let third = Keys::renew(Some(&second), &called, later(late, 3650 - 399)).unwrap();
    assert_eq!(count(&third), 2, "the one before and no older ones");
    // What cannot be read counts as none.
    let spoilt = Keys { bundle: "nonsense".to_owned(), ..first };
    assert!(spoilt.is_due(&called, now) && count(&Keys::renew(Some(&spoilt), &called, now).unwrap()) == 1);
}

#[tokio::test]
async fn whoever_trusts_the_bundle_is_served_by_what_either_authority_signed() {
    let (now, called) = (Timestamp::now(), names(&["localhost"]));
    let first = Keys::renew(None, &called, later(now, -3300)).unwrap();
    let old = Keys::renew(Some(&first), &called, later(now, -60)).unwrap();
    let new = Keys::renew(Some(&old), &called, now).unwrap();
    assert!(first.authority_key == old.authority_key && old.authority_key != new.authority_key);
    let served = Arc::new(Served::default());
    let port = serve(&World::new(), served.clone()).await;
    let client = client_of(&new.bundle).pool_max_idle_per_host(0).build().unwrap();
    for keys in [old, new] {
        served.set(keys.certificate.as_bytes(), keys.key.as_bytes()).unwrap();
        let answer = client.get(format!("https://localhost:{port}/")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 404);
    }
}
