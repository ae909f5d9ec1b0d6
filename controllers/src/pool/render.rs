//! Parameters of a Pool → wishes about its description: pure.

use apis::{
    Managed, Pool,
    pool::{Permissions, PoolTarget, PoolType},
};
use libvirt::wish::Wishes;

/// Everything wished of a pool. `previous` are the paths of the last apply; `create` says that it does not exist yet.
pub fn render(object: &Pool, create: bool, previous: &[String]) -> Wishes {
    let parameters = object.parameters();
    let mut wishes = Wishes::new("pool");
    if create {
        wishes.set(
            "@type",
            match parameters.type_.unwrap_or_default() {
                PoolType::Dir => "dir",
            },
        );
        wishes.set("name", object.external_name());
        wishes.set("uuid", object.uid());
    }
    if let Some(PoolTarget { path, permissions }) = &parameters.target {
        if let Some(path) = path {
            wishes.set("target/path", path.as_str());
        }
        if let Some(Permissions { mode, owner, group }) = permissions {
            if let Some(mode) = mode {
                wishes.set("target/permissions/mode", mode.as_str());
            }
            for (name, id) in [("owner", owner), ("group", group)] {
                if let Some(id) = id {
                    wishes.set(&format!("target/permissions/{name}"), id.to_string());
                }
            }
        }
    }
    wishes.forget(previous);
    wishes
}
