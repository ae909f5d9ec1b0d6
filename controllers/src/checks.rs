//! What is looked at from the start on, and told: CRDs that are missing or older than this program, hosts that lack something or differ
//! from the others. It warns and stops nobody; `/readyz?verbose` lists it.
//!
//! ```text
//! gate: the CRDs on the cluster ──┐
//! configs, their hosts' facts ────┼──▶ findings ──▶ log, /readyz
//! webhook: its certificate ───────┘        skew ──▶ condition HostsDiffer of a config
//! ```

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use apis::{ClusterProviderConfig, ProviderConfig, ProviderConfigUsage, managed::ConfigKind, placement::ConfigId};
use kube::Resource;
use libvirt::{Facts, Feature};
use managed::gate::{Gate, Shortfall};

use crate::skew::{may_compare, skew};

/// What a finding at the start does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// It is told of.
    Warn,
    /// It also keeps the process from being ready, until everything has been in order once.
    Strict,
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong.
    Fine,
    /// Something is, and the process works.
    Warning(String),
    /// The process is not ready.
    Obstacle(String),
}

/// One check by its name, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was checked.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
}

/// The checks of a process.
pub struct Checks {
    gate: Gate,
    strictness: Strictness,
    /// What each config's host said of itself when it was last there.
    hosts: Mutex<BTreeMap<ConfigId, Arc<Facts>>>,
    /// Whether the configs are known and their hosts called, which only who leads does.
    calls: AtomicBool,
    /// Whether everything was in order once.
    passed: AtomicBool,
}

impl Checks {
    /// No host has been met.
    pub fn new(gate: Gate, strictness: Strictness) -> Self {
        Self {
            gate,
            strictness,
            hosts: Mutex::default(),
            calls: AtomicBool::new(false),
            passed: AtomicBool::new(false),
        }
    }

    fn hosts(&self) -> MutexGuard<'_, BTreeMap<ConfigId, Arc<Facts>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A config's host answered.
    pub fn met(&self, config: &ConfigId, facts: &Arc<Facts>) {
        let known = self.hosts().insert(config.clone(), facts.clone());
        if !facts.lacks.is_empty() && known.is_none_or(|known| known.lacks != facts.lacks) {
            tracing::warn!(%config, host = facts.hostname, lacks = lacking(facts).join(", "), "the host lacks something");
        }
    }

    /// These configs are all that are there, and their hosts are called.
    pub fn keep(&self, configs: &[ConfigId]) {
        self.calls.store(true, Ordering::Release);
        self.hosts().retain(|known, _| configs.contains(known));
    }

    /// How the host of a config differs from the others.
    pub fn skew(&self, config: &ConfigId) -> Option<String> {
        let hosts = self.hosts();
        let group: Vec<(&ConfigId, &Facts)> =
            hosts.iter().filter(|(other, _)| may_compare(config, other)).map(|(id, facts)| (id, &**facts)).collect();
        skew(config, &group)
    }

    /// Logs what is wrong with the CRDs, each once for as long as it is so.
    pub async fn log(self: Arc<Self>) -> anyhow::Result<()> {
        let mut gate = self.gate.clone();
        let mut told = HashSet::new();
        loop {
            let now: HashSet<String> = gate.shortfalls().iter().filter(|one| is_told(one)).map(sentence).collect();
            for sentence in now.difference(&told) {
                tracing::warn!("{sentence}");
            }
            told = now;
            gate.changed().await;
        }
    }

    /// What is found of CRDs and hosts.
    pub fn findings(&self, configs: &[ConfigId]) -> Vec<Finding> {
        let is_strict = self.strictness == Strictness::Strict && !self.passed.load(Ordering::Acquire);
        let calls = self.calls.load(Ordering::Acquire);
        let mut all = Vec::new();
        for shortfall in self.gate.shortfalls() {
            let verdict = verdict(&shortfall, is_strict);
            let (Shortfall::Missing(name) | Shortfall::Outdated(name, _)) = shortfall;
            all.push(Finding { name: format!("crd/{name}"), verdict });
        }
        if all.is_empty() {
            all.push(Finding { name: "crds".to_owned(), verdict: Verdict::Fine });
        }
        all.extend(configs.iter().filter(|_| calls).map(|config| self.of_host(config, is_strict)));
        let is_passed =
            calls && self.gate.is_known() && all.iter().all(|one| !matches!(one.verdict, Verdict::Obstacle(_)));
        if is_passed {
            self.passed.store(true, Ordering::Release);
        }
        all
    }

    /// Whoever asks for a process's health is not asked who they are: of why a host is away nothing is said here.
    fn of_host(&self, config: &ConfigId, is_strict: bool) -> Finding {
        let facts = self.hosts().get(config).cloned();
        let verdict = match facts {
            // Or anybody who may write a config would decide about the provider, and its webhook with it.
            None if is_strict && config.kind == ConfigKind::ClusterProviderConfig => {
                Verdict::Obstacle(format!("the host of {config} has not answered yet"))
            }
            None => Verdict::Warning(format!("the host of {config} has not answered yet")),
            Some(facts) => {
                let lacks = (!facts.lacks.is_empty()).then(|| format!("lacks {}", lacking(&facts).join(", ")));
                let told: Vec<String> = [lacks, self.skew(config)].into_iter().flatten().collect();
                if told.is_empty() { Verdict::Fine } else { Verdict::Warning(told.join("; ")) }
            }
        };
        Finding { name: format!("host/{config}"), verdict }
    }
}

/// What a host lacks, by its names.
pub fn lacking(facts: &Facts) -> Vec<&'static str> {
    facts.lacks.iter().copied().map(Feature::name).collect()
}

/// Kinds of managed resources come when they are wanted; without those of configs and their usages nothing can be done.
fn is_needed(crd: &str) -> bool {
    fn name<K: Resource<DynamicType = ()>>() -> String {
        format!("{}.{}", K::plural(&()), K::group(&()))
    }
    [name::<ProviderConfig>(), name::<ClusterProviderConfig>(), name::<ProviderConfigUsage>()]
        .iter()
        .any(|known| known == crd)
}

/// Of kinds that are not there their watches tell.
fn is_told(shortfall: &Shortfall) -> bool {
    match shortfall {
        Shortfall::Missing(name) => is_needed(name),
        Shortfall::Outdated(_, _) => true,
    }
}

fn verdict(shortfall: &Shortfall, is_strict: bool) -> Verdict {
    let is_obstacle = match shortfall {
        Shortfall::Missing(name) => is_needed(name),
        Shortfall::Outdated(_, _) => is_strict,
    };
    if is_obstacle { Verdict::Obstacle(sentence(shortfall)) } else { Verdict::Warning(sentence(shortfall)) }
}

fn sentence(shortfall: &Shortfall) -> String {
    match shortfall {
        Shortfall::Missing(name) => format!("there is no CRD {name}"),
        Shortfall::Outdated(name, fields) => format!(
            "CRD {name} is older than this provider: what is written in these fields is dropped: {}; apply the CRDs of its package",
            fields.join(", ")
        ),
    }
}
