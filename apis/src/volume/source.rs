//! Where the first content of a volume comes from.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CaBundle, SecretReference};
use crate::reference::{KeyReference, Reference, Selector};

/// Where the first content comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.http), has(self.volumeRef) || has(self.volumeSelector), has(self.secretKeyRef), has(self.configMapKeyRef)].filter(x, x).size() == 1").message("set exactly one of http, volumeRef (or volumeSelector), secretKeyRef and configMapKeyRef"),
    validation = Rule::new("!(has(self.volumeRef) && has(self.volumeRef.policy) && has(self.volumeRef.policy.resolution) && self.volumeRef.policy.resolution == 'Optional') && !(has(self.volumeSelector) && has(self.volumeSelector.policy) && has(self.volumeSelector.policy.resolution) && self.volumeSelector.policy.resolution == 'Optional')").message("a volume to copy cannot be Optional: without it there is no content")
)]
pub struct Source {
    /// An image on a web server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSource>,
    /// The Volume that this one becomes a copy of, made by the host: also into another pool or format, and with all that the Volume stands on. It must be Ready and not encrypted, and no running guest may write to it while it is copied, because the copy would be torn. It is not deleted while it is needed; once the copy is made the two have nothing to do with each other any more, and this field counts no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_ref: Option<Reference>,
    /// The Volume to copy, by labels or owner. volumeRef goes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_selector: Option<Selector>,
    /// A key of a Secret of this namespace whose value is the content, byte for byte, from the volume's beginning on; a Raw file with a larger capacity is zeros behind it, and a device has what was there. Read until the volume is made: what the Secret says later does not come into it, because the guest may have written there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyReference>,
    /// The same from a ConfigMap of this namespace: of its data, or of its binaryData for what is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyReference>,
}

/// An image on a web server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.checksum) || has(self.checksumUrl)").message("set checksum or checksumUrl: an image of which nobody says what it is could be any"),
    validation = Rule::new("!(has(self.checksum) && has(self.checksumUrl))").message("set checksum or checksumUrl, not both")
)]
pub struct HttpSource {
    /// The address of the image, http or https, without credentials in it. What breaks off on the way, also by a restart of the provider, is asked for from there on, where the server shows by ETag or Last-Modified that the file is still the same.
    #[schemars(length(min = 8, max = 2048), regex(pattern = r"^https?://[^@\s]+$"))]
    pub url: String,
    /// The checksum of the file as the server sends it, packed if it is packed: 64 hexadecimal digits of SHA-256, 128 of SHA-512 or 32 of MD5, with `sha256:`, `sha512:` or `md5:` before them or without. MD5 tells damage, not forgery. An image that does not match is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 135),
        regex(pattern = r"^((sha256:)?[0-9a-fA-F]{64}|(sha512:)?[0-9a-fA-F]{128}|(md5:)?[0-9a-fA-F]{32})$")
    )]
    pub checksum: Option<String>,
    /// The address of a list of checksums that names the image by the last part of its url, as SHA256SUMS, SHA512SUMS and CHECKSUM files do; also a file with a single checksum and no name. Of several the strongest counts. It is read at each attempt, before the image, and is no larger than 1 MiB. Whoever can change it can change the image: take it by https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 2048), regex(pattern = r"^https?://[^@\s]+$"))]
    pub checksum_url: Option<String>,
    /// The Secret of this namespace that lets in at the server: its key `token` is sent as a bearer token, or its keys `username` and `password` by basic authentication. They go to the scheme, host and port of url and to no other, also not after a redirect; by http anyone on the way can read them. Read until the image is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_ref: Option<SecretReference>,
    /// The Secret of this namespace whose keys are names of headers, at most 16, and whose values are theirs, such as an API key that the server wants. They are sent with each request to the scheme, host and port of url and to no other, also not after a redirect. Those that a request lives by, as Host and Range, are refused. Read until the image is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_ref: Option<SecretReference>,
    /// Certificate authorities that the servers of the image, of its list of checksums and of redirects may be vouched for by, beside those of the system. Read until the image is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    /// What becomes of a file packed by gzip, xz or zstd, which is told by its content and not by its name. Auto, the default, unpacks it on the way: into a Raw volume no more than its capacity where one is said, and never more than the pool has room for; an image that is larger is refused and removed. Never leaves it packed, for a Raw volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decompression: Option<Decompression>,
}

/// What becomes of a packed file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum Decompression {
    /// It is unpacked on the way.
    #[default]
    Auto,
    /// It stays as it is.
    Never,
}
