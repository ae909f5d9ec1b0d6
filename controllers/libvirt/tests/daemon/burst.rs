//! A thousand events at once, and events that say what is not so any more.

use std::fmt::Write as _;
use std::fs;

use libvirt::{Call, Claim, Hosts};

use crate::rig::Daemon;
use crate::{SECOND, connect, guest, settings, short, until};

/// Runs these commands of virsh over one connection.
fn script(daemon: &Daemon, commands: &str) {
    let file = daemon.pool().join("commands");
    fs::write(&file, commands).unwrap();
    daemon.run(&format!("virsh -q < {} > /dev/null", file.display()));
}

fn description(daemon: &Daemon, name: &str) -> String {
    let file = daemon.pool().join(format!("{name}.xml"));
    fs::write(&file, guest(name)).unwrap();
    file.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_a_thousand_events_of_one_guest_is_absorbed_and_ends_with_the_truth() {
    let daemon = Daemon::start("burst");
    let hosts = Hosts::new();
    let host = connect(&hosts, &daemon, &settings()).await;
    host.mirror().claim(Claim::Domain("g".into()), "owner");
    let file = description(&daemon, "g");
    let before = host.counters().events();
    let reads = || host.counters().of(Call::DomainDescribe).count;
    let reads_before = reads();
    let rounds = (0..500).fold(String::new(), |text, _| text + &format!("define {file}\nundefine g\n"));
    script(&daemon, &(rounds + &format!("define {file}\n")));
    until("a thousand events came", 60 * SECOND, || host.counters().events() >= before + 1001).await;
    until("the last is read", 60 * SECOND, || host.mirror().domain_by_name("g").is_some()).await;
    let there = short(&host, "g", |connection| Ok(connection.find_domain_by_name("g")?.map(|domain| domain.uuid())));
    let uuid = there.await.unwrap().unwrap().unwrap();
    until("nothing is left to do", 60 * SECOND, || {
        host.mirror().domain_by_name("g").is_some_and(|entry| entry.uuid == uuid && entry.inactive.is_some())
    })
    .await;
    assert_eq!(host.mirror().len(), 1, "none of its former lives is left");
    assert!(reads() - reads_before <= 1001, "each event is read once at most");
    assert_eq!((host.counters().quarantined(), host.counters().reconnects()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_guests_that_come_at_once_and_go_at_once_are_all_seen_and_others_need_not_wait() {
    let daemon = Daemon::start("crowd");
    let hosts = Hosts::new();
    let host = connect(&hosts, &daemon, &settings()).await;
    let (mut come, mut go) = (String::new(), String::new());
    for number in 0..500 {
        let name = format!("g{number}");
        host.mirror().claim(Claim::Domain(name.clone()), &name);
        writeln!(come, "define {}", description(&daemon, &name)).unwrap();
        writeln!(go, "undefine {name}").unwrap();
    }
    let wakes = hosts.wakes();
    script(&daemon, &come);
    until("all are seen", 60 * SECOND, || host.mirror().len() == 500).await;
    // While what they are is read, somebody else's call is answered.
    short(&host, "else", |connection| connection.find_domain_by_name("else").map(|_| ())).await.unwrap();
    let described = |number| {
        let entry = host.mirror().domain_by_name(&format!("g{number}"));
        entry.is_some_and(|entry| entry.inactive.is_some())
    };
    until("all are read", 60 * SECOND, || (0..500).all(described)).await;
    script(&daemon, &go);
    until("all are gone", 60 * SECOND, || host.mirror().is_empty()).await;
    let mut woken: Vec<_> = std::iter::from_fn(|| wakes.try_next()).map(|owner| owner.to_string()).collect();
    woken.sort();
    woken.dedup();
    assert_eq!(woken.len(), 500, "every owner is woken");
    assert_eq!((host.counters().quarantined(), host.counters().reconnects()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_come_twice_or_late_or_of_what_never_was_leave_the_truth_as_it_is() {
    let daemon = Daemon::start("late");
    let hosts = Hosts::new();
    let host = connect(&hosts, &daemon, &settings()).await;
    host.mirror().claim(Claim::Domain("g".into()), "owner");
    let define = || short(&host, "g", |connection| connection.define_domain(&guest("g"), true)?.uuid());
    let first = define().await.unwrap();
    until("it is there", 30 * SECOND, || host.mirror().domain_by_name("g").is_some()).await;
    daemon.run("virsh -q undefine g");
    until("it is gone", 30 * SECOND, || host.mirror().is_empty()).await;
    let second = define().await.unwrap();
    let seen = || host.mirror().domain_by_name("g").filter(|entry| entry.inactive.is_some());
    until("its next life is there", 30 * SECOND, || seen().is_some()).await;
    let before = seen();
    // What an event does is to have its object read: by the UUID of the life before, of this one, and of nobody.
    for _ in 0..100 {
        for uuid in [&first, &second, "00000000-0000-4000-8000-000000000000"] {
            host.mirror().refresh(Claim::Domain(uuid.to_owned()));
        }
    }
    host.mirror().refresh(Claim::Domain("last".into()));
    let calls = || host.counters().total();
    let mut last = 0;
    while last != calls() {
        last = calls();
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(seen(), before);
    assert_eq!(host.mirror().len(), 1);
    // One that was written since is not undone by what was read before.
    short(&host, "g", |connection| connection.find_domain_by_name("g")?.unwrap().undefine(libvirt::Kept::default()))
        .await
        .unwrap();
    host.mirror().refresh(Claim::Domain(second.clone()));
    host.mirror().replace_domain(&second, None);
    until("it is gone for good", 30 * SECOND, || host.mirror().is_empty()).await;
    tokio::time::sleep(SECOND / 2).await;
    assert!(host.mirror().is_empty());
}
