//! What a disk may cost its host → wishes about its description: pure.

use anyhow::{Context, ensure};
use apis::{
    domain::{ByteRates, Disk, IoTune, IopsRates},
    quantity::Quantity,
};
use libvirt::{wish::Part, xml::Element};

/// The limits of a disk, which are wished as a whole; `{}` wishes that there are none.
pub(super) fn io_tune(part: &mut Part, disk: &Disk) -> anyhow::Result<()> {
    let Some(IoTune { bytes_per_second, iops_per_second }) = &disk.io_tune else { return Ok(()) };
    let mut figures = Vec::new();
    if let Some(rates) = bytes_per_second {
        figures.extend(bytes(rates).with_context(|| format!("disks {}: ioTune.bytesPerSecond", disk.name))?);
    }
    if let Some(IopsRates { total, read, write, total_max, read_max, write_max }) = iops_per_second {
        let rates = [
            ("total_iops_sec", total),
            ("read_iops_sec", read),
            ("write_iops_sec", write),
            ("total_iops_sec_max", total_max),
            ("read_iops_sec_max", read_max),
            ("write_iops_sec_max", write_max),
        ];
        figures.extend(rates.into_iter().filter_map(|(name, rate)| Some((name, rate.as_ref()?.to_string()))));
    }
    if figures.is_empty() {
        part.flag("iotune", false);
        return Ok(());
    }
    let limits = figures.into_iter().map(|(name, figure)| Element::new(name).text(figure));
    *part = std::mem::take(part).with_whole("iotune", Element::new("iotune").children(limits));
    Ok(())
}

fn bytes(rates: &ByteRates) -> anyhow::Result<Vec<(&'static str, String)>> {
    let ByteRates { total, read, write, total_max, read_max, write_max } = rates;
    let figure = |rate: &Option<Quantity>| rate.as_ref().map(Quantity::bytes).transpose().map_err(anyhow::Error::msg);
    let rates = [
        ("total", ("total_bytes_sec", figure(total)?), ("total_bytes_sec_max", figure(total_max)?)),
        ("read", ("read_bytes_sec", figure(read)?), ("read_bytes_sec_max", figure(read_max)?)),
        ("write", ("write_bytes_sec", figure(write)?), ("write_bytes_sec_max", figure(write_max)?)),
    ];
    // libvirt's schema wants those of a kind beside each other.
    let (mut figures, mut bursts) = (Vec::new(), Vec::new());
    for (field, (name, rate), (most_name, most)) in rates {
        // None at all and none a second are one to libvirt: no limit.
        let (rate, most) = (rate.filter(|rate| *rate > 0), most.filter(|most| *most > 0));
        ensure!(most.is_none_or(|most| rate.is_some_and(|rate| most >= rate)), "{field}Max is less than {field}");
        figures.push((name, rate));
        bursts.push((most_name, most));
    }
    Ok(figures.into_iter().chain(bursts).filter_map(|(name, figure)| Some((name, figure?.to_string()))).collect())
}
