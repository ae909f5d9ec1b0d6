//! Devices that are made with content.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::json;
use tests::{Manners, PATIENCE, run};

use super::{await_refused, on, pool, storage, volume};

#[test]
fn content_is_on_a_device_from_its_first_byte_on_and_what_only_files_have_is_refused() -> Result<()> {
    let Some((host, _answers)) =
        storage("content_is_on_a_device_from_its_first_byte_on_and_what_only_files_have_is_refused")?
    else {
        return Ok(());
    };
    let scenario = on(host, "filled")?;
    let device = host.run("readlink -f /dev/disk/by-id/virtio-spare6")?.trim().to_owned();
    pool(&scenario, "vg6", &format!("type: Logical, source: {{devices: [{device}], name: vg6}}, build: true"))?;
    pool(&scenario, "folder", "target: {path: /srv/folder}")?;
    scenario.await_ready(&["pool/vg6", "pool/folder"])?;
    scenario.namespace().kubectl(&["create", "configmap", "c", "--from-literal=words=so-it-begins"])?;
    let image = scenario.host().path("image");
    let bytes = (0..1_u32 << 20).map(|at| u8::try_from((at * 7 + at / 4096) % 251).unwrap_or_default());
    fs::write(&image, bytes.collect::<Vec<_>>())?;
    let http = scenario.stage().image(&image, Manners::Good)?;

    let on_device = "poolRef: {name: vg6}, format: Raw";
    let words = "source: {configMapKeyRef: {name: c, key: words}}";
    volume(&scenario, "told", &format!("{on_device}, {words}"))?;
    volume(&scenario, "fetched", &format!("{on_device}, capacity: 8Mi, {http}"))?;
    // From the device into a file of another format, and back.
    volume(&scenario, "file", "poolRef: {name: folder}, source: {volumeRef: {name: fetched}}")?;
    volume(&scenario, "back", &format!("{on_device}, capacity: 12Mi, source: {{volumeRef: {{name: file}}}}"))?;
    scenario.await_ready(&["volume/told", "volume/fetched", "volume/file", "volume/back"])?;
    assert_eq!(host.run("head -c 12 /dev/vg6/told")?, "so-it-begins");
    let sum = |of: &str| of.split_whitespace().next().map(str::to_owned).context("read the checksum");
    let whole = sum(&run("sha256sum", &[&image.display().to_string()])?)?;
    for name in ["fetched", "back"] {
        assert_eq!(sum(&host.run(&format!("head -c 1048576 /dev/vg6/{name} | sha256sum"))?)?, whole, "{name}");
    }
    host.run("cmp -n 8388608 /dev/vg6/fetched /dev/vg6/back")?;
    let sizes = ["told", "fetched", "file", "back"]
        .map(|name| scenario.observed("volume", name).map(|seen| seen["capacity"].clone()).unwrap_or_default());
    assert_eq!(json!(sizes), json!(["4Mi", "8Mi", "8Mi", "12Mi"]));

    volume(&scenario, "owned", &format!("{on_device}, capacity: 4Mi, permissions: {{mode: '0640'}}"))?;
    let says = "holds no files, and only a file has an owner and a mode";
    await_refused(&scenario, "volume/owned", ("Ready", "NotOffered"), says)?;
    volume(&scenario, "endless", &format!("{on_device}, {http}"))?;
    let says = "has its size from its beginning, and a raw image does not say how large it is";
    await_refused(&scenario, "volume/endless", ("Ready", "NotOffered"), says)?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    assert_eq!(host.run("lvs --noheadings -o lv_name vg6")?.trim(), "");
    Ok(())
}
