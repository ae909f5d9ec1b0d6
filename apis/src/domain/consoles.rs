//! The consoles of a virtual machine.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{quantity::ItemName, reference::KeyReference};

/// A serial console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.tcp) == (has(self.type) && self.type == 'Tcp')").message("tcp and type Tcp need each other"),
    validation = Rule::new("!has(self.log) || !has(self.type) || self.type != 'File'").message("log is not for type File, which is a log already")
)]
pub struct Console {
    /// The name of the console in this list; its alias on the host.
    pub name: ItemName,
    /// Pty: for virsh console. File: what the guest prints goes to a file on the host, which the status names. Tcp: for whoever connects. Default Pty.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ConsoleType>,
    /// Where a console of type Tcp listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpConsole>,
    /// Whether the host keeps what the guest prints in a file, which the status names. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<bool>,
}

/// What a serial console is on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum ConsoleType {
    /// A pseudo-terminal.
    #[default]
    Pty,
    /// A file.
    File,
    /// A TCP port.
    Tcp,
}

/// Where a serial console listens. Nobody is asked who they are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpConsole {
    /// The address of the host. Default 127.0.0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 45), regex(pattern = r"^[0-9a-fA-F.:]+$"))]
    pub listen: Option<String>,
    /// The port. A guest whose port is taken does not start.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Raw: as it is. Telnet: for telnet, which then sends each character by itself. Default Raw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<TcpProtocol>,
}

/// What is spoken on the port of a serial console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum TcpProtocol {
    /// What the guest says.
    #[default]
    Raw,
    /// The same in telnet.
    Telnet,
}

/// A channel between a program in the guest and one on the host, by a port of virtio-serial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.target) || (has(self.type) && self.type == 'SpiceVmc')").message("a channel of type Unix needs target"),
    validation = Rule::new("!has(self.target) || self.target != 'org.qemu.guest_agent.0'").message("the guest agent's channel is guestAgent: true")
)]
pub struct Channel {
    /// The name of the channel in this list; its alias on the host.
    pub name: ItemName,
    /// Unix: a socket on the host, whose path the status tells while the guest runs. SpiceVmc: what viewers and SPICE's agent in the guest tell each other, which needs graphics of type Spice. Default Unix.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ChannelType>,
    /// The name by which the guest finds it: `/dev/virtio-ports/<target>` on Linux. Default com.redhat.spice.0 for type SpiceVmc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 36), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
    pub target: Option<String>,
}

/// What a channel is on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum ChannelType {
    /// A socket.
    #[default]
    Unix,
    /// SPICE's own.
    SpiceVmc,
}

/// A graphical console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Graphics {
    /// The protocol: Vnc or Spice, one console of each at most.
    #[serde(rename = "type")]
    pub type_: GraphicsType,
    /// The address of the host that it listens on. Default 127.0.0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 45), regex(pattern = r"^[0-9a-fA-F.:]+$"))]
    pub listen: Option<String>,
    /// The TCP port that it listens on. Another one counts from the next boot on. Default: the first that is free, from 5900 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 5900, max = 65535))]
    pub port: Option<i32>,
    /// The password that viewers are asked for, in a Secret of the same namespace: 1 to 8 printable ASCII characters for Vnc, which knows no longer ones, and 60 at most for Spice. A changed Secret is told to the running guest; whether there is a password at all changes with its next boot. It is also in the connection Secret, as password, for the first graphical console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<KeyReference>,
}

/// Protocols of graphical consoles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum GraphicsType {
    /// VNC.
    Vnc,
    /// SPICE.
    Spice,
}
