//! What a C program would do: one libvirt call after another, and nothing else.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use virt::{
    connect::Connect,
    domain::{Domain, DomainState},
    enumutil::Enum,
    sys,
};

use crate::summary::Summary;

const PATIENCE: Duration = Duration::from_mins(1);

/// A connection of the loop's own.
pub(crate) struct Host {
    connect: Connect,
    uri: String,
}

impl Host {
    pub(crate) fn open(uri: &str) -> Result<Self> {
        Ok(Self { connect: Connect::open(Some(uri)).with_context(|| format!("open {uri}"))?, uri: uri.to_owned() })
    }

    /// The description of a domain without what tells it from others: a mould for more of the same.
    pub(crate) fn mould(&self, name: &str) -> Result<String> {
        let domain = self.domain(name)?;
        let text = domain.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE).context("describe the domain")?;
        let uuid = domain.uuid_string().context("read the domain's UUID")?;
        Ok(text
            .replace(&format!("<name>{name}</name>"), "<name>MOULD</name>")
            .replace(&format!("<uuid>{uuid}</uuid>"), ""))
    }

    pub(crate) fn domain(&self, name: &str) -> Result<Domain> {
        self.connect.lookup_domain_by_name(name).with_context(|| format!("look domain {name} up"))
    }

    /// Defines and starts one.
    pub(crate) fn make(&self, mould: &str, name: &str) -> Result<Domain> {
        let text = mould.replace("<name>MOULD</name>", &format!("<name>{name}</name>"));
        let domain = self.connect.define_domain_xml(&text).context("define the domain")?;
        domain.create().context("start the domain")?;
        Ok(domain)
    }

    /// Times from the loop's begin until each of `count` domains runs; they are removed afterwards.
    pub(crate) fn loop_over(&self, mould: &str, count: usize) -> Result<Summary> {
        let begun = Instant::now();
        let mut times = Vec::with_capacity(count);
        let mut domains = Vec::with_capacity(count);
        for number in 0..count {
            domains.push(self.make(mould, &format!("plain-{number}"))?);
            times.push(begun.elapsed());
        }
        domains.iter().try_for_each(remove)?;
        Ok(Summary::of(times))
    }

    /// The same by `threads` threads with a connection each.
    pub(crate) fn loop_in_parallel(&self, mould: &str, count: usize, threads: usize) -> Result<Summary> {
        let hosts = (0..threads).map(|_| Self::open(&self.uri)).collect::<Result<Vec<_>>>()?;
        let begun = Instant::now();
        let work = |thread: usize, host: &Self| -> Result<Vec<(Duration, String)>> {
            let names = (thread..count).step_by(threads).map(|number| format!("plain-{number}"));
            names.map(|name| host.make(mould, &name).map(|_| (begun.elapsed(), name))).collect()
        };
        let made = std::thread::scope(|scope| {
            let running: Vec<_> =
                hosts.iter().enumerate().map(|(thread, host)| scope.spawn(move || work(thread, host))).collect();
            running
                .into_iter()
                .map(|one| one.join().map_err(|_| anyhow!("a thread of the loop panicked"))?)
                .collect::<Result<Vec<_>>>()
        })?;
        let (times, names): (Vec<_>, Vec<_>) = made.into_iter().flatten().unzip();
        names.iter().try_for_each(|name| remove(&self.domain(name)?))?;
        Ok(Summary::of(times))
    }
}

/// How long it takes until a domain runs that was destroyed just now.
pub(crate) fn until_running(domain: &Domain) -> Result<Duration> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if domain.state().context("read the domain's state")?.0 == Enum::Known(DomainState::Running) {
            return Ok(begun.elapsed());
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    bail!("the domain does not run {} s after it was destroyed", PATIENCE.as_secs())
}

/// Takes one away.
pub(crate) fn remove(domain: &Domain) -> Result<()> {
    domain.destroy().context("destroy the domain")?;
    domain.undefine().context("undefine the domain")
}

/// Starts a domain that is off; the time that took.
pub(crate) fn start(domain: &Domain) -> Result<Duration> {
    let begun = Instant::now();
    domain.create().context("start the domain")?;
    Ok(begun.elapsed())
}
