//! What a kind must say about itself: the seam between the generic reconciler and libvirt.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    future::Future,
    sync::Arc,
    time::Duration,
};

use apis::{
    Managed,
    condition::{Type, Wish},
    placement::{ConfigId, Neighbour, Placement},
};

use crate::{creation::Creation, plan::Policies};

/// Places objects on hosts and connects to them; one for all kinds.
pub trait Connect: Send + Sync + 'static {
    /// A connected host.
    type Host: Send + Sync + 'static;

    /// Which config the object uses. The error is a sentence for the user.
    fn place<K: Managed>(&self, object: &K, referents: Vec<Neighbour>) -> Result<Placement, String>;
    /// The host of a config; fails at once while it is known to be away, and with [`NotYet`] where that is not known soon.
    fn connect(&self, config: &ConfigId) -> impl Future<Output = anyhow::Result<Arc<Self::Host>>> + Send;
    /// Why nothing may be made, changed or taken away on the host of a config, whatever its objects say; None where it may.
    fn hold(&self, _: &ConfigId) -> Option<Refusal> {
        None
    }
    /// Somebody wants the object looked at sooner than the host is as a whole: what is known of it is to be read anew, and the object woken
    /// if it is not so any more.
    fn renew<K: Managed>(&self, host: &Self::Host, object: &K);
    /// When to try again after this error.
    fn retry(&self, error: &anyhow::Error) -> Retry;
    /// What a create that ended with this error may have done.
    fn effect(&self, error: &anyhow::Error) -> Effect;
}

/// There is no config of this name.
#[derive(Debug)]
pub struct NoConfig(pub ConfigId);

impl Display for NoConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot get ProviderConfig: there is no {}", self.0)
    }
}

impl std::error::Error for NoConfig {}

/// What a config needs to reach its host is gone; why.
#[derive(Debug)]
pub struct NoCredentials(pub String);

impl Display for NoCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoCredentials {}

/// Of a host nothing can be said yet, and nothing is: whoever waits is woken once it can.
#[derive(Debug)]
pub struct NotYet(pub String);

impl Display for NotYet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotYet {}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The object itself must change first.
    Never,
    /// Something must change first; look again with the next poll.
    Poll,
    /// The host is busy with something short.
    Soon,
    /// After a growing delay.
    Backoff,
}

/// What a create that failed may have done on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: the host refused it.
    None,
    /// Nothing of its own: it was not tried, because something else goes on.
    Untried,
    /// Nobody knows: the host did not answer.
    Unknown,
}

/// One pass over one object: everything the host side may ask of the Kubernetes side.
pub struct Pass<'a, E: External> {
    /// The object, with its metadata as it is now.
    pub object: &'a E::Managed,
    /// The host it is on.
    pub host: &'a Arc<<E::Connector as Connect>::Host>,
    /// The config of that host.
    pub config: &'a ConfigId,
    /// What may be done with it.
    pub policies: Policies,
    /// How far the making of it came; in `create` itself, how far the attempt before this one.
    pub creation: Creation,
}

/// What the comparison of wishes and host says.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing<C> {
    /// Nothing is there.
    Absent,
    /// It is being made by work that goes on by itself and will wake us.
    Underway,
    /// It is as wished.
    Settled,
    /// It differs, and this would mend it. What cannot be mended is refused beside it.
    Drifted(C, Option<Refusal>),
    /// It is as wished but for something that is not done without the user.
    Refused(Refusal),
    /// It must not be used or touched at all.
    Barred(Refusal),
    /// Others made it, and the object is to own it from now on: these annotations say so.
    Adoptable(Annotations),
}

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One word for programs, such as `ForeignObject`.
    pub reason: &'static str,
    /// What is the matter and what to do about it.
    pub message: String,
}

/// As an error, or as the context of one: the condition that tells of it bears the reason.
impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What came of a request to delete.
#[derive(Debug, PartialEq, Eq)]
pub enum Deletion {
    /// A look-up said that it is not there, or that what is there is not ours.
    Absent,
    /// It was taken away just now; the next look-up will tell.
    Requested,
    /// It takes time, for this reason; look again after a while.
    Waiting(String, Duration),
    /// It is not deleted, for this reason.
    Refused(Refusal),
}

/// What the host shows of an object, for its status.
#[derive(Debug)]
pub struct Report<O> {
    /// `status.atProvider`.
    pub observation: O,
    /// The condition Ready.
    pub ready: Wish,
    /// The kind's own conditions; those of [`External::CONDITIONS`] that are missing here are removed.
    pub conditions: Vec<Wish>,
    /// Annotations to keep on the object; written when they differ.
    pub annotations: Annotations,
    /// What the connection Secret says, where the object names one.
    pub details: Details,
    /// Whether nothing of a create goes on any more.
    pub complete: bool,
    /// When to look again, if sooner than the poll.
    pub recheck: Option<Duration>,
}

