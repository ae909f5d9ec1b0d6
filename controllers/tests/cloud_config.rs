//! What an object says in fields, as the files that cloud-init reads.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use apis::cloud_init::{CloudConfig, GuestInterface};
use provider_libvirt::cloud_init::cloud_config::{Said, network_config, user_data};
use serde_json::{Value, json};

fn config(value: Value) -> CloudConfig {
    serde_json::from_value(value).unwrap()
}

fn said(table: &[(&str, &[u8])]) -> Said {
    table.iter().map(|(field, content)| ((*field).to_owned(), content.to_vec())).collect()
}

fn rendered(value: Value, table: &[(&str, &[u8])]) -> String {
    String::from_utf8(user_data(&config(value), &said(table)).unwrap()).unwrap()
}

#[test]
fn every_field_is_in_the_cloud_config_in_its_words() {
    let all = json!({
        "hostname": "web", "fqdn": "web.example.org", "manageEtcHosts": true, "timezone": "Europe/Berlin",
        "sshPasswordAuthentication": false, "defaultUser": true, "packageUpdate": true, "packageUpgrade": false,
        "packages": ["nginx", "curl"], "bootCommands": ["echo boot"], "runCommands": ["echo 'a: b' # c", "true"],
        "users": [{
            "name": "ada", "gecos": "Ada L.", "primaryGroup": "staff", "groups": ["sudo", "adm"], "shell": "/bin/bash",
            "sudo": ["ALL=(ALL) NOPASSWD:ALL"], "hashedPasswordSecretRef": {"name": "s", "key": "k"},
            "sshAuthorizedKeys": [{"name": "laptop", "inline": "x"}, {"name": "phone", "inline": "x"}],
        }],
        "writeFiles": [
            {"name": "motd", "path": "/etc/motd", "permissions": "0600", "owner": "ada:staff", "append": true, "defer": true, "inline": "x"},
            {"name": "raw", "path": "/raw", "inline": "x"},
        ],
    });
    let table: [(&str, &[u8]); 5] = [
        ("users ada: hashedPasswordSecretRef", b"$6$salt$hash\n"),
        ("users ada: sshAuthorizedKeys laptop", b"# mine\n\nssh-ed25519 AAAA ada@laptop\r\nssh-rsa BBBB\n"),
        ("users ada: sshAuthorizedKeys phone", b"ssh-ed25519 CCCC"),
        ("writeFiles motd", b"it's \"quoted\"\n  EOF\n"),
        ("writeFiles raw", b"\x00\xff"),
    ];
    let text = rendered(all, &table);
    let body = text.strip_prefix("#cloud-config\n").unwrap();
    let wanted = json!({
        "hostname": "web", "fqdn": "web.example.org", "manage_etc_hosts": true, "timezone": "Europe/Berlin",
        "ssh_pwauth": false, "package_update": true, "package_upgrade": false, "packages": ["nginx", "curl"],
        "bootcmd": ["echo boot"], "runcmd": ["echo 'a: b' # c", "true"],
        "users": ["default", {
            "name": "ada", "gecos": "Ada L.", "primary_group": "staff", "groups": ["sudo", "adm"], "shell": "/bin/bash",
            "sudo": "ALL=(ALL) NOPASSWD:ALL", "hashed_passwd": "$6$salt$hash", "lock_passwd": false,
            "ssh_authorized_keys": ["ssh-ed25519 AAAA ada@laptop", "ssh-rsa BBBB", "ssh-ed25519 CCCC"],
        }],
        "write_files": [
            {"path": "/etc/motd", "permissions": "0600", "owner": "ada:staff", "append": true, "defer": true, "content": "it's \"quoted\"\n  EOF\n"},
            {"path": "/raw", "encoding": "b64", "content": "AP8="},
        ],
    });
    assert_eq!(serde_saphyr::from_str::<Value>(body).unwrap(), wanted);
    // A mode is a text to cloud-init, and YAML 1.1 would read digits as a number.
    assert!(body.contains("permissions: \"0600\""), "{body}");
    assert_eq!(rendered(json!({"packages": [], "writeFiles": [], "runCommands": []}), &[]), "#cloud-config\n{}\n");
}

