//! A host in memory with one thing on it, and a kind that looks at it as it is told.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use anyhow::{anyhow, bail};
use apis::{
    Managed, Pool,
    condition::{Status, Type, Wish},
    managed::{ConfigKind, annotation::OWNERSHIP},
    placement::{Choice, ConfigId, Neighbour, Placement},
    pool::PoolObservation,
};
use managed::{
    creation::Creation,
    external::{
        Connect, Deletion, Details, Effect, External, NoConfig, NotYet, Pass, Record, Refusal, Report, Retry, Standing,
    },
};

use crate::server::Log;

/// What the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    Absent,
    Underway,
    Settled,
    Drifted,
    /// It differs, and a part of that is refused.
    PartlyRefused,
    Refused,
    Foreign,
    /// Others made it, and the object may own it; once it is recorded as the object's, it differs.
    Adoptable,
}

/// The host and what it is told to do.
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct World {
    pub(crate) thing: Thing,
    /// What a create or an update makes of the thing; an error that is said instead.
    pub(crate) outcome: Result<Thing, &'static str>,
    pub(crate) away: bool,
    /// Whether it is not known yet whether it is away.
    pub(crate) early: bool,
    /// Whether it comes out while it is connected that it is to be left alone.
    pub(crate) held_once_connected: bool,
    /// Whether its config is gone.
    pub(crate) unconfigured: bool,
    /// What the object still waits for.
    pub(crate) waits: Option<&'static str>,
    /// Whether the thing is told of while the object waits.
    pub(crate) bare: bool,
    pub(crate) blind: bool,
    /// What a deletion says while the thing is there.
    pub(crate) deletion: fn(&mut Thing) -> anyhow::Result<Deletion>,
    pub(crate) ignored: Option<ConfigId>,
    /// Whether the host is left alone.
    pub(crate) held: bool,
    /// What the hosts say of an object that nothing else places.
    pub(crate) found: Result<Option<ConfigId>, String>,
    pub(crate) nowhere: bool,
    /// What a create was told of the attempt before.
    pub(crate) before: Option<Creation>,
    /// Whether the place of the thing holds what an attempt before left.
    pub(crate) leftover: bool,
    /// Whether a create is not repeated before its time.
    pub(crate) costly: bool,
    /// What a create that failed may have done.
    pub(crate) effect: Effect,
    pub(crate) forgotten: usize,
    /// How often it was asked to read the thing anew.
    pub(crate) renewed: usize,
    /// What the connection Secret of a thing that is there says.
    pub(crate) details: Vec<(&'static str, &'static str)>,
    /// What it says besides once something was made or changed.
    pub(crate) born: Vec<(&'static str, &'static str)>,
}

/// The fake kind and connector: both see the same world.
#[derive(Clone)]
pub(crate) struct Fake {
    world: Arc<Mutex<World>>,
    log: Log,
}

#[derive(Debug)]
pub(crate) struct Mend;

impl fmt::Display for Mend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("size: 1, wished 2")
    }
}

pub(crate) fn config() -> ConfigId {
    ConfigId { kind: ConfigKind::ClusterProviderConfig, namespace: String::new(), name: "host".to_owned() }
}

fn refusal() -> Refusal {
    Refusal { reason: "ShrinkRefused", message: "it never shrinks".to_owned() }
}

impl Fake {
    pub(crate) fn new(log: Log) -> Self {
        let world = World {
            thing: Thing::Absent,
            outcome: Ok(Thing::Settled),
            away: false,
            early: false,
            held_once_connected: false,
            unconfigured: false,
            waits: None,
            bare: false,
            blind: false,
            deletion: |thing| {
                *thing = Thing::Absent;
                Ok(Deletion::Requested)
            },
            ignored: None,
            held: false,
            found: Ok(None),
            nowhere: false,
            before: None,
            leftover: false,
            costly: false,
            effect: Effect::None,
            forgotten: 0,
            renewed: 0,
            details: Vec::new(),
            born: Vec::new(),
        };
        Self { world: Arc::new(Mutex::new(world)), log }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn note(&self, what: &str) {
        self.log.lock().unwrap().push(format!("host: {what}"));
    }

    fn act(&self, what: &str) -> anyhow::Result<Thing> {
        self.note(what);
        let mut world = self.world();
        world.thing = world.outcome.map_err(|error| anyhow!(error))?;
        let born = std::mem::take(&mut world.born);
        world.details.extend(born);
        Ok(world.thing)
    }
}

impl Connect for Fake {
    type Host = ();

    fn place<K: Managed>(&self, _: &K, _: Vec<Neighbour>) -> Result<Placement, String> {
        if self.world().nowhere {
            return Err("cannot determine placement".to_owned());
        }
        let ignored = self.world().ignored.clone();
        Ok(Placement { config: config(), recorded: true, ignored, choice: Choice::Own })
    }

    fn hold(&self, _: &ConfigId) -> Option<Refusal> {
        let message = "the host is left alone".to_owned();
        self.world().held.then_some(Refusal { reason: "Maintenance", message })
    }

