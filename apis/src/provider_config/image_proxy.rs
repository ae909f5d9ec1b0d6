//! The proxy that images are fetched by.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A proxy that asks image servers in the provider's place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageProxy {
    /// Where it is: http://proxy.example.org:3128, or with https, where the proxy itself is spoken to by TLS and shows a certificate of one of the system's authorities. Without a port it is 80, or 443 with https. It may be at any address. No credentials in it.
    #[schemars(
        length(min = 8, max = 270),
        regex(pattern = r"^https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?/?$")
    )]
    pub url: String,
    /// The Secret with what lets in at the proxy: username and password, or token. A change of it counts from the next image on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_ref: Option<ProxySecret>,
    /// Image servers that are asked directly: a name with all names below it (example.org), the names below it alone (.example.org), an address or a range of addresses (10.0.0.0/8) for URLs that say addresses, each but ranges with a port or without, or * for all. localhost and loopback addresses always are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 64),
        inner(
            length(min = 1, max = 262),
            regex(
                pattern = r"^(\*|(\*?\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?(:[0-9]{1,5})?|[0-9.]+/[0-9]{1,2}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(/[0-9]{1,3})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?)$"
            )
        )
    )]
    pub no_proxy: Option<Vec<String>>,
}

/// A Secret that a config names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxySecret {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The namespace of the Secret, which a ClusterProviderConfig needs. A ProviderConfig reads Secrets of its own namespace only and leaves this out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}
