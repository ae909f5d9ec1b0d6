//! What a guest is to have, against what its host offers: asked before the guest is defined, because libvirt takes many a description that
//! no start would get through. Where the host says nothing of a thing, it may be had.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Context as _;
use libvirt::{Connection, Kind, Sort, xml::Element};
use managed::external::Refusal;

use super::render::{DISK, NIC, SEED, SERIAL, raw::RAW};

/// A value of which a host tells what it offers: where it is in a description, where in the domain capabilities, and the field.
struct Row {
    elements: &'static str,
    value: &'static str,
    offered: &'static str,
    choices: &'static str,
    field: &'static str,
}

const fn row(places: [&'static str; 2], offered: [&'static str; 2], field: &'static str) -> Row {
    let ([elements, value], [offered, choices]) = (places, offered);
    Row { elements, value, offered, choices, field }
}

// Of host devices and channels libvirt lists less than it takes: no mediated device, no port of TCP.
const ROWS: &[Row] = &[
    row(["", "os@firmware"], ["os", "firmware"], "os.firmware"),
    row(["", "memoryBacking/source@type"], ["memoryBacking", "sourceType"], "memoryBacking.source"),
    row(["devices/disk", "target@bus"], ["devices/disk", "bus"], "disks[].bus"),
    row(["devices/disk", "@device"], ["devices/disk", "diskDevice"], "disks[].device"),
    row(["devices/graphics", "@type"], ["devices/graphics", "type"], "graphics[].type"),
    row(["devices/video", "model@type"], ["devices/video", "modelType"], "video.model"),
    row(["devices/tpm", "@model"], ["devices/tpm", "model"], "tpm.model"),
    row(["devices/tpm", "backend@type"], ["devices/tpm", "backendModel"], "tpm"),
    row(["devices/tpm", "backend@version"], ["devices/tpm", "backendVersion"], "tpm"),
    row(["devices/rng", "@model"], ["devices/rng", "model"], "rng"),
    row(["devices/rng", "backend@model"], ["devices/rng", "backendModel"], "rng.source"),
    row(["devices/panic", "@model"], ["devices/panic", "model"], "panic.model"),
    row(["devices/filesystem", "driver@type"], ["devices/filesystem", "driverType"], "filesystems[]"),
    row(["devices/redirdev", "@bus"], ["devices/redirdev", "bus"], "rawXml"),
];

/// Fails when the description wishes what the host does not offer and the guest, if it is there, has not got.
pub(super) fn check(host: &Connection, wished: &Element, base: Option<&Element>) -> anyhow::Result<()> {
    if questions(wished, base).is_empty() {
        return Ok(());
    }
    let sort = Sort::of(wished);
    let ask = |fresh: bool| -> anyhow::Result<Option<String>> {
        let what = || format!("ask what the host offers to guests {}", shown(&sort));
        let offers: Option<Arc<Element>> = match host.offers(&sort, fresh) {
            // Of a machine that no emulator there has, libvirt tells nothing.
            Err(error) if error.kind == Kind::Rejected => return Err(missing(format!("{}: {error}", what()))),
            offers => offers.with_context(what)?,
        };
        Ok(offers.and_then(|offers| refusal(wished, base, &offers)))
    };
    // What is installed on the host may have changed since it was asked.
    if ask(false)?.is_some()
        && let Some(why) = ask(true)?
    {
        return Err(missing(why));
    }
    let cpu = wished.find("cpu").filter(|cpu| cpu.find("model").is_some() && is_custom(cpu));
    let has_changed = cpu != base.and_then(|base| base.find("cpu"));
    // libvirt itself compares only where it does not know the model for one that the host has.
    let is_usable = |cpu: &Element| -> anyhow::Result<bool> {
        let offers = host.offers(&sort, false).context("ask which models of CPUs the host has")?;
        Ok(offers.is_some_and(|offers| has_model(&offers, cpu.text_at("model").unwrap_or_default())))
    };
    if let Some(cpu) = cpu.filter(|_| has_changed && wished.get("type") == Some("kvm"))
        && !is_usable(cpu)?
        && let Some(why) = host.lacks_for_cpu(&sort, &plain(cpu)).context("compare the guest's CPU with the host's")?
    {
        return Err(missing(format!(
            "cpu: the host's processor does not have what the guest's is to have: {why}. Choose another cpu.model, or cpu.mode HostModel"
        )));
    }
    Ok(())
}

fn missing(message: String) -> anyhow::Error {
    Refusal { reason: "NotOffered", message }.into()
}

/// Whether the domain capabilities say that guests can have this model as it is.
fn has_model(offers: &Element, model: &str) -> bool {
    let modes = offers.find_all("cpu/mode").into_iter().filter(|mode| mode.get("name") == Some("custom"));
    let mut models = modes.flat_map(|mode| mode.named("model"));
    models.any(|known| known.value() == Some(model) && known.get("usable") == Some("yes"))
}

fn is_custom(cpu: &Element) -> bool {
    cpu.get("mode").is_none_or(|mode| mode == "custom")
}

