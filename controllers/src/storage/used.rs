//! Who uses a volume: asked before it is deleted or overwritten.

use libvirt::{Connection, DiskSource};

use super::{device, is_same_path};

/// Who on the host uses a volume.
pub fn user(host: &Connection, pool: &str, name: &str, path: &str) -> anyhow::Result<Option<String>> {
    // The same file may be used by the name that it has in another pool.
    let twins = host.twins(pool, name)?;
    let is_path = |used: &str| is_same_path(used, path) || twins.iter().any(|twin| is_same_path(used, &twin.path));
    let is_volume =
        |of: &str, called: &str| called == name && (of == pool || twins.iter().any(|twin| twin.volume.pool == of));
    let uses = |source: &DiskSource| match source {
        DiskSource::Path(used) => is_path(used),
        DiskSource::Volume { pool: of, name: called } => is_volume(of, called),
    };
    let users = host.disk_users()?;
    if let Some(user) = users.iter().find(|user| uses(&user.source)) {
        return Ok(Some(format!("domain {} on the host", user.domain)));
    }
    let backings = host.backings()?;
    if let Some(above) = backings.iter().find(|backing| is_path(&backing.path)) {
        return Ok(Some(stands_on(above)));
    }
    let Some(device) = device::Device::find(host, pool, name, path)? else { return Ok(None) };
    device::user(host, &[device], &users, &backings)
}

/// Who stands on a volume.
pub(super) fn stands_on(above: &libvirt::Backing) -> String {
    format!("volume {} in pool {}, which stands on it", above.volume, above.pool)
}
