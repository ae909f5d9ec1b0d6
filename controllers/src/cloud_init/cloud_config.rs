//! What an object says in fields, as the files that cloud-init reads: cloud-config, and network-config of version 2.
//!
//! Source of the words: cloud-init's documentation, module reference and network config version 2.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use apis::cloud_init::{AuthorizedKeys, CloudConfig, GuestInterface, GuestRoute, Nameservers, User, WriteFile};
use data_encoding::BASE64;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What Secrets, `ConfigMaps` and the object itself hold, by the field that names it.
pub type Said = BTreeMap<String, Vec<u8>>;

/// A mapping of YAML, of which what is not set is left out, and lists of nothing, which cloud-init's schema warns of.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn set<T: Serialize>(&mut self, key: &str, value: Option<T>) -> anyhow::Result<()> {
        let Some(value) = value else { return Ok(()) };
        let value = serde_json::to_value(value).with_context(|| key.to_owned())?;
        if value.as_array().is_none_or(|items| !items.is_empty()) {
            self.0.insert(key.to_owned(), value);
        }
        Ok(())
    }
}

/// The cloud-config. `said` holds what all the fields of [`CloudConfig::places`] name.
///
/// # Errors
/// When something that is named cannot be what it should; the error tells nothing of what it is.
pub fn user_data(config: &CloudConfig, said: &Said) -> anyhow::Result<Vec<u8>> {
    let CloudConfig {
        hostname,
        fqdn,
        manage_etc_hosts,
        timezone,
        ssh_password_authentication,
        default_user,
        users,
        package_update,
        package_upgrade,
        packages,
        write_files,
        boot_commands,
        run_commands,
    } = config;
    let mut fields = Fields::default();
    fields.set("hostname", hostname.as_ref())?;
    fields.set("fqdn", fqdn.as_ref())?;
    fields.set("manage_etc_hosts", *manage_etc_hosts)?;
    fields.set("timezone", timezone.as_ref())?;
    fields.set("ssh_pwauth", *ssh_password_authentication)?;
    if users.is_some() || default_user.is_some() {
        // A list of nobody is one, too: the image's own user is not made.
        fields.0.insert("users".to_owned(), Value::Array(all_users(config, said)?));
    }
    fields.set("package_update", *package_update)?;
    fields.set("package_upgrade", *package_upgrade)?;
    fields.set("packages", packages.as_ref())?;
    let files =
        write_files.as_ref().map(|files| files.iter().map(|one| file(one, said)).collect::<Result<Vec<_>, _>>());
    fields.set("write_files", files.transpose()?)?;
    fields.set("bootcmd", boot_commands.as_ref())?;
    fields.set("runcmd", run_commands.as_ref())?;
    Ok(format!("#cloud-config\n{}", yaml(&fields.0)?).into_bytes())
}

/// YAML without folded and indented texts: every text in quotes or plain, so that its bytes are plain to see.
fn yaml(value: &impl Serialize) -> anyhow::Result<String> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(value, options).context("write YAML")
}

fn all_users(config: &CloudConfig, said: &Said) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    if config.default_user == Some(true) {
        all.push(json!("default"));
    }
    for one in config.users.iter().flatten() {
        all.push(user(one, said).with_context(|| format!("users {}", one.name))?);
    }
    Ok(all)
}

fn user(user: &User, said: &Said) -> anyhow::Result<Value> {
    let User { name, gecos, primary_group, groups, shell, sudo, hashed_password_secret_ref, ssh_authorized_keys } =
        user;
    let mut fields = Fields::default();
    fields.set("name", Some(name))?;
    fields.set("gecos", gecos.as_ref())?;
    fields.set("primary_group", primary_group.as_ref())?;
    fields.set("groups", groups.as_ref())?;
    fields.set("shell", shell.as_ref())?;
    match sudo.as_deref() {
        // Its schema knows one rule; its code takes several.
        Some([rule]) => fields.set("sudo", Some(rule))?,
        rules => fields.set("sudo", rules)?,
    }
    if hashed_password_secret_ref.is_some() {
        fields.set("hashed_passwd", Some(password(&at(said, &user.password_field())?)?))?;
        // cloud-init locks the password of whom it makes, also one that is given.
        fields.set("lock_passwd", Some(false))?;
    }
    if let Some(all) = ssh_authorized_keys {
        let mut lines = Vec::new();
        for one in all {
            lines.extend(keys(user, one, said)?);
        }
        fields.set("ssh_authorized_keys", Some(lines))?;
    }
    Ok(Value::Object(fields.0))
}