impl<O> Report<O> {
    /// A report without anything of the kind's own.
    pub fn of(observation: O, ready: Wish) -> Self {
        Self {
            observation,
            ready,
            conditions: Vec::new(),
            annotations: Annotations::new(),
            details: Details::default(),
            complete: true,
            recheck: None,
        }
    }
}

/// What is written down before a create begins.
#[derive(Debug, Default)]
pub struct Record {
    /// The annotations to be there.
    pub annotations: Annotations,
    /// Whether something that an earlier attempt left is there now.
    pub leftover: bool,
}

/// Connection details: keys and values of a Secret. Its values are in no log.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Details(pub BTreeMap<&'static str, Vec<u8>>);

impl fmt::Debug for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Annotations that a kind keeps on its object. None removes.
pub type Annotations = Vec<(&'static str, Option<String>)>;

/// A kind of managed resource. `find` and `report` look, `compare` is pure, `create`, `update` and `delete` look again and then act:
/// the mirror behind `find` may be stale, so whatever changes or releases something must read the one object anew.
/// All of them are safe to repeat.
pub trait External: Send + Sync + Sized + 'static {
    /// The kind.
    type Managed: Managed;
    /// Where its objects live.
    type Connector: Connect;
    /// What other objects had to tell.
    type Referents: Send + Sync;
    /// What the host has.
    type Found: Send + Sync;
    /// What would make the host as wished.
    type Change: Display + Send + Sync;

    /// The conditions of its own that this kind writes.
    const CONDITIONS: &'static [Type];
    /// Whether what is absent is what was made before. Where it may be something new, it is not waited for after a creation.
    const SAME_FOR_LIFE: bool = true;

    /// The placed objects that this one refers to.
    fn neighbours(&self, object: &Self::Managed) -> Vec<Neighbour>;
    /// The one config whose host has what the object stands for already, where nothing else says where it is to go. The error is a sentence
    /// for the user: several have it, or one does not say.
    fn search(&self, _: &Self::Managed) -> impl Future<Output = Result<Option<ConfigId>, String>> + Send {
        std::future::ready(Ok(None))
    }
    /// Reads the referents. The error names what is waited for.
    fn resolve(
        &self,
        object: &Self::Managed,
        config: &ConfigId,
    ) -> impl Future<Output = anyhow::Result<Self::Referents>> + Send;
    /// What the host has, from its mirror.
    fn find(
        &self,
        pass: &Pass<'_, Self>,
        referents: &Self::Referents,
    ) -> impl Future<Output = anyhow::Result<Self::Found>> + Send;
    /// What the status says of an object that is on its host while its referents cannot be resolved, as far as the host alone tells it.
    /// What needs no referents may be done, such as a stop; nothing may be made, given or started. None: nothing is told.
    fn unresolved(
        &self,
        _: &Pass<'_, Self>,
    ) -> impl Future<Output = anyhow::Result<Option<Report<<Self::Managed as Managed>::Observation>>>> + Send {
        std::future::ready(Ok(None))
    }
    /// Whether that is as wished.
    fn compare(
        &self,
        pass: &Pass<'_, Self>,
        referents: &Self::Referents,
        found: &Self::Found,
    ) -> anyhow::Result<Standing<Self::Change>>;
    /// Looks whether the place is free, and says what to write down before a create begins.
    fn record(
        &self,
        pass: &Pass<'_, Self>,
        referents: &Self::Referents,
    ) -> impl Future<Output = anyhow::Result<Record>> + Send;
    /// Whether making it costs others so much that after a try that failed nothing but the user brings the next one before its time.
    fn is_costly(&self, _: &Self::Managed) -> bool {
        false
    }
    /// Makes it. The answer is what the host has then.
    fn create(
        &self,
        pass: &Pass<'_, Self>,
        referents: &Self::Referents,
    ) -> impl Future<Output = anyhow::Result<Self::Found>> + Send;
    /// Changes it. The answer is what the host has then.
    fn update(
        &self,
        pass: &Pass<'_, Self>,
        referents: &Self::Referents,
        change: &Self::Change,
    ) -> impl Future<Output = anyhow::Result<Self::Found>> + Send;
    /// Takes it away.
    fn delete(&self, pass: &Pass<'_, Self>) -> impl Future<Output = anyhow::Result<Deletion>> + Send;
    /// Takes away what earlier states of the object left on the host, where nobody uses it any more. Called when it is as wished and
    /// may be deleted. Answers annotations to keep.
    fn tidy(
        &self,
        _: &Pass<'_, Self>,
        _: &Self::Referents,
        _: &Self::Found,
    ) -> impl Future<Output = anyhow::Result<Annotations>> + Send {
        std::future::ready(Ok(Annotations::new()))
    }
    /// What the status says of what was found.
    fn report(
        &self,
        pass: &Pass<'_, Self>,
        referents: Option<&Self::Referents>,
        found: &Self::Found,
    ) -> Report<<Self::Managed as Managed>::Observation>;
    /// The object is gone from Kubernetes, or let go: in-memory state about it goes too.
    fn forget(&self, object: &Self::Managed);
}
