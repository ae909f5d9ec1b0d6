//! What to do: pure, and tested as a table.

use apis::{Managed, managed::ManagementPolicy};

use crate::external::{Annotations, Refusal, Standing};

/// The policies of one object, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a right of its own, and all of them may meet")]
pub struct Policies {
    create: bool,
    update: bool,
    delete: bool,
    /// The host is left alone for now, whatever the object's own policies are.
    held: bool,
}

impl Policies {
    /// Everything may be done.
    pub const FULL: Self = Self { create: true, update: true, delete: true, held: false };

    /// The sets that Crossplane supports (crossplane-runtime `pkg/reconciler/managed/policies.go`); every other is refused.
    /// The empty set means paused and is answered before this.
    pub fn check(set: &[ManagementPolicy]) -> Result<Self, String> {
        use ManagementPolicy::{All, Create, Delete, LateInitialize, Observe, Update};
        let has = |policy: ManagementPolicy| set.contains(&policy);
        if has(All) && set.iter().all(|policy| *policy == All) {
            return Ok(Self::FULL);
        }
        let (create, update, delete, late) = (has(Create), has(Update), has(Delete), has(LateInitialize));
        let unsupported = [(false, true, true, false), (false, true, true, true), (false, false, true, true)];
        if has(All) || !has(Observe) || unsupported.contains(&(create, update, delete, late)) {
            return Err(format!(
                "`spec.managementPolicies` is set to a value({}) which is not supported. Check docs for supported policies",
                names(set)
            ));
        }
        Ok(Self { create, update, delete, held: false })
    }

    /// The same for a provider that does not honour policies: everything may be done, and the user is told that what else they say is
    /// not heard.
    pub fn unheard(set: &[ManagementPolicy]) -> Result<Self, String> {
        if set.iter().all(|policy| *policy == ManagementPolicy::All) {
            return Ok(Self::FULL);
        }
        Err(format!(
            "`spec.managementPolicies` is set to a non-default value but the feature is not enabled: {}",
            names(set)
        ))
    }

    /// The same for a host that is left alone: nothing may be done, and what is there is the object's or not as ever.
    #[must_use]
    pub fn held(self) -> Self {
        if self.only_observes() { self } else { Self { create: false, update: false, delete: false, held: true } }
    }

    /// Whether the host is left alone for now.
    pub fn is_held(self) -> bool {
        self.held
    }

    /// Whether the external resource is only looked at: it may be anybody's.
    pub fn only_observes(self) -> bool {
        !(self.create || self.update || self.delete || self.held)
    }

    /// Whether the external resource may be changed.
    pub fn may_update(self) -> bool {
        self.update
    }

    /// Whether the external resource goes when the object does.
    pub fn may_delete(self) -> bool {
        self.delete
    }
}

/// Whether an object only looks, whoever made what it looks at.
pub fn only_observes<K: Managed>(object: &K) -> bool {
    Policies::check(&object.resource().management_policies).is_ok_and(Policies::only_observes)
}

/// Policies as Go programs print them.
fn names(set: &[ManagementPolicy]) -> String {
    let names: Vec<&str> = set.iter().map(|policy| policy.as_str()).collect();
    format!("[{}]", names.join(" "))
}

/// The step of one pass over an object that is not being deleted.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<C> {
    /// Make it.
    Create,
    /// Change it.
    Update(C, Option<Refusal>),
    /// Nothing to do.
    Keep,
    /// It differs, and the policies do not let us mend it.
    Tolerate(C),
    /// It is not there, and the policies do not let us make it.
    Missing,
    /// Something is refused; the object is used on.
    Refuse(Refusal),
    /// The object is not to be used or touched.
    Bar(Refusal),
    /// Work goes on by itself.
    Wait,
    /// Own what others made: these annotations say so.
    Adopt(Annotations),
}

/// What a pass found the host to be, as the figure of drifts counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As wished.
    Unchanged,
    /// Otherwise than wished, and it was mended.
    Mended,
    /// Anything else.
    Other,
}

impl<C> Step<C> {
    /// What the host is found to be once the step is done.
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Keep => Verdict::Unchanged,
            Self::Update(..) => Verdict::Mended,
            Self::Create | Self::Tolerate(_) | Self::Missing | Self::Refuse(_) => Verdict::Other,
            Self::Bar(_) | Self::Wait | Self::Adopt(_) => Verdict::Other,
        }
    }
}

