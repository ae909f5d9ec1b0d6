//! What the connection Secret of an object says, for each kind. Made only where the object names a Secret.

use apis::{
    CloudInit, Domain, Managed, Network, Pool, Volume,
    cloud_init::CloudInitObservation,
    domain::{DomainObservation, GraphicsObservation},
    network::NetworkObservation,
    pool::PoolObservation,
    volume::VolumeObservation,
};
use managed::external::Details;

/// `uuid`, and the `uri` of the host. While the guest runs, also `addresses` with commas between them, the first of them as `endpoint`,
/// and the first graphical console as `graphics`. Where that asks for one, its `password`.
pub(crate) fn domain(object: &Domain, (uri, password): (&str, Option<&str>), seen: &DomainObservation) -> Details {
    let addresses: Vec<&str> = seen.addresses.iter().map(|address| address.ip.as_str()).collect();
    details(object, || {
        [
            ("uuid", seen.id.clone()),
            ("uri", Some(public(uri))),
            ("addresses", Some(addresses.join(",")).filter(|all| !all.is_empty())),
            ("endpoint", addresses.first().map(|first| (*first).to_owned())),
            ("graphics", seen.graphics.first().and_then(graphics)),
            ("password", password.map(str::to_owned)),
        ]
    })
}

/// `path`, `pool` and `name` on the host.
pub(crate) fn volume(object: &Volume, seen: &VolumeObservation) -> Details {
    let name = seen.path.as_ref().map(|_| object.external_name().to_owned());
    details(object, || [("path", seen.path.clone()), ("pool", seen.pool.clone()), ("name", name)])
}

/// `name` and `bridge` on the host.
pub(crate) fn network(object: &Network, seen: &NetworkObservation) -> Details {
    let name = seen.id.as_ref().map(|_| object.external_name().to_owned());
    details(object, || [("name", name), ("bridge", seen.bridge.clone())])
}

/// The `path` of the directory on the host.
pub(crate) fn pool(object: &Pool, seen: &PoolObservation) -> Details {
    details(object, || [("path", seen.path.clone())])
}

/// The `path` of the seed on the host.
pub(crate) fn cloud_init(object: &CloudInit, seen: &CloudInitObservation) -> Details {
    details(object, || [("path", seen.path.clone())])
}

/// What is known of it, if the object names a Secret.
fn details<K: Managed, const N: usize>(
    object: &K,
    make: impl FnOnce() -> [(&'static str, Option<String>); N],
) -> Details {
    if object.resource().write_connection_secret_to_ref.is_none() {
        return Details::default();
    }
    let known = make().into_iter().filter_map(|(key, value)| Some((key, value?.into_bytes())));
    Details(known.collect())
}

/// Where a graphical console listens; nothing while the guest is off.
fn graphics(
    GraphicsObservation { type_, listen: _, host, port: _, host_port }: &GraphicsObservation,
) -> Option<String> {
    let (host, port) = (host.as_ref()?, host_port.as_ref()?);
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    Some(format!("{}://{host}:{port}", type_.to_lowercase()))
}

/// A URI without what is only for who connects by it: no user, no password, and of its parameters the socket alone.
fn public(uri: &str) -> String {
    let (whole, query) = uri.split_once('?').unwrap_or((uri, ""));
    let (scheme, rest) = whole.split_once("://").unwrap_or(("", whole));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let socket = query.split('&').find(|parameter| parameter.starts_with("socket="));
    format!("{scheme}://{host}{path}{}", socket.map(|socket| format!("?{socket}")).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_uri_is_shown_without_credentials() {
        let table = [
            ("qemu:///system", "qemu:///system"),
            ("qemu+unix:///system?socket=/run/a", "qemu+unix:///system?socket=/run/a"),
            (
                "qemu+ssh://root:word@host.example:22/system?keyfile=/k&socket=/s&no_verify=1",
                "qemu+ssh://host.example:22/system?socket=/s",
            ),
            ("qemu+tls://a@b@host/system?pkipath=/secret", "qemu+tls://host/system"),
            ("qemu+tcp://host", "qemu+tcp://host"),
        ];
        for (uri, shown) in table {
            assert_eq!(public(uri), shown);
        }
    }

    fn guest(to: &Value) -> Domain {
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Domain", "metadata": {"name": "g", "namespace": "n"},
            "spec": {"forProvider": {"memory": "1Gi"}, "writeConnectionSecretToRef": to},
        }))
        .unwrap()
    }

    fn text(details: &Details) -> Value {
        details.0.iter().map(|(key, value)| ((*key).to_owned(), json!(String::from_utf8_lossy(value)))).collect()
    }

    #[test]
    fn a_guest_tells_how_to_reach_it_if_somebody_wants_to_know() {
        let running: DomainObservation = serde_json::from_value(json!({
            "id": "u",
            "addresses": [{"ip": "10.0.0.2", "mac": "a", "source": "Lease"}, {"ip": "fd00::2", "mac": "b", "source": "Lease"}],
            "graphics": [{"type": "Vnc", "host": "::1", "hostPort": 5900}, {"type": "spice", "host": "0.0.0.0", "hostPort": 5901}],
        }))
        .unwrap();
        let uri = "qemu+ssh://root@host/system";
        let named = guest(&json!({"name": "web"}));
        let all = json!({
            "uuid": "u", "uri": "qemu+ssh://host/system", "addresses": "10.0.0.2,fd00::2", "endpoint": "10.0.0.2",
            "graphics": "vnc://[::1]:5900",
        });
        assert_eq!(text(&domain(&named, (uri, None), &running)), all);
        let mut with_password = all;
        with_password["password"] = json!("word");
        assert_eq!(text(&domain(&named, (uri, Some("word")), &running)), with_password);
        let stopped = DomainObservation { id: running.id.clone(), ..DomainObservation::default() };
        assert_eq!(text(&domain(&named, (uri, None), &stopped)), json!({"uuid": "u", "uri": "qemu+ssh://host/system"}));
        assert_eq!(domain(&guest(&json!(null)), (uri, Some("word")), &running), Details::default());
    }
}
