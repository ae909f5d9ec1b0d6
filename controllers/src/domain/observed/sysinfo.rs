//! What a description says of what a domain's firmware tells, in the words of the spec: pure.

use apis::domain::{BaseBoardInfo, BiosInfo, ChassisInfo, OemString, SmbiosText, Sysinfo, SystemInfo};
use libvirt::xml::Element;

/// The texts.
pub(super) fn sysinfo(definition: &Element) -> Option<Sysinfo> {
    let told = definition.elements().find(|child| child.name == "sysinfo" && child.get("type") == Some("smbios"))?;
    let plain = |block: &str, name: &str| {
        let block = told.find(block)?;
        let entry = block.named("entry").find(|entry| entry.get("name") == Some(name))?;
        entry.value().map(|text| text.trim().to_owned())
    };
    let text = |block: &str, name: &str| plain(block, name).map(SmbiosText);
    let strings = told.find_all("oemStrings/entry").into_iter();
    let strings: Vec<OemString> =
        strings.filter_map(|entry| entry.value()).map(|text| OemString(text.trim().to_owned())).collect();
    let bios = BiosInfo {
        vendor: text("bios", "vendor"),
        version: text("bios", "version"),
        date: plain("bios", "date"),
        release: plain("bios", "release"),
    };
    let seen = Sysinfo {
        bios: Some(bios).filter(|bios| *bios != BiosInfo::default()),
        system: Some(system(&text)).filter(|system| *system != SystemInfo::default()),
        base_board: Some(board(&text)).filter(|board| *board != BaseBoardInfo::default()),
        chassis: Some(chassis(&text)).filter(|chassis| *chassis != ChassisInfo::default()),
        oem_strings: Some(strings).filter(|strings| !strings.is_empty()),
    };
    (seen != Sysinfo::default()).then_some(seen)
}

fn system(text: &impl Fn(&str, &str) -> Option<SmbiosText>) -> SystemInfo {
    let text = |name: &str| text("system", name);
    SystemInfo {
        manufacturer: text("manufacturer"),
        product: text("product"),
        version: text("version"),
        serial: text("serial"),
        sku: text("sku"),
        family: text("family"),
    }
}

fn board(text: &impl Fn(&str, &str) -> Option<SmbiosText>) -> BaseBoardInfo {
    let text = |name: &str| text("baseBoard", name);
    BaseBoardInfo {
        manufacturer: text("manufacturer"),
        product: text("product"),
        version: text("version"),
        serial: text("serial"),
        asset: text("asset"),
        location: text("location"),
    }
}

fn chassis(text: &impl Fn(&str, &str) -> Option<SmbiosText>) -> ChassisInfo {
    let text = |name: &str| text("chassis", name);
    ChassisInfo {
        manufacturer: text("manufacturer"),
        version: text("version"),
        serial: text("serial"),
        asset: text("asset"),
        sku: text("sku"),
    }
}
