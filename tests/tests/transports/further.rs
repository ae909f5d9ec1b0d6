//! Ways that fewer hosts are reached by: an account beside the certificate, an IPv6 address, and an image on its way by SSH.

use tests::skip;

use super::{
    mistakes::{ACCOUNT, certificates, mistake, tell},
    *,
};

#[test]
fn a_host_of_tls_that_wants_an_account_besides_lets_in_who_has_both() -> Result<()> {
    let scenario = STAGE.scenario("besides")?;
    let far = Far::start_asking("besides", "sasl")?;
    let ((user, password), uri, own) = (Far::LOGIN, far.tls_uri(), far.pki.client("provider")?);
    let keys = |login: &[(&'static str, &str)]| {
        let login = login.iter().map(|(key, value)| (*key, (*value).to_owned()));
        certificates(&far.pki.authority, &own.certificate, &own.key).into_iter().chain(login).collect::<Vec<_>>()
    };
    let refused = format!("authentication failed: …; {ACCOUNT}");
    let mistakes = [
        keys(&[]),
        keys(&[("username", user), ("password", "wrong")]),
        keys(&[("username", "stranger"), ("password", password)]),
    ];
    tell(&scenario, "besides", mistakes.map(|keys| mistake(&uri, keys, "AuthFailed", &refused)).into())?;

    let both = keys(&[("username", user), ("password", password)]);
    let both: Vec<(&str, &str)> = both.iter().map(|(key, value)| (*key, value.as_str())).collect();
    scenario.apply(&(config("besides", &uri, &both, &json!({})) + &guest("besides", "besides")))?;
    scenario.await_ready(&["domain/besides"])?;
    await_config(&scenario, "besides", ("True", "Available", ""))?;
    assert_eq!(far.host.virsh(&["domstate", "besides"])?.trim(), "running");
    ensure!(!scenario.stage().log().contains(password), "what lets in is in the log");
    scenario.delete_all()?;
    scenario.await_all_gone(tests::PATIENCE)
}

#[test]
fn a_guest_is_made_over_every_transport_by_an_ipv6_address() -> Result<()> {
    let scenario = STAGE.scenario("six")?;
    with_far(|far| {
        let Ok([tls, tcp, ssh]) = far.by_ipv6() else {
            skip("hosts by an IPv6 address", "this machine has no IPv6 loopback address");
            return Ok(());
        };
        let ((user, password), own) = (Far::LOGIN, far.pki.client("provider")?);
        let key = far.key("good")?;
        let known = far.known_hosts("host")?.replace("[127.0.0.1]:", "[::1]:");
        let known = known.replace(&format!(":{} ", far.ssh.port()), &format!(":{} ", ssh.port()));
        let at =
            |scheme: &str, user: &str, link: &tests::Link| format!("{scheme}://{user}[::1]:{}/system", link.port());
        let keys = [("ca.crt", far.pki.authority.as_str()), ("tls.crt", &own.certificate), ("tls.key", &own.key)];
        let ways = [
            ("tls", at("qemu+tls", "", &tls), keys.to_vec()),
            ("tcp", at("qemu+tcp", "", &tcp), vec![("username", user), ("password", password)]),
            ("ssh", at("qemu+ssh", "root@", &ssh), vec![("ssh-privatekey", &key), ("known_hosts", &known)]),
            ("libssh", at("qemu+libssh", "root@", &ssh), vec![("ssh-privatekey", &key), ("known_hosts", &known)]),
        ];
        let name = |way: &str| format!("six-{way}");
        for (way, uri, keys) in &ways {
            scenario.apply(&(config(&name(way), uri, keys, &json!({})) + &guest(&name(way), &name(way))))?;
        }
        for (way, uri, _) in &ways {
            scenario.await_ready(&[&format!("domain/{}", name(way))]).with_context(|| uri.clone())?;
            await_config(&scenario, &name(way), ("True", "Available", ""))?;
            assert_eq!(far.host.virsh(&["domstate", &name(way)])?.trim(), "running", "{way}");
        }
        for (line, way) in [(&tls, "tls"), (&tcp, "tcp"), (&ssh, "ssh")] {
            ensure!(line.opened() > 0, "nobody came by the line of {way}");
        }
        scenario.delete_all()?;
        scenario.await_all_gone(tests::PATIENCE)
    })
}

#[test]
fn an_image_is_written_over_ssh_whole_and_guests_are_made_meanwhile() -> Result<()> {
    let scenario = STAGE.scenario("written")?;
    with_far(|far| {
        let (file, folder) = (far.host.path("by-ssh"), far.host.path("written").display().to_string());
        let bytes: Vec<u8> = (0_u32..2 << 20).flat_map(u32::to_le_bytes).collect();
        fs::write(&file, &bytes)?;
        let image = scenario.stage().image(&file, Manners::Slow(2 << 20))?;
        let (key, known) = (far.key("good")?, far.known_hosts("host")?);
        let keys = [("ssh-privatekey", key.as_str()), ("known_hosts", known.as_str())];
        let policy = json!({"policy": {"imageHosts": ["127.0.0.1"]}});
        scenario.apply(&config("written", &far.ssh_uri("qemu+ssh", "root"), &keys, &policy))?;
        let pool = manifest("Pool", "written", &format!("type: Dir, target: {{path: {folder}}}"));
        let volume = manifest("Volume", "written", &format!("poolRef: {{name: written}}, format: Raw, {image}"));
        scenario.apply(&on("written", &(pool + &volume)))?;
        scenario.await_object("volume", "written", |volume| {
            let (importing, ..) = condition(volume, "Importing")?;
            ensure!(importing == "True", "{importing}");
            Ok(())
        })?;
        scenario.apply(&guest("written", "meanwhile"))?;
        scenario.await_ready(&["domain/meanwhile", "volume/written"])?;
        ensure!(fs::read(format!("{folder}/written"))? == bytes, "other bytes are on the host");
        scenario.delete_all()?;
        scenario.await_all_gone(tests::PATIENCE)
    })
}