    async fn connect(&self, config: &ConfigId) -> anyhow::Result<Arc<()>> {
        if self.world().unconfigured {
            return Err(NoConfig(config.clone()).into());
        }
        if self.world().early {
            return Err(anyhow::Error::new(NotYet("the host is being read".to_owned())).context("config"));
        }
        if self.world().held_once_connected {
            self.world().held = true;
        }
        if self.world().away { Err(anyhow!("host is away")) } else { Ok(Arc::new(())) }
    }

    fn renew<K: Managed>(&self, (): &(), _: &K) {
        self.world().renewed += 1;
    }

    fn retry(&self, _: &anyhow::Error) -> Retry {
        Retry::Backoff
    }

    fn effect(&self, _: &anyhow::Error) -> Effect {
        self.world().effect
    }
}

impl External for Fake {
    type Managed = Pool;
    type Connector = Self;
    type Referents = ();
    type Found = Thing;
    type Change = Mend;

    const CONDITIONS: &'static [Type] = &[Type::Importing];

    fn neighbours(&self, _: &Pool) -> Vec<Neighbour> {
        Vec::new()
    }

    async fn search(&self, _: &Pool) -> Result<Option<ConfigId>, String> {
        self.world().found.clone()
    }

    async fn resolve(&self, _: &Pool, _: &ConfigId) -> anyhow::Result<()> {
        self.world().waits.map_or(Ok(()), |what| Err(anyhow!("waiting for {what}")))
    }

    async fn find(&self, _: &Pass<'_, Self>, (): &()) -> anyhow::Result<Thing> {
        if self.world().blind {
            bail!("the host does not say");
        }
        Ok(self.world().thing)
    }

    async fn unresolved(&self, pass: &Pass<'_, Self>) -> anyhow::Result<Option<Report<PoolObservation>>> {
        let (thing, bare, blind) = {
            let world = self.world();
            (world.thing, world.bare, world.blind)
        };
        if blind {
            bail!("the host does not say");
        }
        Ok((bare && thing != Thing::Absent).then(|| self.report(pass, None, &thing)))
    }

    fn compare(&self, pass: &Pass<'_, Self>, (): &(), found: &Thing) -> anyhow::Result<Standing<Mend>> {
        Ok(match found {
            Thing::Absent => Standing::Absent,
            Thing::Underway => Standing::Underway,
            Thing::Settled => Standing::Settled,
            Thing::Drifted => Standing::Drifted(Mend, None),
            Thing::PartlyRefused => Standing::Drifted(Mend, Some(refusal())),
            Thing::Refused => Standing::Refused(refusal()),
            Thing::Foreign => {
                Standing::Barred(Refusal { reason: "ForeignObject", message: "it is not ours".to_owned() })
            }
            Thing::Adoptable if pass.object.annotation(OWNERSHIP).is_some() => Standing::Drifted(Mend, None),
            Thing::Adoptable => Standing::Adoptable(vec![(OWNERSHIP, Some("signed".to_owned()))]),
        })
    }

    async fn record(&self, _: &Pass<'_, Self>, (): &()) -> anyhow::Result<Record> {
        let annotations = vec![(OWNERSHIP, Some("signed".to_owned()))];
        Ok(Record { annotations, leftover: self.world().leftover })
    }

    fn is_costly(&self, _: &Pool) -> bool {
        self.world().costly
    }

    async fn create(&self, pass: &Pass<'_, Self>, (): &()) -> anyhow::Result<Thing> {
        self.world().before = Some(pass.creation);
        self.act("create")
    }

    async fn update(&self, _: &Pass<'_, Self>, (): &(), _: &Mend) -> anyhow::Result<Thing> {
        self.act("update")
    }

    async fn delete(&self, _: &Pass<'_, Self>) -> anyhow::Result<Deletion> {
        self.note("delete");
        let mut world = self.world();
        if world.thing == Thing::Absent {
            return Ok(Deletion::Absent);
        }
        let deletion = world.deletion;
        deletion(&mut world.thing)
    }

    fn report(&self, pass: &Pass<'_, Self>, _: Option<&()>, found: &Thing) -> Report<PoolObservation> {
        let (ready, conditions) = match found {
            Thing::Underway => (Wish::creating(), vec![Wish::new(Type::Importing, Status::True, "Downloading")]),
            _ => (Wish::available(), Vec::new()),
        };
        let observation = PoolObservation { state: Some(format!("{found:?}")), ..PoolObservation::default() };
        let is_shown = pass.object.spec.resource.write_connection_secret_to_ref.is_some() && *found != Thing::Absent;
        let shown = if is_shown { self.world().details.clone() } else { Vec::new() };
        let details = Details(shown.into_iter().map(|(key, value)| (key, value.into())).collect());
        Report { conditions, details, complete: *found != Thing::Underway, ..Report::of(observation, ready) }
    }

    fn forget(&self, _: &Pool) {
        self.world().forgotten += 1;
    }
}
