//! The rules of a kind: one line for each path that needs more than "compare the text, change it in the definition".
//!
//! ```text
//! path                          key             unit       group     live route
//! memory                        -               KiB        memory    next boot
//! devices/disk                  alias, target   -          -         live (attach, detach)
//! devices/disk/target@bus       -               text       -         next boot, drops the address
//! ```
//!
//! A path is written without keys. What no rule names is text that a redefine changes and the next boot shows.

pub(crate) mod unit;

use std::collections::BTreeMap;
use std::fmt;

pub use unit::Unit;

/// What is known about one path.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub(crate) path: &'static str,
    pub(crate) keys: &'static [Key],
    pub(crate) unit: Unit,
    pub(crate) group: Option<&'static str>,
    pub(crate) route: Route,
    pub(crate) clears: &'static [&'static str],
    pub(crate) filled: bool,
}

/// How an item of a list is recognised; the first key that finds one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The alias a user gave: `alias@name`, beginning with `ua-`. Only it tells ours from others'.
    Alias,
    /// Fields of the item and what an absent one means: `("target@dev", "")`, `("@family", "ipv4")`; `("", "")` is its text.
    Fields(&'static [(&'static str, &'static str)]),
    /// The first item that nobody gave an alias.
    First,
}

/// How a difference comes true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// On the running object, by this call, and in the definition.
    Live(Live),
    /// In the definition; the running object shows it after its next start.
    NextBoot,
    /// In the definition, where it is all there is: nothing runs differently (an alias, metadata, a title).
    Definition,
    /// Never on an existing object.
    Immutable,
    /// The engine refuses it. No row of a table says so.
    Refused(Refusal),
}

/// The call that changes a running object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// Attach or detach the whole device.
    Device,
    /// Update the device in place: media, link state, network of an interface, password of a console.
    Update,
    /// Set the balloon: memory up to the maximum.
    Memory,
    /// Set the number of virtual processors, up to the maximum.
    Vcpus,
    /// Set how often the balloon's figures are read.
    Balloon,
    /// Throttle a disk.
    BlockTune,
    /// Throttle or set the link of an interface.
    InterfaceTune,
    /// Scheduler and processor tuning: weight, limits, pinning.
    Scheduler,
    /// Add and remove I/O threads.
    IoThreads,
    /// Set limits of memory.
    MemoryTune,
    /// Set the weight among all that use the host's disks.
    BlockWeight,
    /// Set what follows the end of a run.
    Lifecycle,
    /// Update a section of a network: DHCP hosts and ranges, DNS records, port groups.
    Network,
}

/// Why a difference is not made true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The disk holds other data than wished. Rewriting its source would lose what was written since, so a person decides.
    DiskSourceChanged,
}

impl Rule {
    const fn new(path: &'static str) -> Self {
        Self { path, keys: &[], unit: Unit::Text, group: None, route: Route::NextBoot, clears: &[], filled: false }
    }

    /// A value: an attribute or the text of an element.
    pub const fn value(path: &'static str, unit: Unit, route: Route) -> Self {
        let mut rule = Self::new(path);
        rule.unit = unit;
        rule.route = route;
        rule
    }

    /// An element that is taken as a whole when its group is rendered: what is wished of it replaces it.
    pub const fn element(path: &'static str, route: Route) -> Self {
        Self::value(path, Unit::Element, route)
    }

    /// A list, its items recognised by these keys in this order.
    pub const fn list(path: &'static str, keys: &'static [Key], route: Route) -> Self {
        let mut rule = Self::value(path, Unit::Element, route);
        rule.keys = keys;
        rule
    }

    /// Something libvirt adds by itself to an element wished whole: tolerated there, and left to libvirt at a replacement.
    pub const fn filled(path: &'static str) -> Self {
        let mut rule = Self::new(path);
        rule.filled = true;
        rule
    }

    /// Puts the path into a group: when one member differs, all are rendered, and those not wished are taken away.
    ///
    /// A group whose paths all lie in one list is a group of each item; any other spans the document.
    #[must_use]
    pub const fn group(mut self, group: &'static str) -> Self {
        self.group = Some(group);
        self
    }

    /// Takes these elements away when the value changes, unless they are wished: an address no longer fits another bus.
    #[must_use]
    pub const fn clears(mut self, paths: &'static [&'static str]) -> Self {
        self.clears = paths;
        self
    }
}

/// `path · key · unit · group · live route`, as the documentation of a kind lists it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        let keys = if keys.is_empty() { "-".to_owned() } else { keys.join(", then ") };
        let route = if self.filled { "filled by libvirt".to_owned() } else { self.route.to_string() };
        write!(f, "{} · {keys} · {} · {} · {route}", self.path, self.unit, self.group.unwrap_or("-"))?;
        if !self.clears.is_empty() {
            write!(f, ", clears {}", self.clears.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alias => f.write_str("alias"),
            Self::First => f.write_str("the first"),
            Self::Fields(fields) => {
                let names: Vec<&str> =
                    fields.iter().map(|(name, _)| if name.is_empty() { "text" } else { *name }).collect();
                f.write_str(&names.join(" + "))
            }
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live(Live::Device) => "live: attach or detach",
            Self::Live(Live::Update) => "live: update device",
            Self::Live(Live::Memory) => "live: balloon",
            Self::Live(Live::Vcpus) => "live: vcpus",
            Self::Live(Live::Balloon) => "live: balloon figures",
            Self::Live(Live::BlockTune) => "live: block tuning",
            Self::Live(Live::InterfaceTune) => "live: interface tuning",
            Self::Live(Live::Scheduler) => "live: scheduler",
            Self::Live(Live::IoThreads) => "live: I/O threads",
            Self::Live(Live::MemoryTune) => "live: memory tuning",
            Self::Live(Live::BlockWeight) => "live: block weight",
            Self::Live(Live::Lifecycle) => "live: lifecycle",
            Self::Live(Live::Network) => "live: network section",
            Self::NextBoot => "next boot",
            Self::Definition => "definition",
            Self::Immutable => "immutable",
            Self::Refused(_) => "refused",
        })
    }
}

