//! Encrypted volumes: their passphrase is on the host before they are, and goes with them.
//!
//! libvirt keeps the passphrase in its memory only (see [`libvirt::Secret`]), so each pass sees whether it is there still, and gives it
//! again after a restart of the daemon. libvirt cannot give a volume another passphrase. So that a Secret which was changed is not taken
//! for the one that opens the volume, an annotation holds a print of it.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, anyhow, ensure};
use apis::{
    Managed, Volume,
    reference::KeyReference,
    volume::{Encryption, EncryptionFormat, EncryptionObservation},
};
use kube::Client;
use libvirt::{Connection, SecretUsage, xml::Element};
use managed::{
    external::{Annotations, Pass, Refusal},
    plan::only_observes,
};

use super::{Found, Referents, Volumes};
use crate::{
    cluster::Cluster,
    host_secrets::{Given, HostSecret, Value, uuid},
    ownership::Key,
    sources::{First, Source, SourceKind, Sources},
    storage,
};

/// The print of the passphrase that the volume was made with.
const PRINT: &str = "libvirt.nourspeed.io/passphrase";

/// The longest passphrase, in bytes: that of cryptsetup's prompt, by which people may open the volume too.
const MAX: usize = 512;

/// How often a volume is made again whose making failed by chance.
const TRIES: u8 = 15;

/// The passphrase of a volume.
#[derive(Clone)]
pub(super) struct Passphrase {
    value: Value,
    secret: String,
}

/// The Secrets with the passphrases of volumes: each is watched for as long as its Volume is there.
pub(super) struct Passphrases {
    /// By the namespace and name of the object that reads.
    sources: Sources<(String, String)>,
    key: Key,
    given: Given,
}

impl Passphrases {
    /// Nothing is read yet. With `key` prints are made.
    pub(super) fn new(client: Client, cluster: &Arc<Cluster>, key: Key) -> Self {
        let readers = cluster.clone();
        let wake = move |(namespace, name): &(String, String)| readers.volumes.wake(namespace, name);
        Self { sources: Sources::new(client, First::Awaited, wake), key, given: Given::default() }
    }

    /// The object reads nothing any more.
    pub(super) fn forget(&self, object: &Volume) {
        self.sources.forget(&reader(object));
        self.given.forget(object.uid());
    }

    /// The passphrase of an object's volume, if it has one. One that others made and that is only looked at needs none; guests that use
    /// the object's own need it, whatever may be done with it by now.
    pub(super) async fn read(&self, object: &Volume) -> anyhow::Result<Option<Passphrase>> {
        let whole = object.effective();
        let is_looked_at = only_observes(object) && storage::records(object, &self.key).is_empty();
        let said = whole.parameters().encryption.as_ref().filter(|_| !is_looked_at);
        let (namespace, _) = reader(object);
        let source = |of: &KeyReference| Source { kind: SourceKind::Secret, namespace, name: of.name.clone() };
        let Some(Encryption { format: _, passphrase_ref }) = said else {
            self.sources.hold(&reader(object), BTreeSet::new());
            return Ok(None);
        };
        let source = source(passphrase_ref);
        self.sources.hold(&reader(object), BTreeSet::from([source.clone()]));
        let field = || "encryption.passphraseRef".to_owned();
        let value = self.sources.required(&source, &passphrase_ref.key).await.with_context(field)?;
        check(&value).with_context(|| format!("Secret {}, key {}", source.name, passphrase_ref.key))?;
        Ok(Some(Passphrase { value: Value::new(value), secret: source.name }))
    }
}

/// A print of the passphrase of the volume that an object has at a path of a host, behind one of all these: another object's, as a backup
/// brings along, is told from one of another passphrase.
fn print_of(key: &Key, place: [&str; 3], passphrase: &Passphrase) -> String {
    let (place, text) = (place.join(" "), String::from_utf8_lossy(passphrase.value.reveal()));
    let print = key.print_of(&format!("passphrase of volume {place}"), &text);
    format!("{}.{print}", key.print_of("place of a passphrase", &place))
}

/// Whether two prints are of the same object's volume at the same place.
fn is_of_the_same(one: &str, other: &str) -> bool {
    let place = |print: &str| print.split_once('.').map(|(place, _)| place.to_owned());
    place(one).is_some() && place(one) == place(other)
}

/// What LUKS and QEMU take for a passphrase. No error tells anything of it.
fn check(value: &[u8]) -> anyhow::Result<()> {
    ensure!(!value.is_empty(), "the passphrase is empty");
    ensure!(value.len() <= MAX, "the passphrase is longer than {MAX} bytes");
    ensure!(std::str::from_utf8(value).is_ok(), "the passphrase is no UTF-8, which QEMU wants");
    // QEMU would take what is before it for the whole.
    ensure!(!value.contains(&0), "the passphrase has a zero byte in it");
    Ok(())
}

