//! The cloud-config that most guests need, in fields.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::Place;
use crate::reference::KeyReference;

/// What most guests are told, in fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloudConfig {
    /// The host name, without domain. The meta-data says it, too. Default: from the object's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    pub hostname: Option<String>,
    /// The host name with its domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub fqdn: Option<String>,
    /// Whether cloud-init keeps the host's own names in /etc/hosts. Default: the image's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manage_etc_hosts: Option<bool>,
    /// The time zone, such as Europe/Berlin. Default: the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$"))]
    pub timezone: Option<String>,
    /// Whether ssh takes passwords. Default: the image's choice, which is mostly no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_password_authentication: Option<bool>,
    /// Whether the image's own user, such as debian or ubuntu, is made. Default: where there are no users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_user: Option<bool>,
    /// Who may log in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 16))]
    pub users: Option<Vec<User>>,
    /// Whether the list of packages is fetched anew at the first boot. Default: the image's choice; it is anyway where packages are installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_update: Option<bool>,
    /// Whether all packages are brought up to date at the first boot. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_upgrade: Option<bool>,
    /// Packages to install at the first boot, by the names that the guest's distribution gives them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub packages: Option<Vec<String>>,
    /// Files to write, before users are made and anything is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 16))]
    pub write_files: Option<Vec<WriteFile>>,
    /// Commands for a shell, run early at every boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 4096)))]
    pub boot_commands: Option<Vec<String>>,
    /// Commands for a shell, run in this order at the end of the first boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 4096)))]
    pub run_commands: Option<Vec<String>>,
}

impl CloudConfig {
    /// Where what it does not say itself comes from, and its texts that may be many lines, by field.
    pub fn places(&self) -> Vec<(String, Place<'_>)> {
        let mut places = Vec::new();
        for user in self.users.iter().flatten() {
            if let Some(reference) = &user.hashed_password_secret_ref {
                places.push((user.password_field(), Place::Secret(reference)));
            }
            let keys = user.ssh_authorized_keys.iter().flatten();
            places.extend(keys.map(|keys| (user.keys_field(keys), keys.place())));
        }
        places.extend(self.write_files.iter().flatten().map(|file| (file.field(), file.place())));
        places
    }
}

/// Somebody who may log in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The name to log in by.
    #[schemars(length(max = 32), regex(pattern = r"^[a-z_][-a-z0-9_.]*$"))]
    pub name: String,
    /// Who it is, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = r"^[^:,\n]*$"))]
    pub gecos: Option<String>,
    /// The group of its files. Default: one of its own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[a-z_][-a-z0-9_.]*$"))]
    pub primary_group: Option<String>,
    /// Further groups that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 16), inner(length(max = 32), regex(pattern = r"^[a-z_][-a-z0-9_.]*$")))]
    pub groups: Option<Vec<String>>,
    /// What it gets when it logs in, such as /bin/bash. Default: the guest's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = r"^/[^:\n]*$"))]
    pub shell: Option<String>,
    /// What it may do as others, in the words of sudoers without its name: ALL=(ALL) NOPASSWD:ALL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 1024)))]
    pub sudo: Option<Vec<String>>,
    /// A hash of its password, as mkpasswd or openssl passwd make it. With one it may log in by password on the consoles, and by ssh where sshPasswordAuthentication says so. Default: no password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hashed_password_secret_ref: Option<KeyReference>,
    /// The public keys that it may log in by.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 16))]
    pub ssh_authorized_keys: Option<Vec<AuthorizedKeys>>,
}

impl User {
    /// The field of its password.
    pub fn password_field(&self) -> String {
        format!("users {}: hashedPasswordSecretRef", self.name)
    }

    /// The field of keys of it.
    pub fn keys_field(&self, keys: &AuthorizedKeys) -> String {
        format!("users {}: sshAuthorizedKeys {}", self.name, keys.name)
    }
}

/// Public keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.inline), has(self.secretKeyRef), has(self.configMapKeyRef)].filter(x, x).size() == 1").message("set exactly one of inline, secretKeyRef and configMapKeyRef")
)]
pub struct AuthorizedKeys {
    /// What tells them from the others.
    #[schemars(length(max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    pub name: String,
    /// A key, or several, a line each as in authorized_keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65_536))]
    pub inline: Option<String>,
    /// A key of a Secret of this namespace that holds such lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyReference>,
    /// A key of a ConfigMap of this namespace that holds such lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyReference>,
}

impl AuthorizedKeys {
    /// Where they come from.
    pub fn place(&self) -> Place<'_> {
        let Self { name: _, inline, secret_key_ref, config_map_key_ref } = self;
        Place::of(inline.as_ref(), secret_key_ref.as_ref(), config_map_key_ref.as_ref())
    }
}

/// A file in the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.inline), has(self.secretKeyRef), has(self.configMapKeyRef)].filter(x, x).size() == 1").message("set exactly one of inline, secretKeyRef and configMapKeyRef")
)]
pub struct WriteFile {
    /// What tells it from the others.
    #[schemars(length(max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    pub name: String,
    /// Where it is in the guest.
    #[schemars(length(max = 1024), regex(pattern = r"^/"))]
    pub path: String,
    /// Its mode, in octal digits: "0600". Default "0644".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5), regex(pattern = r"^0?[0-7]{3,4}$"))]
    pub permissions: Option<String>,
    /// Whose it is, as user:group. Default root:root. One of users needs defer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65), regex(pattern = r"^[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)?$"))]
    pub owner: Option<String>,
    /// Whether it is added to the end of what is there. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub append: Option<bool>,
    /// Whether it is written at the end of the boot, when users and packages are there. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defer: Option<bool>,
    /// What is in it. Passwords and keys belong in a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 524_288))]
    pub inline: Option<String>,
    /// A key of a Secret of this namespace, byte for byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyReference>,
    /// A key of a ConfigMap of this namespace, byte for byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyReference>,
}

impl WriteFile {
    /// The field of its content.
    pub fn field(&self) -> String {
        format!("writeFiles {}", self.name)
    }

    /// Where its content comes from.
    pub fn place(&self) -> Place<'_> {
        let Self {
            name: _,
            path: _,
            permissions: _,
            owner: _,
            append: _,
            defer: _,
            inline,
            secret_key_ref,
            config_map_key_ref,
        } = self;
        Place::of(inline.as_ref(), secret_key_ref.as_ref(), config_map_key_ref.as_ref())
    }
}
