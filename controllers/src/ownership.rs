//! The signed record that makes a volume ours (design §6).
//!
//! libvirt keeps no mark on a volume, so the mark is an annotation of the object that stands for it. Annotations are copied by
//! backup tools and can be written by tenants: only a record that we signed, and that names this very object and volume, counts.
//!
//! ```text
//! Record ─sign(key)─► "v2.<hmac>.<json>" ─► annotation ─► verify(text, key) ─► Record ─► == the object at hand?
//! ```
//! A record never expires, and an old one can be put back. So it says when it was signed: of two objects with a record of one volume the
//! younger record owns.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What comes before the signature: the version of the record's form. The first one did not say when it was signed.
const VERSION: &str = "v2";
const TIMELESS: &str = "v1";
/// Mixed into every signature, so that a signature made with this key for another purpose is none of a record.
const PURPOSE: &[u8] = b"provider-libvirt ownership record v1\0";
/// Far above any real record: names, host and pool are at most a few hundred bytes each.
const TEXT_MAX: usize = 16 * 1024;

/// The secret that signs records. It has no `Debug`, and never leaves this file.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// The shortest key that is taken, in bytes: that of the hash's output (RFC 2104, section 3).
    pub const MIN_LEN: usize = 32;

    /// The key made of these bytes. `None` when they are fewer than [`Key::MIN_LEN`]: an empty Secret must not sign anything.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < Self::MIN_LEN {
            return None;
        }
        Hmac::new_from_slice(bytes).ok().map(Self)
    }

    /// A name for something secret: equal for equal content, and of no use to one who guesses at it without the key.
    pub fn name_of(&self, digest: &str) -> String {
        let mut mac = self.0.clone();
        mac.update(b"provider-libvirt seed name v1\0");
        mac.update(digest.as_bytes());
        HEXLOWER.encode(&mac.finalize().into_bytes()[..8])
    }

    /// A print of a password, by which a change is noticed: equal for the same password of the same owner, and of no use to one who
    /// guesses at it without the key.
    pub fn print_of(&self, owner: &str, password: &str) -> String {
        let mut mac = self.0.clone();
        mac.update(b"provider-libvirt password print v1\0");
        mac.update(owner.as_bytes());
        mac.update(&[0]);
        mac.update(password.as_bytes());
        HEXLOWER.encode(&mac.finalize().into_bytes()[..16])
    }

    fn mac(&self, fields: &str) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(PURPOSE);
        mac.update(fields.as_bytes());
        mac
    }
}

/// Which object owns which volume, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The UID of the Kubernetes object.
    pub uid: String,
    /// The UUID of the libvirt host.
    pub host: String,
    /// The UUID of the storage pool.
    pub pool: String,
    /// The name of the volume in the pool.
    pub volume: String,
    /// When it was first signed, in milliseconds since 1970; 0 where it does not say.
    pub at: i64,
}

impl Record {
    /// The record as one line of text for an annotation, with its signature.
    pub fn sign(&self, key: &Key) -> String {
        let Self { uid, host, pool, volume, at } = self;
        // A JSON array keeps the fields apart whatever characters they hold, and has no line breaks of its own.
        let fields = serde_json::json!([uid, host, pool, volume, at]).to_string();
        format!("{VERSION}.{}.{fields}", HEXLOWER.encode(&key.mac(&fields).finalize().into_bytes()))
    }

    /// The record in this text, when it was signed with this key. The signature is compared in constant time, before anything is parsed.
    pub fn verify(text: &str, key: &Key) -> Option<Self> {
        if text.len() > TEXT_MAX {
            return None;
        }
        let (version, rest) = text.split_once('.')?;
        let (signature, fields) = rest.split_once('.')?;
        key.mac(fields).verify_slice(&HEXLOWER.decode(signature.as_bytes()).ok()?).ok()?;
        let (uid, host, pool, volume, at) = match version {
            VERSION => serde_json::from_str(fields).ok()?,
            TIMELESS => {
                let (uid, host, pool, volume) = serde_json::from_str(fields).ok()?;
                (uid, host, pool, volume, 0)
            }
            _ => return None,
        };
        Some(Self { uid, host, pool, volume, at })
    }

    /// Whether two records are of one volume.
    pub fn is_of_the_same(&self, other: &Self) -> bool {
        (&self.host, &self.pool, &self.volume) == (&other.host, &other.pool, &other.volume)
    }

    /// Whether the record is of this object, host, pool and volume. A record copied to another object is not: its UID differs.
    pub fn is_of(&self, uid: &str, host: &str, pool: &str, volume: &str) -> bool {
        (self.uid.as_str(), self.host.as_str(), self.pool.as_str(), self.volume.as_str()) == (uid, host, pool, volume)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::new(&[byte; 32]).unwrap()
    }

    fn record() -> Record {
        Record {
            uid: "0b6a3c1e-4a52-4a0e-9d3c-0f7a3f0b6a3c".into(),
            host: "host-uuid".into(),
            pool: "pool-uuid".into(),
            volume: "web-root.qcow2".into(),
            at: 1_767_225_600_000,
        }
    }

    fn of(fields: [&str; 4]) -> Record {
        let [uid, host, pool, volume] = fields.map(str::to_owned);
        Record { uid, host, pool, volume, at: 7 }
    }