impl Volumes {
    /// Has the passphrase of a volume that is there on its host.
    pub(super) async fn keep_passphrase(
        &self,
        pass: &Pass<'_, Self>,
        referents: &Referents,
        found: &Found,
    ) -> anyhow::Result<()> {
        let path = found.entry.description().and_then(|description| description.text_at("target/path"));
        let (Some(passphrase), Some(path)) = (&referents.passphrase, path) else { return Ok(()) };
        if !self.is_ours(pass, found.pool_uuid.as_deref()) || self.is_another(pass, path, passphrase) {
            return Ok(());
        }
        self.give(pass, path, passphrase).await
    }

    /// The description of an encrypted volume that is to be made now, whose passphrase is on its host from now on; of another volume, as it is.
    pub(super) async fn with_passphrase(
        &self,
        pass: &Pass<'_, Self>,
        referents: &Referents,
        element: Element,
    ) -> anyhow::Result<Element> {
        let Some(passphrase) = &referents.passphrase else { return Ok(element) };
        let path = path_to_be(pass, &referents.pool).await?;
        self.give(pass, &path, passphrase).await?;
        Ok(encrypted(element, &secret_of(&path)))
    }

    async fn give(&self, pass: &Pass<'_, Self>, path: &str, passphrase: &Passphrase) -> anyhow::Result<()> {
        let secret = HostSecret::new(pass.object, SecretUsage::Volume(path.to_owned()));
        self.passphrases.given.give(pass.host, pass.object.uid(), secret, &passphrase.value).await
    }

    /// Whether the Secret has another passphrase by now than the volume was made with.
    fn is_another(&self, pass: &Pass<'_, Self>, path: &str, passphrase: &Passphrase) -> bool {
        let print = self.print(pass, path, passphrase);
        pass.object.annotation(PRINT).is_some_and(|seen| seen != print && is_of_the_same(seen, &print))
    }

    fn print(&self, pass: &Pass<'_, Self>, path: &str, passphrase: &Passphrase) -> String {
        print_of(&self.key, [pass.object.uid(), pass.host.uuid(), path], passphrase)
    }

    /// Why a volume cannot be used as its object says it is encrypted.
    pub(super) fn another_encryption(
        &self,
        pass: &Pass<'_, Self>,
        referents: &Referents,
        description: &Element,
    ) -> Option<Refusal> {
        let passphrase = referents.passphrase.as_ref()?;
        if observed(description).is_none() {
            let message = "the volume is not encrypted, and its object says that it is; nothing is written over it. Bring back the volume that was, or create a new Volume without encryption for what is there";
            return Some(Refusal { reason: "NotEncrypted", message: message.to_owned() });
        }
        let path = description.text_at("target/path")?;
        self.is_another(pass, path, passphrase).then(|| Refusal {
            reason: "PassphraseChanged",
            message: format!(
                "the passphrase in Secret {} is another than the one that the volume was made with, which stays: libvirt cannot give a volume another passphrase. Put the old one back; if it is the one that opens the volume, take the annotation {PRINT} away",
                passphrase.secret
            ),
        })
    }

    /// What is written down of the passphrase before a volume is made with it.
    pub(super) async fn print_to_be(
        &self,
        pass: &Pass<'_, Self>,
        referents: &Referents,
    ) -> anyhow::Result<Annotations> {
        let Some(passphrase) = &referents.passphrase else { return Ok(Annotations::new()) };
        let path = path_to_be(pass, &referents.pool).await?;
        Ok(vec![(PRINT, Some(self.print(pass, &path, passphrase)))])
    }

    /// What is written down of the passphrase of a volume that was taken over with it.
    pub(super) fn print_seen(
        &self,
        pass: &Pass<'_, Self>,
        referents: Option<&Referents>,
        found: &Found,
    ) -> Annotations {
        let passphrase = referents.and_then(|referents| referents.passphrase.as_ref());
        let path = found.entry.description().and_then(|description| description.text_at("target/path"));
        let (Some(passphrase), Some(path)) = (passphrase, path) else { return Annotations::new() };
        let print = self.print(pass, path, passphrase);
        let is_known = pass.object.annotation(PRINT).is_some_and(|seen| is_of_the_same(seen, &print));
        if is_known || !self.is_ours(pass, found.pool_uuid.as_deref()) {
            return Annotations::new();
        }
        vec![(PRINT, Some(print))]
    }

    /// Takes the passphrase away from the host of a volume that is gone.
    pub(super) async fn take_passphrase(&self, pass: &Pass<'_, Self>) -> anyhow::Result<()> {
        if pass.object.effective().parameters().encryption.is_none() {
            return Ok(());
        }
        for record in storage::records(pass.object, &self.key) {
            let (object, name) = (pass.object.clone(), record.volume);
            let take = move |host: &Connection| {
                let Some(pool) = host.find_pool(&record.pool)? else { return Ok(()) };
                let Some(path) = path_in(&pool, &name)? else { return Ok(()) };
                HostSecret::new(&object, SecretUsage::Volume(path)).remove(host)
            };
            pass.host.short(pass.object.uid(), take).await.context("take the passphrase from the host")?;
        }
        Ok(())
    }
}

