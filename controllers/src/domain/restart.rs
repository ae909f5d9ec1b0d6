//! Whether a running guest is to be started again, and what is noted of it: pure.
//!
//! ```text
//! asked for, or changes that its policy does not let wait ──▶ noted: why, and the run that is to end
//!     ──▶ that run is asked to end, or cut off ──▶ off: that is noted, and it is started ──▶ running: over
//! ```
//! It is over too where somebody else, such as a host at its start, was quicker: by the run's number, and where that is the same again, by
//! the note that the run began with.
//! A restart that did not bring the changes about is not made again for the same ones.

use apis::domain::RestartPolicy;
use libvirt::diff::Difference;
use sha2::{Digest, Sha256};

use crate::mark::{Cause, Note, UnderWay};

/// What a decision is about.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a question of its own, and all of their answers may meet")]
pub(super) struct Guest<'a> {
    /// The annotation that asks for a restart.
    pub(super) token: Option<&'a str>,
    /// What is done for changes.
    pub(super) policy: RestartPolicy,
    /// Its present run; None while it is off.
    pub(super) run: Option<u32>,
    /// That run began with what is noted now: what it shows of its definition is as that was then.
    pub(super) knows: bool,
    /// It runs and is not paused, so that it can hear that it is to shut down.
    pub(super) hears: bool,
    /// It is to be off.
    pub(super) halted: bool,
    /// A digest of the changes that wait for its next boot; None when none do.
    pub(super) changes: Option<&'a str>,
    /// Whether it shows everything as wished, also what could be changed while it runs.
    pub(super) whole: bool,
}

/// The restart that is to go on, and what is to be noted.
pub(super) fn decide(guest: Guest<'_>, before: &Note) -> (Option<Cause>, Note) {
    let token = guest.token.map(str::to_owned);
    let mut note = before.clone();
    let Some(run) = guest.run else {
        // Whoever starts it next does what was asked for.
        note.token = token;
        // The run that was to end has: which number the next has says nothing, for a daemon that is started anew counts anew.
        note.under_way = note.under_way.filter(|_| !guest.halted).map(|under_way| UnderWay { run: None, ..under_way });
        return (None, note);
    };
    if guest.whole {
        note.tried = None;
    }
    let may_wait = guest.policy == RestartPolicy::Never || guest.changes.is_none();
    note.under_way = note.under_way.filter(|under_way| under_way.run == Some(run) && !guest.knows && !guest.halted);
    // One that was asked to shut down may still do so when nobody wants it any more: then it is started again all the same.
    if let Some(UnderWay { cause, .. }) =
        note.under_way.filter(|under_way| under_way.cause == Cause::Asked || !may_wait)
    {
        note.tried = guest.changes.map(str::to_owned).filter(|_| cause == Cause::Changes).or(note.tried);
        return (guest.hears.then_some(cause), note);
    }
    if guest.halted || !guest.hears {
        return (None, note);
    }
    let is_new = guest.changes != note.tried.as_deref();
    let cause = if guest.token.is_some() && token != note.token {
        Cause::Asked
    } else if !may_wait && is_new {
        Cause::Changes
    } else {
        return (None, note);
    };
    note.token = token;
    note.under_way = Some(UnderWay { cause, run: Some(run) });
    note.tried = guest.changes.map(str::to_owned);
    (Some(cause), note)
}