    #[test]
    fn a_signed_record_is_verified_whatever_its_names_hold() {
        let cases = [
            record(),
            of(["", "", "", ""]),
            of(["a.b", "v1.", "../../etc/passwd", "two\nlines\r\"quoted\"\\ \u{0} ünï\u{1f680}\u{2028}"]),
            of(["[", "\",\"", "]", "'"]),
        ];
        for record in cases {
            let text = record.sign(&key(1));
            assert_eq!(Record::verify(&text, &key(1)), Some(record));
            assert!(!text.contains(['\n', '\r', '\0']), "{text:?}");
        }
    }

    #[test]
    fn the_text_stays_what_it_was_for_annotations_that_exist() {
        let timeless = "v1.c548b2b0550259e0c1a8b954dc4f274c8165b87c4aea6aeccab6467f0a21e3b3.[\"0b6a3c1e-4a52-4a0e-9d3c-0f7a3f0b6a3c\",\"host-uuid\",\"pool-uuid\",\"web-root.qcow2\"]";
        assert_eq!(Record::verify(timeless, &key(1)), Some(Record { at: 0, ..record() }));
        let text = "v2.19c2e1b870924bd6ab7498b7ed9cd7cb2685d1e57b2a93ea72d562234decc116.[\"0b6a3c1e-4a52-4a0e-9d3c-0f7a3f0b6a3c\",\"host-uuid\",\"pool-uuid\",\"web-root.qcow2\",1767225600000]";
        assert_eq!(record().sign(&key(1)), text);
    }

    #[test]
    fn fields_that_read_alike_when_joined_are_signed_differently() {
        let texts = [
            of(["a", "b", "c", "d"]),
            of(["ab", "", "c", "d"]),
            of(["a.b", "", "c", "d"]),
            of(["a\",\"b", "", "c", "d"]),
        ]
        .map(|record| record.sign(&key(1)));
        for (at, text) in texts.iter().enumerate() {
            assert!(!texts[..at].contains(text), "{text}");
        }
    }

    #[test]
    fn a_record_signed_with_another_key_is_none() {
        assert_eq!(Record::verify(&record().sign(&key(1)), &key(2)), None);
    }

    #[test]
    fn a_forged_field_is_none() {
        let text = record().sign(&key(1));
        for (from, to) in [
            ("host-uuid", "host-uuie"),
            ("\",\"host", "\", \"host"),
            ("v2.", "v1."),
            ("v2.", "v3."),
            ("1767225600000", "1767225600001"),
            ("web", "\\u0077eb"),
        ] {
            let forged = text.replacen(from, to, 1);
            assert_ne!(forged, text);
            assert_eq!(Record::verify(&forged, &key(1)), None, "{forged}");
        }
    }

    #[test]
    fn swapped_fields_are_none() {
        let Record { uid, host, pool, volume, at } = record();
        let text = record().sign(&key(1));
        let (head, _) = text.split_once('[').unwrap();
        let swapped = format!("{head}[\"{uid}\",\"{pool}\",\"{host}\",\"{volume}\",{at}]");
        assert_eq!(Record::verify(&swapped, &key(1)), None);
    }

    #[test]
    fn every_truncation_is_none() {
        let text = record().sign(&key(1));
        for end in 0..text.len() {
            assert_eq!(Record::verify(&text[..end], &key(1)), None, "cut at {end}");
        }
    }

    #[test]
    fn hostile_text_is_none() {
        let text = record().sign(&key(1));
        let (version_and_mac, fields) = text.split_at(text.find('[').unwrap());
        let cases = [
            String::new(),
            "v2".into(),
            "v2..".into(),
            "v2..[]".into(),
            format!("v2.{}.[]", "0".repeat(64)),
            format!("v2.{}.{fields}", "zz".repeat(32)),
            format!("v2.é.{fields}"),
            format!("{text} "),
            format!(" {text}"),
            format!("{text}\n"),
            format!("v2.{}", version_and_mac.trim_start_matches("v2.").to_uppercase() + fields),
            "v1.".to_owned() + &"0".repeat(TEXT_MAX),
        ];
        for case in cases {
            assert_eq!(Record::verify(&case, &key(1)), None, "{case}");
        }
    }

    #[test]
    fn signed_text_that_is_no_record_is_none() {
        for fields in ["[]", "[\"a\",\"b\",\"c\"]", "[\"a\",\"b\",\"c\",\"d\",\"e\"]", "[1,2,3,4]", "{}", ""] {
            let text = format!("v2.{}.{fields}", HEXLOWER.encode(&key(1).mac(fields).finalize().into_bytes()));
            assert_eq!(Record::verify(&text, &key(1)), None, "{fields}");
        }
    }

    #[test]
    fn a_record_copied_to_another_object_host_pool_or_volume_is_not_of_it() {
        let Record { uid, host, pool, volume, at: _ } = &record();
        assert!(record().is_of(uid, host, pool, volume));
        assert!(!record().is_of("another", host, pool, volume));
        assert!(!record().is_of(uid, "another", pool, volume));
        assert!(!record().is_of(uid, host, "another", volume));
        assert!(!record().is_of(uid, host, pool, "another"));
    }

    #[test]
    fn a_short_key_is_refused() {
        assert!(Key::new(b"").is_none());
        assert!(Key::new(&[1; 31]).is_none());
        assert!(Key::new(&[1; 32]).is_some());
    }
}