/// Where an object's volume will be, which its pool tells.
async fn path_to_be(pass: &Pass<'_, Volumes>, pool: &str) -> anyhow::Result<String> {
    let (of, name) = (pool.to_owned(), pass.object.external_name().to_owned());
    let look = move |host: &Connection| host.find_pool_by_name(&of)?.map(|pool| path_in(&pool, &name)).transpose();
    let path = pass.host.short(pool, look).await.context("look up pool")?;
    let path = path.with_context(|| format!("there is no pool {pool} on the host"))?;
    path.ok_or_else(|| anyhow!("pool {pool} is in no folder of the host, so no volume in it can be encrypted"))
}

/// Where a volume of this name is, once it is in the pool.
fn path_in(pool: &libvirt::Pool<'_>, name: &str) -> Result<Option<String>, libvirt::Error> {
    let description = Element::parse(&pool.describe(false)?)
        .map_err(|error| libvirt::Error::other(format!("cannot read the pool's description: {error}")))?;
    Ok(description.text_at("target/path").map(|folder| format!("{}/{name}", folder.trim_end_matches('/'))))
}

/// The UUID of the secret that opens the volume at this path.
pub(crate) fn secret_of(path: &str) -> String {
    uuid(&SecretUsage::Volume(path.to_owned()))
}

/// Whether an object's volume is encrypted.
pub(crate) fn is_encrypted(object: &Volume) -> bool {
    object.effective().parameters().encryption.is_some()
}

/// How a volume's first bytes say that it is encrypted.
pub(super) fn observed(description: &Element) -> Option<EncryptionObservation> {
    let is_luks = description.attr_at("target/encryption@format") == Some("luks");
    is_luks.then_some(EncryptionObservation { format: EncryptionFormat::Luks })
}

/// The description of a volume, encrypted with what the secret of this UUID holds.
pub fn encrypted(mut description: Element, secret: &str) -> Element {
    let passphrase = Element::new("secret").attr("type", "passphrase").attr("uuid", secret);
    let encryption = Element::new("encryption").attr("format", "luks").child(passphrase);
    description
        .elements_mut()
        .filter(|child| child.name == "target")
        .for_each(|target| target.push(encryption.clone()));
    description
}

/// Makes an encrypted volume again where QEMU could not tell how fast the host is. It tries that out for the count of rounds by which a
/// passphrase is hashed, and before 9.1 it fails by chance on a busy host: 3 of 5 times where that was tried.
pub(super) fn patiently<T>(mut make: impl FnMut() -> Result<T, libvirt::Error>) -> Result<T, libvirt::Error> {
    let by_chance = |error: &libvirt::Error| error.message().contains("Unable to get accurate CPU usage");
    for _ in 0..TRIES {
        match make() {
            Err(error) if by_chance(&error) => {}
            made => return made,
        }
    }
    make()
}

/// An object, as those who read are told apart.
fn reader(object: &Volume) -> (String, String) {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    (text(&object.metadata.namespace), text(&object.metadata.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_print_of_another_passphrase_is_told_from_that_of_another_object_host_or_path() {
        let key = Key::new(&[1; 32]).unwrap();
        let of = |place, word: &str| {
            let passphrase = Passphrase { value: Value::new(word.as_bytes().to_vec()), secret: "s".to_owned() };
            print_of(&key, place, &passphrase)
        };
        let print = of(["u", "h", "/p/a"], "word");
        assert_eq!(print, of(["u", "h", "/p/a"], "word"));
        let other = of(["u", "h", "/p/a"], "other");
        assert!(print != other && is_of_the_same(&print, &other));
        for place in [["v", "h", "/p/a"], ["u", "i", "/p/a"], ["u", "h", "/p/b"]] {
            let copied = of(place, "word");
            assert!(!is_of_the_same(&print, &copied), "{place:?}");
            assert_ne!(print.split_once('.').unwrap().1, copied.split_once('.').unwrap().1, "{place:?}");
        }
        assert!(!is_of_the_same("an old one", "an old one"));
    }

    #[test]
    fn a_passphrase_that_would_be_cut_or_refused_is_refused_without_being_told() {
        let of = |value: &[u8]| check(value).map_err(|error| error.to_string());
        assert_eq!(of("wörd with a line break\n".as_bytes()), Ok(()));
        assert_eq!(of(&[b'x'; MAX]), Ok(()));
        let sentence = |text: &str| Err(format!("the passphrase {text}"));
        assert_eq!(of(b""), sentence("is empty"));
        assert_eq!(of(&[b'x'; MAX + 1]), sentence("is longer than 512 bytes"));
        assert_eq!(of(&[0xff]), sentence("is no UTF-8, which QEMU wants"));
        assert_eq!(of(b"a\0b"), sentence("has a zero byte in it"));
    }
}
