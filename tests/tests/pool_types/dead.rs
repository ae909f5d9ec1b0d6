//! A pool whose server is gone, beside others.

use std::{sync::PoisonError, time::Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{PATIENCE, Scenario};

use super::{ANSWERS, hangable, on, pool, volume};

#[test]
fn a_pool_on_a_dead_server_holds_up_no_other_and_comes_back_with_it() -> Result<()> {
    let Some(host) = hangable("a_pool_on_a_dead_server_holds_up_no_other_and_comes_back_with_it")? else {
        return Ok(());
    };
    let _alone = ANSWERS.write().unwrap_or_else(PoisonError::into_inner);
    let scenario = on(host, "dead")?;
    host.run("mkdir -p /srv/far && echo '/srv/far 127.0.0.1(rw,sync,no_root_squash,no_subtree_check)' >>/etc/exports && systemctl start nfs-server && exportfs -ra")?;
    pool(
        &scenario,
        "far",
        "type: Netfs, source: {hosts: [{name: 127.0.0.1}], dir: /srv/far, format: Nfs, protocolVersion: '4'}, target: {path: /srv/far-away}",
    )?;
    pool(&scenario, "near", "target: {path: /srv/near}")?;
    for (name, of) in [("there", "far"), ("here", "near"), ("gone", "near")] {
        volume(&scenario, name, &format!("poolRef: {{name: {of}}}, format: Raw, capacity: 1Mi"))?;
    }
    scenario.await_ready(&["volume/there", "volume/here", "volume/gone"])?;
    host.run("iptables -I INPUT -p tcp --dport 2049 -j DROP; iptables -I INPUT -p tcp --sport 2049 -j DROP")?;
    let outcome = beside_dead(&scenario);
    host.run("iptables -D INPUT -p tcp --dport 2049 -j DROP; iptables -D INPUT -p tcp --sport 2049 -j DROP")?;
    outcome?;
    // What waited goes on by itself.
    volume(&scenario, "later", "poolRef: {name: far}, format: Raw, capacity: 1Mi")?;
    scenario.await_ready(&["volume/there", "volume/later", "volume/here"])?;
    scenario.await_gone(&["volume/gone"])?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

fn beside_dead(scenario: &Scenario<'_>) -> Result<()> {
    // The provider finds out by itself: its own look at the volume hangs.
    scenario.await_object("volume", "there", |object| {
        scenario.namespace().kubectl(&[
            "annotate",
            "--overwrite",
            "volume/there",
            &format!("look={}", object["metadata"]["resourceVersion"]),
        ])?;
        let metrics = scenario.stage().metrics()?;
        let quarantined =
            metrics.iter().any(|(name, value)| name.contains("quarantined") && name.contains("dead") && *value > 0.0);
        ensure!(quarantined, "nothing hangs");
        Ok(())
    })?;
    let begin = Instant::now();
    volume(scenario, "fresh", "poolRef: {name: near}, format: Raw, capacity: 1Mi")?;
    scenario.await_ready(&["volume/fresh"])?;
    scenario.change("volume", "here", &json!({"capacity": "2Mi"}))?;
    scenario.await_object("volume", "here", |object| {
        ensure!(object["status"]["atProvider"]["capacity"] == "2Mi", "not grown");
        Ok(())
    })?;
    println!("made and grown beside a dead pool in {:?}", begin.elapsed());
    // A provider that starts meanwhile cannot have the pools listed, and knows the others by their objects.
    scenario.stage().kill_provider()?;
    scenario.stage().start_provider()?;
    let begin = Instant::now();
    volume(scenario, "anew", "poolRef: {name: near}, format: Raw, capacity: 1Mi")?;
    scenario.await_ready(&["volume/anew"])?;
    println!("made beside a dead pool by a new provider in {:?}", begin.elapsed());
    // Who uses a volume cannot be told while a pool does not answer: it is not deleted then, and says why.
    scenario.delete(&["volume/gone"])?;
    scenario.await_object("volume", "gone", |object| {
        let said = object["status"]["conditions"].to_string();
        ensure!(said.contains(" of the host does not answer, and libvirt would wait for it"), "{said}");
        Ok(())
    })
}
