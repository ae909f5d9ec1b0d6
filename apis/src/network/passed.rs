//! Cards of the host whose functions guests get as their own.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Functions of cards of the host, which the config's policy.hostDevices must allow: each guest on the network gets one as its own, and gives it back when it stops. Needs an IOMMU, and for physicalFunction a card that knows SR-IOV.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.physicalFunction) != has(self.addresses)").message("hostDevices: set one of physicalFunction and addresses"))]
pub struct NetworkHostDevices {
    /// The host's name of a card, such as eno1: all virtual functions that it has. Another one counts from the network's next start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub physical_function: Option<String>,
    /// The PCI addresses of the functions, as lspci -D shows them: 0000:01:10.0. Another list counts from the network's next start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(
        length(min = 1, max = 256),
        inner(length(max = 12), regex(pattern = r"^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$"))
    )]
    pub addresses: Option<Vec<String>>,
}

/// Functions of cards of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkHostDevicesObservation {
    /// The card whose virtual functions they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical_function: Option<String>,
    /// The functions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}
