//! What a running domain gets of its host, changed by libvirt's own calls.
//!
//! The definition says the same by then. What cannot be done on the running guest waits for its next boot.

use libvirt::{
    Affect, CpuSet, Domain, Error, Kind, MemoryLimit, Scheduler, Threads,
    diff::Difference,
    rule::{Live, Route},
    wish::Path,
    xml::Element,
};

use super::live::Failures;

/// What the kernel takes for a period where none is said, in microseconds.
const USUAL_PERIOD: u64 = 100_000;

/// Makes all that differs as wished, and says what could not be done and why; only a host that does not answer is an error.
pub(super) fn tune(
    domain: &Domain<'_>,
    differences: &[Difference],
    [wished, live]: [&Element; 2],
    cpus: &CpuSet,
) -> Result<Failures, Error> {
    let by = |how: Live| differences.iter().filter(move |difference| difference.route == Route::Live(how));
    let mut failures = Failures::new();
    for difference in by(Live::IoThreads) {
        note(&mut failures, &difference.path, change_iothreads(domain, wished, live))?;
    }
    schedule(domain, by(Live::Scheduler).collect(), (wished, cpus), &mut failures)?;
    let limits: Vec<&str> = by(Live::MemoryTune).map(|difference| difference.path.as_str()).collect();
    if !limits.is_empty() {
        let done = limit_memory(domain, &limits, wished);
        for path in limits {
            note(&mut failures, path, done.clone())?;
        }
    }
    for difference in by(Live::BlockWeight) {
        // What the host gives a guest that says nothing, nobody tells.
        if let Some(weight) = difference.want.as_deref().and_then(|weight| weight.parse().ok()) {
            note(&mut failures, &difference.path, domain.set_block_weight(weight, Affect::Live))?;
        }
    }
    Ok(failures)
}

fn note(failures: &mut Failures, path: &str, done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(error) if error.kind == Kind::Unreachable => return Err(error),
        Err(error) => drop(failures.insert(path.to_owned(), error.to_string())),
        Ok(()) => {}
    }
    Ok(())
}

/// Threads are numbered from 1; those above the wished number go, unless a disk uses them.
fn change_iothreads(domain: &Domain<'_>, wished: &Element, live: &Element) -> Result<(), Error> {
    let count = |description: &Element| description.text_at("iothreads").and_then(|text| text.trim().parse().ok());
    let (wished, now): (u32, u32) = (count(wished).unwrap_or(0), count(live).unwrap_or(0));
    let ids = live.find_all("iothreadids/iothread").into_iter().filter_map(|thread| thread.get("id")?.parse().ok());
    let mut ids: Vec<u32> = ids.collect();
    if ids.is_empty() {
        ids = (1..=now).collect();
    }
    for thread in (1..=wished).filter(|thread| !ids.contains(thread)) {
        domain.add_iothread(thread, Affect::Live)?;
    }
    for thread in ids.into_iter().filter(|thread| *thread > wished) {
        domain.remove_iothread(thread, Affect::Live)?;
    }
    Ok(())
}

/// One bounds another (the guest's share of time those of its threads), and which has to go first depends on the direction: what fails
/// is tried again after the others, as long as that helps.
fn schedule(
    domain: &Domain<'_>,
    mut differences: Vec<&Difference>,
    (wished, cpus): (&Element, &CpuSet),
    failures: &mut Failures,
) -> Result<(), Error> {
    loop {
        let before = differences.len();
        let mut failed = Failures::new();
        for difference in &differences {
            note(&mut failed, &difference.path, schedule_one(domain, difference, wished, cpus))?;
        }
        if failed.is_empty() || failed.len() == before {
            failures.append(&mut failed);
            return Ok(());
        }
        differences.retain(|difference| failed.contains_key(&difference.path));
    }
}

fn schedule_one(domain: &Domain<'_>, difference: &Difference, wished: &Element, cpus: &CpuSet) -> Result<(), Error> {
    let path = difference.path.as_str();
    if let Some(pin) = Pin::read(path) {
        return pin.apply(domain, pin.cpus(wished).as_ref().unwrap_or(cpus));
    }
    let want = difference.want.as_deref();
    let Some(figure) = figure(path.strip_prefix("cputune/").unwrap_or_default(), want) else { return Ok(()) };
    domain.set_scheduler(figure, Affect::Live)
}

/// What an element of `cputune` says; `None` where no call says its absence, as of shares, whose usual number is the host's.
fn figure(name: &str, want: Option<&str>) -> Option<Scheduler> {
    if name == "shares" {
        return Some(Scheduler::Shares(want?.parse().ok()?));
    }
    let (threads, kind) = match name.split_once('_') {
        None => (Threads::Vcpus, name),
        Some(("global", kind)) => (Threads::Domain, kind),
        Some(("emulator", kind)) => (Threads::Emulator, kind),
        Some(("iothread", kind)) => (Threads::IoThreads, kind),
        Some(_) => return None,
    };
    match kind {
        "period" => Some(Scheduler::Period(threads, want.map_or(Some(USUAL_PERIOD), |want| want.parse().ok())?)),
        "quota" => Some(Scheduler::Quota(threads, want.map(str::parse).transpose().ok()?)),
        _ => None,
    }
}