/// The CPU without what is no matter of the host's.
fn plain(cpu: &Element) -> Element {
    let mut cpu = cpu.clone();
    cpu.retain(|child| ["model", "vendor", "feature"].contains(&child.name.as_str()));
    cpu
}

/// Something that a guest is to have.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    field: String,
    value: String,
    /// The element of the domain capabilities that speaks of it, and its choices there.
    place: Place,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Choices(&'static str, &'static str),
    /// Of a machine that the host has not it tells nothing but that.
    Machine,
    CpuMode,
    CpuModel,
    SecureBoot,
    Vcpus,
}

/// What is wished that the guest has not got.
fn questions(wished: &Element, base: Option<&Element>) -> Vec<Question> {
    let mut found = Vec::new();
    for Row { elements, value, offered, choices, field } in ROWS {
        let have: BTreeSet<(&str, &str)> = base.map(|base| values(base, elements, value)).unwrap_or_default();
        for (alias, said) in values(wished, elements, value).difference(&have) {
            let place = Place::Choices(offered, choices);
            found.push(Question { field: named(field, alias), value: (*said).to_owned(), place });
        }
    }
    let mut ask = |field: &str, place: Place, read: fn(&Element) -> Option<&str>| {
        if let Some(value) = read(wished).filter(|value| base.and_then(read) != Some(*value)) {
            found.push(Question { field: field.to_owned(), value: value.to_owned(), place });
        }
    };
    ask("os.machine", Place::Machine, |of| of.attr_at("os/type@machine"));
    ask("cpu.mode", Place::CpuMode, |of| of.attr_at("cpu@mode"));
    ask("cpu.model", Place::CpuModel, |of| of.find("cpu").filter(|cpu| is_custom(cpu))?.text_at("model"));
    ask("os.secureBoot", Place::SecureBoot, |of| {
        let mut features = of.find_all("os/firmware/feature").into_iter();
        features
            .find(|feature| feature.get("name") == Some("secure-boot"))?
            .get("enabled")
            .filter(|said| *said == "yes")
    });
    ask("maxVcpus", Place::Vcpus, |of| of.text_at("vcpu"));
    found
}

/// The values at a place of all elements, each with the alias of its device.
fn values<'a>(description: &'a Element, elements: &str, value: &str) -> BTreeSet<(&'a str, &'a str)> {
    let all = description.find_all(elements).into_iter();
    all.filter_map(|element| Some((element.attr_at("alias@name").unwrap_or_default(), element.attr_at(value)?)))
        .collect()
}

/// The field of the device with this alias.
fn named(field: &str, alias: &str) -> String {
    if alias.starts_with(SEED) {
        return "cloudInitRef".to_owned();
    }
    if alias.starts_with(RAW) {
        return "rawXml".to_owned();
    }
    let name = [DISK, NIC, SERIAL].iter().find_map(|prefix| alias.strip_prefix(prefix));
    name.map_or_else(|| field.to_owned(), |name| field.replacen("[]", &format!("[{name}]"), 1))
}

/// Why the guest cannot be had on a host with these domain capabilities.
fn refusal(wished: &Element, base: Option<&Element>, offers: &Element) -> Option<String> {
    questions(wished, base).iter().find_map(|question| {
        let choices = offered(question, offers)?;
        let Question { field, value, place } = question;
        let list = if choices.is_empty() { "none".to_owned() } else { choices.join(", ") };
        Some(match place {
            Place::Vcpus => format!(
                "{field}: a guest of this machine on this host has at most {list} vCPUs, and {value} are wished"
            ),
            Place::SecureBoot => {
                format!("{field}: the host has no firmware with secure boot for guests {}", shown(&Sort::of(wished)))
            }
            Place::Choices(..) | Place::Machine | Place::CpuMode | Place::CpuModel => format!(
                "{field}: the host does not offer {value} to guests {}; it offers {list}",
                shown(&Sort::of(wished))
            ),
        })
    })
}