/// A hash as crypt(5) writes it, of one line; whoever made the Secret may have ended it with a line feed.
fn password(bytes: &[u8]) -> anyhow::Result<String> {
    let text = std::str::from_utf8(bytes).unwrap_or_default().trim_end_matches(['\r', '\n']);
    let is_hash = text.starts_with('$') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    ensure!(
        is_hash,
        "hashedPasswordSecretRef: that is no hash of a password: one begins with $, as openssl passwd -6 makes it"
    );
    Ok(text.to_owned())
}

/// The lines of `authorized_keys` that hold keys.
fn keys(user: &User, keys: &AuthorizedKeys, said: &Said) -> anyhow::Result<Vec<String>> {
    let what = || format!("sshAuthorizedKeys {}", keys.name);
    let bytes = at(said, &user.keys_field(keys))?;
    let text = String::from_utf8(bytes).ok().with_context(what).context("that is no text")?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    let is_private = text.contains("PRIVATE KEY");
    ensure!(!is_private, "{}: that is a private key, which belongs to nobody else; the public one is wanted", what());
    ensure!(!lines.is_empty(), "{}: there is no key in it", what());
    Ok(lines)
}

fn file(file: &WriteFile, said: &Said) -> anyhow::Result<Value> {
    let WriteFile {
        name: _,
        path,
        permissions,
        owner,
        append,
        defer,
        inline: _,
        secret_key_ref: _,
        config_map_key_ref: _,
    } = file;
    let bytes = at(said, &file.field())?;
    let mut fields = Fields::default();
    fields.set("path", Some(path))?;
    fields.set("permissions", permissions.as_ref())?;
    fields.set("owner", owner.as_ref())?;
    fields.set("append", *append)?;
    fields.set("defer", *defer)?;
    match String::from_utf8(bytes) {
        Ok(text) if text.chars().all(|char| !char.is_control() || char == '\n') => fields.set("content", Some(text))?,
        Ok(text) => encoded(&mut fields, text.as_bytes())?,
        Err(bytes) => encoded(&mut fields, bytes.as_bytes())?,
    }
    Ok(Value::Object(fields.0))
}

/// Content that is no plain text.
fn encoded(fields: &mut Fields, bytes: &[u8]) -> anyhow::Result<()> {
    fields.set("encoding", Some("b64"))?;
    fields.set("content", Some(BASE64.encode(bytes)))
}

fn at(said: &Said, field: &str) -> anyhow::Result<Vec<u8>> {
    said.get(field).cloned().with_context(|| format!("{field} was not read"))
}

/// The network-config for these interfaces.
///
/// # Errors
/// When it cannot be written, or an interface has no address.
pub fn network_config(interfaces: &[GuestInterface]) -> anyhow::Result<Vec<u8>> {
    let mut all = Map::new();
    for one in interfaces {
        all.insert(one.name.clone(), interface(one)?);
    }
    Ok(yaml(&json!({"version": 2, "ethernets": all}))?.into_bytes())
}

fn interface(interface: &GuestInterface) -> anyhow::Result<Value> {
    let GuestInterface { name, mac, dhcp4, dhcp6, addresses, routes, nameservers, mtu } = interface;
    let has_addresses = addresses.as_ref().is_some_and(|addresses| !addresses.is_empty());
    let mut fields = Fields::default();
    let mac = mac.as_ref().with_context(|| format!("{name}: its mac is not known"))?;
    fields.set("match", Some(json!({"macaddress": mac.to_ascii_lowercase()})))?;
    // Some guests can set up an interface only by a name that they know it by.
    fields.set("set-name", Some(name))?;
    fields.set("dhcp4", Some(dhcp4.unwrap_or(!has_addresses)))?;
    fields.set("dhcp6", *dhcp6)?;
    fields.set("addresses", addresses.as_ref())?;
    let routes = routes.as_ref().map(|routes| routes.iter().map(route).collect::<Result<Vec<_>, _>>());
    fields.set("routes", routes.transpose()?)?;
    fields.set("nameservers", nameservers.as_ref().map(nameservers_of).transpose()?)?;
    fields.set("mtu", *mtu)?;
    Ok(Value::Object(fields.0))
}

fn route(route: &GuestRoute) -> anyhow::Result<Value> {
    let GuestRoute { name: _, to, via, metric } = route;
    let mut fields = Fields::default();
    fields.set("to", Some(to))?;
    fields.set("via", Some(via))?;
    fields.set("metric", *metric)?;
    Ok(Value::Object(fields.0))
}

fn nameservers_of(nameservers: &Nameservers) -> anyhow::Result<Value> {
    let Nameservers { addresses, search } = nameservers;
    let mut fields = Fields::default();
    fields.set("addresses", addresses.as_ref())?;
    fields.set("search", search.as_ref())?;
    Ok(Value::Object(fields.0))
}
