//! Where the connections to a host begin: a socket of this machine, or a port of the host.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use super::{Address, Transport};

/// How long it may take until a host has taken a connection.
const PATIENCE: Duration = Duration::from_secs(1);

/// One or more places where a connection to a host may begin; the first that opens is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Door {
    /// Sockets of this machine.
    Sockets(Vec<PathBuf>),
    /// A name or address with a port.
    Port(String, u16),
}

impl Door {
    /// The door of a host, for those who only read or for others; `None` where none can be told.
    pub(crate) fn of(address: &Address, read_only: bool) -> Option<Self> {
        let port = |usual| {
            let (name, port) = parts(address.authority())?;
            Some(Self::Port(name.to_owned(), port.unwrap_or(usual)))
        };
        match address.transport() {
            Transport::InProcess => None,
            Transport::Unix => sockets(address, read_only).map(Self::Sockets),
            Transport::Tls => port(16514),
            Transport::Tcp => port(16509),
            // Who listens there is no libvirt, and many a firewall shuts out whoever comes again and again.
            Transport::Ssh => None,
        }
    }

    /// Where to knock, by what its name means now; `None` where the name leads nowhere. To be asked once for many knocks: whoever tells
    /// what names mean is another's server.
    pub(crate) fn places(self) -> Option<Places> {
        Some(match self {
            Self::Sockets(paths) => Places::Sockets(paths),
            Self::Port(name, port) => Places::Ports((name.as_str(), port).to_socket_addrs().ok()?.collect()),
        })
    }
}

/// A door whose name has been looked up.
#[derive(Debug)]
pub(crate) enum Places {
    /// Sockets of this machine.
    Sockets(Vec<PathBuf>),
    /// The addresses of a name.
    Ports(Vec<SocketAddr>),
}

impl Places {
    /// Whether somebody takes a connection; nothing is said over it.
    pub(crate) fn open(&self) -> bool {
        match self {
            Self::Sockets(paths) => paths.iter().any(|path| UnixStream::connect(path).is_ok()),
            Self::Ports(places) => places.iter().any(|place| TcpStream::connect_timeout(place, PATIENCE).is_ok()),
        }
    }
}

/// Where libvirt itself looks for the daemon. That of a session depends on who asks, and of the usual ones on what for.
fn sockets(address: &Address, read_only: bool) -> Option<Vec<PathBuf>> {
    let said = address.uri().split_once("?socket=").map(|(_, path)| path);
    match said {
        // libvirt decodes it.
        Some(path) if path.contains(['%', '&']) => None,
        Some(path) => Some(vec![path.into()]),
        None if address.path() == "/system" => {
            let way = if read_only { "-ro" } else { "" };
            let socket = |daemon| PathBuf::from(format!("/var/run/libvirt/{daemon}-sock{way}"));
            Some(["libvirt", "virtqemud"].map(socket).into())
        }
        None => None,
    }
}

/// The name or address, and the port if one is said.
fn parts(authority: &str) -> Option<(&str, Option<u16>)> {
    let (name, rest) = match authority.strip_prefix('[') {
        Some(inside) => inside.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    Some((name, rest.strip_prefix(':').and_then(|port| port.parse().ok())))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn door(uri: &str) -> Option<Door> {
        Door::of(&Address::parse(uri).unwrap(), false)
    }

    #[test]
    fn the_door_of_a_host_is_where_its_connections_begin() {
        let port = |name: &str, port| Some(Door::Port(name.to_owned(), port));
        let sockets = |paths: &[&str]| Some(Door::Sockets(paths.iter().map(PathBuf::from).collect()));
        let usual = sockets(&["/var/run/libvirt/libvirt-sock", "/var/run/libvirt/virtqemud-sock"]);
        assert_eq!(door("qemu:///system"), usual);
        assert_eq!(door("qemu+unix:///system?socket=/a/b"), sockets(&["/a/b"]));
        assert_eq!(door("qemu+unix:///system?socket=/a%20b"), None);
        let reading = |uri: &str| Door::of(&Address::parse(uri).unwrap(), true);
        let usual = sockets(&["/var/run/libvirt/libvirt-sock-ro", "/var/run/libvirt/virtqemud-sock-ro"]);
        assert_eq!(reading("qemu:///system"), usual);
        assert_eq!(reading("qemu+unix:///system?socket=/a/b"), sockets(&["/a/b"]), "what is said is meant");
        assert_eq!(reading("qemu://one/system"), port("one", 16514));
        assert_eq!((door("qemu:///session"), door("test:///default")), (None, None));
        assert_eq!(door("qemu://one/system"), port("one", 16514));
        assert_eq!(door("qemu+tls://[fd00::1]:5/system"), port("fd00::1", 5));
        assert_eq!(door("qemu+tls://[fd00::1]/system"), port("fd00::1", 16514));
        assert_eq!(door("qemu+tcp://192.0.2.1/system"), port("192.0.2.1", 16509));
        assert_eq!(door("qemu+ssh://root@one:2222/system"), None);
    }

    #[test]
    fn a_door_opens_as_long_as_somebody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = Door::Port("127.0.0.1".to_owned(), listener.local_addr().unwrap().port());
        let places = door.places().unwrap();
        assert!(places.open());
        drop(listener);
        assert!(!places.open());
        assert!(!Door::Sockets(vec!["/nowhere/sock".into()]).places().unwrap().open());
    }

    #[test]
    fn what_a_name_means_is_looked_up_once_for_all_knocks() {
        let of = |name: &str| Door::Port(name.to_owned(), 7).places();
        let Some(Places::Ports(places)) = of("192.0.2.1") else { panic!("it has no places") };
        assert_eq!(places, ["192.0.2.1:7".parse().unwrap()]);
        assert!(of("nowhere.invalid").is_none());
    }
}
