//! What a Domain's firmware tells of its machine → wishes about its description: pure.

use apis::domain::{BaseBoardInfo, BiosInfo, ChassisInfo, OemString, SmbiosText, Sysinfo, SystemInfo};
use libvirt::{
    wish::{Part, Wishes},
    xml::Element,
};

/// The texts, and that the firmware tells them.
pub(super) fn sysinfo(wishes: &mut Wishes, said: &Sysinfo) {
    let Sysinfo { bios, system, base_board, chassis, oem_strings } = said;
    let mut part = Part::new();
    if let Some(BiosInfo { vendor, version, date, release }) = bios {
        let [vendor, version] = [vendor, version].map(|said| text(said.as_ref()));
        let said =
            [("vendor", vendor), ("version", version), ("date", date.as_deref()), ("release", release.as_deref())];
        block(&mut part, "bios", &said);
    }
    if let Some(SystemInfo { manufacturer, product, version, serial, sku, family }) = system {
        let said = [manufacturer, product, version, serial, sku, family].map(|said| text(said.as_ref()));
        let names = ["manufacturer", "product", "version", "serial", "sku", "family"];
        block(&mut part, "system", &pairs(names, said));
    }
    if let Some(BaseBoardInfo { manufacturer, product, version, serial, asset, location }) = base_board {
        let said = [manufacturer, product, version, serial, asset, location].map(|said| text(said.as_ref()));
        let names = ["manufacturer", "product", "version", "serial", "asset", "location"];
        block(&mut part, "baseBoard", &pairs(names, said));
    }
    if let Some(ChassisInfo { manufacturer, version, serial, asset, sku }) = chassis {
        let said = [manufacturer, version, serial, asset, sku].map(|said| text(said.as_ref()));
        block(&mut part, "chassis", &pairs(["manufacturer", "version", "serial", "asset", "sku"], said));
    }
    let strings: Vec<Element> =
        oem_strings.iter().flatten().map(|OemString(said)| Element::new("entry").text(said.as_str())).collect();
    if !strings.is_empty() {
        part = part.with_whole("oemStrings", Element::new("oemStrings").children(strings));
    }
    if part != Part::new() {
        wishes.item("sysinfo", "smbios", part);
        wishes.set("os/smbios@mode", "sysinfo");
    }
}

/// The names by which Ignition asks QEMU's firmware for its config: its own, and that of Flatcar.
/// Source: Ignition's documentation, supported platforms, QEMU; `flatcar-linux/coreos-overlay` b1e089d.
const IGNITION: [&str; 2] = ["opt/com.coreos/config", "opt/org.flatcar-linux/config"];

/// The file that QEMU reads at each start and tells the guest.
pub(super) fn ignition(wishes: &mut Wishes, path: &str) {
    let mut part = Part::new();
    for name in IGNITION {
        part.item("entry", name, Part::new().with("@file", path));
    }
    wishes.item("sysinfo", "fwcfg", part);
}

fn text(said: Option<&SmbiosText>) -> Option<&str> {
    said.map(|SmbiosText(said)| said.as_str())
}

fn pairs<'a, const N: usize>(
    names: [&'static str; N],
    said: [Option<&'a str>; N],
) -> Vec<(&'static str, Option<&'a str>)> {
    names.into_iter().zip(said).collect()
}

fn block(part: &mut Part, name: &str, said: &[(&str, Option<&str>)]) {
    for (entry, said) in said {
        if let Some(said) = said {
            part.item(&format!("{name}/entry"), entry, Part::new().with("", *said));
        }
    }
}