#[test]
fn texts_stay_texts_and_keep_every_character() {
    let texts = vec![
        "no",
        "null",
        "1e3",
        "0o17",
        "012",
        "12:30",
        "2001-01-01",
        "~",
        "- a",
        "a: b",
        "a #b",
        "'",
        "\"",
        "\\",
        "&a",
        "*a",
        "!x",
        "%y",
        "@z",
        "`",
        "|",
        ">",
        "{a}",
        "[a]",
        " lead",
        "trail ",
        "a\nb\n",
        "\n",
        "tab\tbed",
        "grüße 🦀",
        "{{ v }}",
        "=",
        "<<",
    ];
    let text = rendered(json!({"runCommands": texts}), &[]);
    let back: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(back, json!({"runcmd": texts}));
    let long = "x y ".repeat(200);
    let text = rendered(json!({"runCommands": [long]}), &[]);
    assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), json!({"runcmd": [long]}));
}

#[test]
fn users_are_listed_where_the_object_says_something_of_them() {
    let users = |value: Value| -> Value {
        let text = rendered(value, &[]);
        serde_saphyr::from_str::<Value>(&text).unwrap()["users"].clone()
    };
    assert_eq!(users(json!({})), Value::Null);
    assert_eq!(users(json!({"defaultUser": false})), json!([]));
    assert_eq!(users(json!({"defaultUser": true})), json!(["default"]));
    assert_eq!(users(json!({"users": [{"name": "a", "groups": [], "sudo": []}]})), json!([{"name": "a"}]));
    assert_eq!(
        users(json!({"users": [{"name": "a", "sudo": ["x", "y"]}]})),
        json!([{"name": "a", "sudo": ["x", "y"]}])
    );
}

#[test]
fn what_is_no_password_or_key_is_refused_without_a_word_of_it() {
    let refusal = |user: Value, field: &str, content: &[u8]| {
        let config = config(json!({"users": [user]}));
        format!("{:#}", user_data(&config, &said(&[(field, content)])).unwrap_err())
    };
    let plain = json!({"name": "a", "hashedPasswordSecretRef": {"name": "s", "key": "k"}});
    for content in [&b"hunter2"[..], b"", b"$6$a\nb", b"\xff", b"$6$a:b"] {
        assert_eq!(
            refusal(plain.clone(), "users a: hashedPasswordSecretRef", content),
            "users a: hashedPasswordSecretRef: that is no hash of a password: one begins with $, as openssl passwd -6 makes it"
        );
    }
    let keys = json!({"name": "a", "sshAuthorizedKeys": [{"name": "k", "inline": "x"}]});
    let key = |content: &[u8]| refusal(keys.clone(), "users a: sshAuthorizedKeys k", content);
    assert_eq!(key(b"# none\n"), "users a: sshAuthorizedKeys k: there is no key in it");
    assert_eq!(
        key(b"-----BEGIN OPENSSH PRIVATE KEY-----\n"),
        "users a: sshAuthorizedKeys k: that is a private key, which belongs to nobody else; the public one is wanted"
    );
}

#[test]
fn interfaces_are_a_network_config_of_version_2() {
    let interfaces: Vec<GuestInterface> = serde_json::from_value(json!([
        {
            "name": "lan", "mac": "52:54:00:AB:cd:01", "addresses": ["192.0.2.10/24", "2001:db8::10/64"], "mtu": 1400,
            "routes": [{"name": "out", "to": "0.0.0.0/0", "via": "192.0.2.1", "metric": 100}, {"name": "six", "to": "::/0", "via": "2001:db8::1"}],
            "nameservers": {"addresses": ["192.0.2.53"], "search": ["example.org"]},
        },
        {"name": "san", "mac": "52:54:00:ab:cd:02", "dhcp6": true},
        {"name": "off", "mac": "52:54:00:ab:cd:03", "dhcp4": false},
    ]))
    .unwrap();
    let text = String::from_utf8(network_config(&interfaces).unwrap()).unwrap();
    let wanted = json!({"version": 2, "ethernets": {
        "lan": {
            "match": {"macaddress": "52:54:00:ab:cd:01"}, "set-name": "lan", "dhcp4": false, "mtu": 1400,
            "addresses": ["192.0.2.10/24", "2001:db8::10/64"],
            "routes": [{"to": "0.0.0.0/0", "via": "192.0.2.1", "metric": 100}, {"to": "::/0", "via": "2001:db8::1"}],
            "nameservers": {"addresses": ["192.0.2.53"], "search": ["example.org"]},
        },
        "san": {"match": {"macaddress": "52:54:00:ab:cd:02"}, "set-name": "san", "dhcp4": true, "dhcp6": true},
        "off": {"match": {"macaddress": "52:54:00:ab:cd:03"}, "set-name": "off", "dhcp4": false},
    }});
    assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), wanted);
}