/// The table of a kind, ready to be looked up in.
#[derive(Clone, Debug)]
pub struct Rules {
    by_path: BTreeMap<&'static str, Rule>,
    groups: BTreeMap<&'static str, Group>,
}

/// The members of a group and the list whose items each have one of their own.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) members: Vec<Rule>,
    /// How many leading steps of a path name the group's item; 0 for a group of the document.
    pub(crate) scope: usize,
}

impl Rules {
    /// Takes a table; of two rows for one path the later counts.
    pub fn new(table: &[Rule]) -> Self {
        let by_path: BTreeMap<&'static str, Rule> = table.iter().map(|rule| (rule.path, *rule)).collect();
        let mut groups: BTreeMap<&'static str, Group> = BTreeMap::new();
        for rule in by_path.values() {
            if let Some(name) = rule.group {
                let group = groups.entry(name).or_insert_with(|| Group { members: Vec::new(), scope: 0 });
                group.members.push(*rule);
            }
        }
        let mut rules = Self { by_path, groups: BTreeMap::new() };
        for group in groups.values_mut() {
            group.scope = rules.scope(&group.members);
        }
        rules.groups = groups;
        rules
    }

    /// The rows, sorted by path: each one shows as a line of the documentation.
    pub fn rows(&self) -> impl Iterator<Item = &Rule> {
        self.by_path.values()
    }

    pub(crate) fn at(&self, pattern: &str) -> Option<&Rule> {
        self.by_path.get(pattern)
    }

    /// What a wished value is a spelling of; `loose` where nobody but its user may know.
    pub(crate) fn unit_of(&self, pattern: &str, loose: bool) -> Unit {
        if loose && self.at(pattern).is_none() { Unit::Unknown } else { self.unit(pattern) }
    }

    pub(crate) fn unit(&self, pattern: &str) -> Unit {
        self.at(pattern).map_or(Unit::Text, |rule| rule.unit)
    }

    /// How a change at a pattern comes true: by its own row, else by that of the whole element it lies in.
    ///
    /// An alias without a row is a matter of the definition: a running device cannot be renamed, and need not be.
    pub fn route(&self, pattern: &str) -> Route {
        let default = if pattern.ends_with("/alias@name") { Route::Definition } else { Route::NextBoot };
        let mut around = self.around(pattern);
        around.next().map_or(default, |rule| rule.route)
    }

    /// The row that puts a pattern into a group: of nested groups the innermost counts.
    pub(crate) fn grouping(&self, pattern: &str) -> Option<&Rule> {
        self.around(pattern).find(|rule| rule.group.is_some())
    }

    /// The rows a change at a pattern falls under: its own, then those of whole elements around it, innermost first.
    pub(crate) fn around<'a, 'p>(&'a self, pattern: &'p str) -> impl Iterator<Item = &'a Rule> + use<'a, 'p> {
        let outwards = std::iter::successors(Some(pattern), |inner| {
            let cut = inner.rfind(['/', '@'])?;
            inner.get(..cut)
        });
        let is_around =
            move |rule: &&Rule| rule.path == pattern || (rule.unit == Unit::Element && rule.keys.is_empty());
        outwards.filter_map(|outer| self.at(outer)).filter(is_around)
    }

    /// The rows strictly inside of a pattern.
    pub(crate) fn inside<'a>(&'a self, pattern: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.by_path.values().filter(move |rule| is_inside(rule.path, pattern))
    }

    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// The keys of the list at a pattern; empty where it is no list.
    pub(crate) fn keys(&self, pattern: &str) -> &'static [Key] {
        self.at(pattern).map_or(&[], |rule| rule.keys)
    }

    pub(crate) fn is_filled(&self, pattern: &str) -> bool {
        self.at(pattern).is_some_and(|rule| rule.filled)
    }

    /// Whether the element's `unit` attribute belongs to a size and is compared with it.
    pub(crate) fn is_sized(&self, element: &str) -> bool {
        let inside =
            |path: &str| path == element || path.strip_prefix(element).is_some_and(|rest| rest.starts_with('@'));
        self.by_path
            .range(element..)
            .take_while(|(path, _)| path.starts_with(element))
            .any(|(path, rule)| inside(path) && rule.unit.is_size())
    }

    /// The steps of the innermost list that every member lies in.
    fn scope(&self, members: &[Rule]) -> usize {
        let Some(first) = members.first() else { return 0 };
        let shares = |list: &str| members.iter().all(|rule| is_inside(rule.path, list));
        let lists = self.by_path.values().filter(|rule| !rule.keys.is_empty() && is_inside(first.path, rule.path));
        lists.filter(|rule| shares(rule.path)).map(|rule| rule.path.split('/').count()).max().unwrap_or(0)
    }

    /// The steps of the innermost list around a pattern.
    pub(crate) fn scope_of(&self, pattern: &str) -> usize {
        let lists = self.by_path.values().filter(|rule| !rule.keys.is_empty() && is_inside(pattern, rule.path));
        lists.map(|rule| rule.path.split('/').count()).max().unwrap_or(0)
    }
}

/// Whether a pattern lies strictly inside of an element.
fn is_inside(pattern: &str, element: &str) -> bool {
    pattern.strip_prefix(element).is_some_and(|rest| rest.starts_with(['/', '@']))
}