fn shown(sort: &Sort) -> String {
    let Sort { emulator: _, arch, machine, domain_type } = sort;
    let named = |what: &str, name: &Option<String>| name.as_ref().map(|name| format!("{what} {name}"));
    let parts = [named("of type", domain_type), named("on machine", machine), named("for", arch)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// What the host offers instead; `None` if it offers what is asked for, or says nothing.
fn offered(Question { field: _, value, place }: &Question, offers: &Element) -> Option<Vec<String>> {
    let without = |choices: Vec<&str>| {
        let is_offered = choices.contains(&value.as_str());
        (!is_offered).then(|| choices.into_iter().map(str::to_owned).collect())
    };
    match place {
        Place::Choices(element, choices) => {
            let element = offers.find(element)?;
            if element.get("supported") == Some("no") {
                return Some(Vec::new());
            }
            without(choices_of(element, choices)?)
        }
        Place::SecureBoot => {
            let is_secure = |choices: Vec<&str>| choices.contains(&"yes");
            (!is_secure(choices_of(offers.find("os/loader")?, "secure")?)).then(Vec::new)
        }
        Place::Machine => None,
        Place::CpuMode => {
            let modes = offers.find_all("cpu/mode");
            let offered = modes.iter().filter(|mode| mode.get("supported") != Some("no"));
            let offered: Vec<&str> = offered.filter_map(|mode| mode.get("name")).collect();
            if modes.is_empty() { None } else { without(offered) }
        }
        Place::CpuModel => {
            let custom = offers.find_all("cpu/mode").into_iter().find(|mode| mode.get("name") == Some("custom"))?;
            let is_known = custom.named("model").any(|model| model.value() == Some(value));
            // Those that it can give whole; a guest may have one of the others with less.
            let usable = custom.named("model").filter(|model| model.get("usable") != Some("no"));
            let usable = usable.filter_map(|model| model.value().map(str::to_owned)).collect();
            (!is_known && custom.find("model").is_some()).then_some(usable)
        }
        Place::Vcpus => {
            let most: u32 = offers.attr_at("vcpu@max")?.parse().ok()?;
            (value.parse::<u32>().ok()? > most).then(|| vec![most.to_string()])
        }
    }
}

fn choices_of<'a>(element: &'a Element, name: &str) -> Option<Vec<&'a str>> {
    let list = element.named("enum").find(|list| list.get("name") == Some(name))?;
    Some(list.named("value").filter_map(Element::value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_the_host_has_needs_no_comparison() {
        let offers = "<domainCapabilities><cpu><mode name='maximum' supported='yes'><model>Other</model></mode>\
            <mode name='custom' supported='yes'><model usable='yes'>Westmere</model><model usable='no'>EPYC</model></mode>\
            </cpu></domainCapabilities>";
        let offers = Element::parse(offers).unwrap();
        let has = |model: &str| has_model(&offers, model);
        assert_eq!(["Westmere", "EPYC", "Other", "None"].map(has), [true, false, false, false]);
    }

    const OFFERS: &str = "<domainCapabilities><vcpu max='8'/>\
        <os supported='yes'><enum name='firmware'/><loader supported='yes'><enum name='secure'><value>no</value></enum></loader></os>\
        <cpu><mode name='host-passthrough' supported='no'/><mode name='custom' supported='yes'>\
        <model usable='yes'>qemu64</model><model usable='no'>EPYC</model></mode></cpu><devices>\
        <disk supported='yes'><enum name='bus'><value>virtio</value><value>sata</value></enum></disk><tpm supported='no'/>\
        </devices></domainCapabilities>";

    fn said(wished: &str, base: Option<&str>) -> Option<String> {
        let parse = |text: &str| {
            let text = format!("<domain type='qemu'><os{text}</domain>");
            Element::parse(&text.replace("<type/>", "<type arch='x86_64' machine='q35'>hvm</type>")).unwrap()
        };
        refusal(&parse(wished), base.map(parse).as_ref(), &Element::parse(OFFERS).unwrap())
    }

    #[test]
    fn what_a_host_does_not_offer_is_named_with_its_field_and_with_what_the_host_offers() {
        let to = "to guests of type qemu on machine q35 for x86_64; it offers";
        let disk = "<devices><disk><alias name='ua-disk-root'/><target bus='ide'/></disk></devices>";
        let table = [
            (" firmware='efi'><type/></os>", format!("os.firmware: the host does not offer efi {to} none")),
            ("><type/></os><cpu mode='host-passthrough'/>", format!("cpu.mode: the host does not offer host-passthrough {to} custom")),
            ("><type/></os><cpu mode='custom'><model>Z80</model></cpu>", format!("cpu.model: the host does not offer Z80 {to} qemu64")),
            ("><type/></os><devices><tpm model='tpm-crb'/></devices>", format!("tpm.model: the host does not offer tpm-crb {to} none")),
            ("><type/></os><vcpu>9</vcpu>", "maxVcpus: a guest of this machine on this host has at most 8 vCPUs, and 9 are wished".to_owned()),
            (
                "><type/><firmware><feature name='secure-boot' enabled='yes'/></firmware></os>",
                "os.secureBoot: the host has no firmware with secure boot for guests of type qemu on machine q35 for x86_64".to_owned(),
            ),
        ];
        for (wished, sentence) in table {
            assert_eq!(said(wished, None), Some(sentence), "{wished}");
        }
        let ide = format!("disks[root].bus: the host does not offer ide {to} virtio, sata");
        assert_eq!(said(&format!("><type/></os>{disk}"), None), Some(ide));
    }

    #[test]
    fn what_is_offered_or_not_spoken_of_or_there_already_may_be_had() {
        let disk = "><type/></os><devices><disk><alias name='ua-disk-root'/><target bus='ide'/></disk></devices>";
        for wished in [
            "><type/></os><cpu mode='custom'><model>EPYC</model></cpu><vcpu>8</vcpu>",
            "><type/></os><devices><panic model='hyperv'/><rng model='virtio'/></devices>",
        ] {
            assert_eq!(said(wished, None), None, "{wished}");
        }
        assert_eq!(said(disk, Some(disk)), None);
        assert!(said(disk, Some("><type/></os>")).is_some());
    }
}