/// All limits that differ, in one call.
fn limit_memory(domain: &Domain<'_>, paths: &[&str], wished: &Element) -> Result<(), Error> {
    let known = [
        ("memtune/hard_limit", MemoryLimit::Hard),
        ("memtune/soft_limit", MemoryLimit::Soft),
        ("memtune/swap_hard_limit", MemoryLimit::SwapHard),
    ];
    let limits: Vec<(MemoryLimit, Option<u64>)> = known
        .into_iter()
        .filter(|(path, _)| paths.contains(path))
        .map(|(path, limit)| (limit, wished.text_at(path).and_then(|text| text.trim().parse().ok())))
        .collect();
    domain.set_memory_limits(&limits, Affect::Live)
}

/// What runs on some of the host's processors only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pin {
    Vcpu(u32),
    Emulator,
    IoThread(u32),
}

impl Pin {
    /// The pin that a path is about: the whole of it, or its processors.
    pub(super) fn read(path: &str) -> Option<Self> {
        let parsed = Path::parse(path)?;
        let key = || path.split_once('[')?.1.split_once(']')?.0.parse().ok();
        match parsed.pattern().trim_end_matches("@cpuset") {
            "cputune/vcpupin" => key().map(Self::Vcpu),
            "cputune/emulatorpin" => Some(Self::Emulator),
            "cputune/iothreadpin" => key().map(Self::IoThread),
            _ => None,
        }
    }

    /// The processors that a description pins it to.
    pub(super) fn cpus(self, description: &Element) -> Option<CpuSet> {
        let of = |list: &str, key: &str, number: u32| {
            let pins = description.find_all(list).into_iter();
            pins.into_iter().find(|pin| pin.get(key).and_then(|text| text.parse().ok()) == Some(number))
        };
        let pin = match self {
            Self::Vcpu(number) => of("cputune/vcpupin", "vcpu", number),
            Self::Emulator => description.find("cputune/emulatorpin"),
            Self::IoThread(number) => of("cputune/iothreadpin", "iothread", number),
        };
        CpuSet::parse(pin?.get("cpuset")?)
    }

    fn apply(self, domain: &Domain<'_>, cpus: &CpuSet) -> Result<(), Error> {
        if cpus.is_empty() {
            return Ok(());
        }
        match self {
            Self::Vcpu(number) => domain.pin_vcpu(number, cpus, Affect::Live),
            Self::Emulator => domain.pin_emulator(cpus, Affect::Live),
            Self::IoThread(number) => domain.pin_iothread(number, cpus, Affect::Live),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_element_of_cputune_is_a_figure_and_its_absence_is_none_where_that_can_be_said() {
        let table = [
            ("shares", Some("512"), Some(Scheduler::Shares(512))),
            ("shares", None, None),
            ("period", Some("50000"), Some(Scheduler::Period(Threads::Vcpus, 50_000))),
            ("period", None, Some(Scheduler::Period(Threads::Vcpus, 100_000))),
            ("global_quota", Some("90000"), Some(Scheduler::Quota(Threads::Domain, Some(90_000)))),
            ("emulator_quota", None, Some(Scheduler::Quota(Threads::Emulator, None))),
            ("iothread_period", Some("1000"), Some(Scheduler::Period(Threads::IoThreads, 1_000))),
            ("vcpusched", Some("present"), None),
        ];
        for (name, want, wanted) in table {
            assert_eq!(figure(name, want), wanted, "{name} {want:?}");
        }
    }

    #[test]
    fn a_pin_is_known_by_its_path_whole_or_by_its_processors() {
        let text = "<domain><cputune><vcpupin vcpu='1' cpuset='0-1'/><emulatorpin cpuset='2'/></cputune></domain>";
        let description = Element::parse(text).unwrap();
        let cpus = |path: &str| Pin::read(path).and_then(|pin| pin.cpus(&description)).map(|cpus| cpus.to_string());
        assert_eq!(cpus("cputune/vcpupin[1]").as_deref(), Some("0-1"));
        assert_eq!(cpus("cputune/vcpupin[1]@cpuset").as_deref(), Some("0-1"));
        assert_eq!(cpus("cputune/vcpupin[0]"), None);
        assert_eq!(cpus("cputune/emulatorpin@cpuset").as_deref(), Some("2"));
        assert_eq!(Pin::read("cputune/iothreadpin[3]"), Some(Pin::IoThread(3)));
        assert_eq!(Pin::read("cputune/shares"), None);
    }
}