/// Chooses the step.
pub fn plan<C>(standing: Standing<C>, policies: Policies) -> Step<C> {
    match standing {
        Standing::Absent if policies.create => Step::Create,
        Standing::Absent => Step::Missing,
        Standing::Underway => Step::Wait,
        Standing::Settled => Step::Keep,
        Standing::Drifted(change, refusal) if policies.update => Step::Update(change, refusal),
        Standing::Drifted(change, _) => Step::Tolerate(change),
        Standing::Refused(refusal) => Step::Refuse(refusal),
        Standing::Barred(refusal) => Step::Bar(refusal),
        Standing::Adoptable(_) if policies.only_observes() => Step::Keep,
        Standing::Adoptable(_) if policies.is_held() => Step::Missing,
        Standing::Adoptable(annotations) => Step::Adopt(annotations),
    }
}

#[cfg(test)]
mod tests {
    use ManagementPolicy::{All, Create, Delete, LateInitialize, Observe, Update};

    use super::*;

    fn policies(set: &[ManagementPolicy]) -> Policies {
        Policies::check(set).unwrap()
    }

    #[test]
    fn every_set_that_crossplane_supports_is_accepted_and_no_other() {
        let all = [Observe, Create, Update, Delete, LateInitialize];
        let supported = ["OCULD", "O", "OCUD", "OCUL", "OCU", "OCDL", "OCL", "OCD", "OC", "OD", "OU", "OL", "OUL"];
        for bits in 1..32_u8 {
            let set: Vec<_> = (0..5).filter(|bit| bits & (1 << bit) != 0).map(|bit| all[bit]).collect();
            let mut name: String = set.iter().map(|policy| format!("{policy:?}").chars().next().unwrap()).collect();
            name = sorted(&name);
            let expected = supported.iter().any(|known| sorted(known) == name);
            assert_eq!(Policies::check(&set).is_ok(), expected, "{set:?}");
        }
        assert!(Policies::check(&[All]).is_ok());
        assert!(Policies::check(&[All, Observe]).is_err());
    }

    #[test]
    fn policies_that_are_not_heard_are_refused_unless_they_are_the_default() {
        for set in [&[][..], &[All]] {
            assert_eq!(Policies::unheard(set), Ok(Policies::FULL));
        }
        let refusal =
            "`spec.managementPolicies` is set to a non-default value but the feature is not enabled: [Observe Delete]";
        assert_eq!(Policies::unheard(&[Observe, Delete]), Err(refusal.to_owned()));
    }

    fn sorted(name: &str) -> String {
        let mut letters: Vec<char> = name.chars().collect();
        letters.sort_unstable();
        letters.into_iter().collect()
    }

    #[test]
    fn the_step_follows_from_standing_and_policies() {
        let refusal = || Refusal { reason: "ForeignObject", message: "not ours".to_owned() };
        let (full, look, no_update) = (policies(&[All]), policies(&[Observe]), policies(&[Observe, Create, Delete]));
        let held = full.held();
        let record = || vec![("record", Some("signed".to_owned()))];
        let table: [(Standing<u8>, Policies, Step<u8>); 21] = [
            (Standing::Absent, full, Step::Create),
            (Standing::Absent, look, Step::Missing),
            (Standing::Absent, no_update, Step::Create),
            (Standing::Underway, full, Step::Wait),
            (Standing::Settled, full, Step::Keep),
            (Standing::Settled, look, Step::Keep),
            (Standing::Drifted(1, None), full, Step::Update(1, None)),
            (Standing::Drifted(1, Some(refusal())), full, Step::Update(1, Some(refusal()))),
            (Standing::Drifted(1, None), look, Step::Tolerate(1)),
            (Standing::Drifted(1, None), no_update, Step::Tolerate(1)),
            (Standing::Refused(refusal()), full, Step::Refuse(refusal())),
            (Standing::Barred(refusal()), full, Step::Bar(refusal())),
            (Standing::Barred(refusal()), look, Step::Bar(refusal())),
            (Standing::Adoptable(record()), full, Step::Adopt(record())),
            (Standing::Adoptable(record()), no_update, Step::Adopt(record())),
            (Standing::Adoptable(record()), look, Step::Keep),
            (Standing::Absent, held, Step::Missing),
            (Standing::Settled, held, Step::Keep),
            (Standing::Drifted(1, None), held, Step::Tolerate(1)),
            (Standing::Adoptable(record()), held, Step::Missing),
            (Standing::Adoptable(record()), look.held(), Step::Keep),
        ];
        for (standing, policies, step) in table {
            let shown = format!("{standing:?} {policies:?}");
            assert_eq!(plan(standing, policies), step, "{shown}");
        }
    }
}
