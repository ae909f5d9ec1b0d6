//! libvirt's secrets: values that its drivers need to open something, such as the passphrase of an encrypted volume.
//!
//! Every secret that is made here is *ephemeral* and *private*. Ephemeral: the daemon keeps it in its memory and never writes it down.
//! One that is not lies in clear (base64) in `/etc/libvirt/secrets`, beside the very volume that it opens: whoever carries the host's
//! disks away has both. So it is gone when the daemon restarts, and whoever set it sets it again. Private: libvirt's own drivers read
//! the value, and no client does, so it cannot be had by who may only look (`virsh secret-get-value` is refused).
//!
//! See <https://libvirt.org/formatsecret.html>.

use virt::{secret, sys};

use crate::counters::Call;
use crate::error::absent;
use crate::sys::Owned;
use crate::xml::Element;
use crate::{Connection, Error};

/// A secret found on the host. Knows its UUID without a call.
pub struct Secret<'c> {
    handle: Owned<secret::Secret>,
    connection: &'c Connection,
}

/// What a secret is for. libvirt keeps one for each use.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretUsage {
    /// Opens the encrypted volume at this path: by it libvirt finds the secret when it resizes one.
    Volume(String),
    /// Lets in at an iSCSI target.
    Iscsi(String),
    /// Lets in at a Ceph cluster.
    Ceph(String),
}

impl SecretUsage {
    fn type_(&self) -> sys::virSecretUsageType {
        match self {
            Self::Volume(_) => sys::VIR_SECRET_USAGE_TYPE_VOLUME,
            Self::Iscsi(_) => sys::VIR_SECRET_USAGE_TYPE_ISCSI,
            Self::Ceph(_) => sys::VIR_SECRET_USAGE_TYPE_CEPH,
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Volume(id) | Self::Iscsi(id) | Self::Ceph(id) => id,
        }
    }

    fn element(&self) -> Element {
        let (type_, name) = match self {
            Self::Volume(_) => ("volume", "volume"),
            Self::Iscsi(_) => ("iscsi", "target"),
            Self::Ceph(_) => ("ceph", "name"),
        };
        Element::new("usage").attr("type", type_).child(Element::new(name).text(self.id()))
    }
}

/// The description of a secret that the daemon never writes down and no client can read.
fn describe(uuid: &str, usage: &SecretUsage, description: &str) -> Element {
    Element::new("secret")
        .attr("ephemeral", "yes")
        .attr("private", "yes")
        .child(Element::new("uuid").text(uuid))
        .child(Element::new("description").text(description))
        .child(usage.element())
}

impl Connection {
    fn secret(&self, handle: secret::Secret) -> Secret<'_> {
        Secret { handle: Owned::new(handle), connection: self }
    }

    /// Looks a secret up by UUID.
    pub fn find_secret(&self, uuid: &str) -> Result<Option<Secret<'_>>, Error> {
        let found = self.counted(Call::SecretLookup, |connect| connect.lookup_secret_by_uuid_string(uuid));
        Ok(absent(found)?.map(|handle| self.secret(handle)))
    }

    /// Looks a secret up by what it is for.
    pub fn find_secret_for(&self, usage: &SecretUsage) -> Result<Option<Secret<'_>>, Error> {
        let type_ = i32::try_from(usage.type_()).map_err(|_| Error::other("no such usage of a secret"))?;
        let found = self.counted(Call::SecretLookup, |connect| connect.lookup_secret_by_usage(type_, usage.id()));
        Ok(absent(found)?.map(|handle| self.secret(handle)))
    }

    /// Defines a secret without a value, or describes it anew; a value that it has stays.
    pub fn define_secret(&self, uuid: &str, usage: &SecretUsage, description: &str) -> Result<Secret<'_>, Error> {
        let text = describe(uuid, usage, description)
            .write()
            .map_err(|error| Error::other(format!("cannot write the description of a secret: {error}")))?;
        let handle = self.counted(Call::SecretDefine, |connect| connect.define_secret_xml(&text, 0))?;
        Ok(self.secret(handle))
    }
}

impl Secret<'_> {
    fn counted<T>(
        &self,
        call: Call,
        make: impl FnOnce(&secret::Secret) -> Result<T, virt::error::Error>,
    ) -> Result<T, Error> {
        self.connection.counted(call, |_| make(&self.handle))
    }

    /// The UUID. No call.
    pub fn uuid(&self) -> Result<String, Error> {
        Ok(self.handle.uuid_string()?)
    }

    /// What its maker said of it; empty where that was nothing.
    pub fn description(&self) -> Result<String, Error> {
        let text = self.counted(Call::SecretDescribe, |secret| secret.xml_desc(0))?;
        let description = Element::parse(&text)
            .map_err(|error| Error::other(format!("cannot read the description of a secret: {error}")))?;
        Ok(description.text_at("description").unwrap_or_default().to_owned())
    }

    /// Gives it its value, which is in no error and in no log.
    pub fn set_value(&self, value: &[u8]) -> Result<(), Error> {
        self.counted(Call::SecretSetValue, |secret| secret.set_value(value, 0))
    }

    /// Takes it away with its value.
    pub fn undefine(&self) -> Result<(), Error> {
        self.counted(Call::SecretUndefine, secret::Secret::undefine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_written_down_by_the_host_and_read_by_nobody() {
        let of =
            |usage: SecretUsage| describe("u", &usage, "d").write().unwrap().split_whitespace().collect::<String>();
        let with = |usage: &str| {
            format!(
                "<secretephemeral=\"yes\"private=\"yes\"><uuid>u</uuid><description>d</description>{usage}</secret>"
            )
        };
        assert_eq!(
            of(SecretUsage::Volume("/p/v".to_owned())),
            with("<usagetype=\"volume\"><volume>/p/v</volume></usage>")
        );
        assert_eq!(of(SecretUsage::Iscsi("p".to_owned())), with("<usagetype=\"iscsi\"><target>p</target></usage>"));
        assert_eq!(of(SecretUsage::Ceph("p".to_owned())), with("<usagetype=\"ceph\"><name>p</name></usage>"));
    }
}