/// What a restart would be for. What the guest shows by now is no part of it: that changes by itself.
pub(super) fn digest(changes: &[Difference]) -> Option<String> {
    if changes.is_empty() {
        return None;
    }
    let mut digest = Sha256::new();
    for Difference { path, want, .. } in changes {
        digest.update(path);
        digest.update([0, u8::from(want.is_some())]);
        digest.update(want.as_deref().unwrap_or_default());
        digest.update([0]);
    }
    let digest = digest.finalize();
    Some(format!("{:016x}", digest.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: Guest<'_> = Guest {
        token: None,
        policy: RestartPolicy::Graceful,
        run: Some(1),
        knows: false,
        hears: true,
        halted: false,
        changes: Some("x"),
        whole: false,
    };

    fn note(token: Option<&str>, under_way: Option<(Cause, u32)>, tried: Option<&str>) -> Note {
        let under_way = under_way.map(|(cause, run)| UnderWay { cause, run: Some(run) });
        Note { token: token.map(str::to_owned), under_way, tried: tried.map(str::to_owned) }
    }

    /// The same, once the run that was to end has.
    fn ended(note: &Note) -> Note {
        let under_way = note.under_way.map(|UnderWay { cause, .. }| UnderWay { cause, run: None });
        Note { under_way, ..note.clone() }
    }

    #[test]
    fn a_run_with_the_number_of_the_one_that_was_to_end_is_another_after_the_guest_was_off_or_when_it_began_with_the_note()
     {
        let calm = Guest { policy: RestartPolicy::Never, changes: None, whole: true, token: Some("a"), ..RUNNING };
        let begun = note(Some("a"), Some((Cause::Asked, 1)), None);
        let off = Guest { run: None, ..calm };
        let (none, noted) = decide(off, &begun);
        assert_eq!((none, &noted), (None, &ended(&begun)));
        assert_eq!(decide(off, &noted), (None, noted.clone()), "nothing more to note");
        let done = note(Some("a"), None, None);
        assert_eq!(decide(calm, &noted), (None, done.clone()));
        assert_eq!(decide(Guest { knows: true, ..calm }, &begun), (None, done.clone()), "others started it");
        assert_eq!(decide(Guest { run: Some(2), ..calm }, &begun), (None, done));
    }

    #[test]
    fn a_restart_for_changes_is_made_once_for_the_same_ones() {
        let nothing = Note::default();
        let begun = note(None, Some((Cause::Changes, 1)), Some("x"));
        assert_eq!(decide(RUNNING, &nothing), (Some(Cause::Changes), begun.clone()));
        assert_eq!(decide(RUNNING, &begun), (Some(Cause::Changes), begun.clone()));
        assert_eq!(decide(Guest { run: None, ..RUNNING }, &begun), (None, ended(&begun)));
        let again = Guest { run: Some(2), ..RUNNING };
        let tried = note(None, None, Some("x"));
        assert_eq!(decide(again, &begun), (None, tried.clone()), "it did not help");
        assert_eq!(decide(Guest { changes: None, whole: true, ..again }, &tried), (None, nothing.clone()), "it did");
        assert_eq!(decide(Guest { changes: None, ..again }, &tried), (None, tried.clone()), "it may yet");
        let other = note(None, Some((Cause::Changes, 2)), Some("y"));
        assert_eq!(decide(Guest { changes: Some("y"), ..again }, &tried), (Some(Cause::Changes), other));
        assert_eq!(decide(Guest { policy: RestartPolicy::Never, ..RUNNING }, &nothing), (None, nothing));
    }

    #[test]
    fn a_restart_for_changes_that_are_taken_back_is_called_off_but_for_a_guest_that_shuts_down_already() {
        let under_way = Some((Cause::Changes, 1));
        let begun = note(None, under_way, Some("x"));
        let back = Guest { changes: None, whole: true, ..RUNNING };
        assert_eq!(decide(back, &begun), (None, note(None, under_way, None)), "it is not asked again");
        let off = Guest { run: None, ..back };
        assert_eq!(decide(off, &begun), (None, ended(&begun)), "it is started when it has shut down");
        assert_eq!(decide(Guest { run: Some(2), ..back }, &begun), (None, Note::default()));
        let never = Guest { policy: RestartPolicy::Never, ..RUNNING };
        assert_eq!(decide(never, &begun), (None, begun.clone()));
        let other = Guest { changes: Some("y"), ..RUNNING };
        assert_eq!(decide(other, &begun), (Some(Cause::Changes), note(None, under_way, Some("y"))));
    }

    #[test]
    fn each_token_restarts_a_guest_once_and_one_that_is_off_not_at_all() {
        let calm = Guest { policy: RestartPolicy::Never, changes: None, whole: true, ..RUNNING };
        let asked = Guest { token: Some("a"), ..calm };
        let begun = note(Some("a"), Some((Cause::Asked, 1)), None);
        assert_eq!(decide(asked, &Note::default()), (Some(Cause::Asked), begun.clone()));
        assert_eq!(decide(asked, &begun), (Some(Cause::Asked), begun.clone()));
        assert_eq!(decide(calm, &begun).0, Some(Cause::Asked), "what was begun is finished");
        let done = note(Some("a"), None, None);
        assert_eq!(decide(Guest { run: Some(2), ..asked }, &begun), (None, done.clone()));
        assert_eq!(decide(asked, &done), (None, done.clone()));
        assert_eq!(decide(Guest { run: None, ..asked }, &Note::default()), (None, done.clone()));
        assert_eq!(decide(calm, &done), (None, done), "an annotation that is taken away asks for nothing");
    }

    #[test]
    fn a_guest_that_cannot_hear_or_is_to_be_off_is_not_started_again_and_a_token_waits() {
        for guest in [Guest { hears: false, ..RUNNING }, Guest { halted: true, ..RUNNING }] {
            let guest = Guest { token: Some("a"), ..guest };
            assert_eq!(decide(guest, &Note::default()), (None, Note::default()));
        }
        let begun = note(None, Some((Cause::Asked, 1)), None);
        let off = Guest { halted: true, run: None, ..RUNNING };
        assert_eq!(decide(off, &begun), (None, Note::default()));
    }

    #[test]
    fn a_digest_is_of_what_is_wished() {
        let change = |want: Option<&str>, have: &str| {
            let route = libvirt::rule::Route::NextBoot;
            let (want, have) = (want.map(str::to_owned), Some(have.to_owned()));
            vec![Difference { path: "vcpu".to_owned(), want, have, route, group: None }]
        };
        assert_eq!(digest(&[]), None);
        assert_eq!(digest(&change(Some("2"), "1")), digest(&change(Some("2"), "3")));
        assert_ne!(digest(&change(Some("2"), "1")), digest(&change(Some("4"), "1")));
        assert_ne!(digest(&change(None, "1")), digest(&change(Some(""), "1")));
    }
}
