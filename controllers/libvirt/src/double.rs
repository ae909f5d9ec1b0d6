//! A host for tests: libvirt's own test driver, which is in memory and in this process, behind all that production uses, with a record of
//! what it was asked and faults to be met on the way. Not in the program: a feature brings it, which only tests ask for.
//!
//! ```text
//! Host::call ──▶ thread ──▶ Connection::counted ──▶ Double: noted; hang, delay, error? ──▶ libvirt ──▶ Double: list cut? ──▶ answer
//!                                                          events ──▶ Double: lost, late, repeated? ──▶ keeper
//! ```

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::lock::lock;
use crate::{Call, Error};

/// What goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is made only once the fault is lifted.
    Hang,
    /// It is made so much later.
    Delay(Duration),
    /// It is not made, and answered with libvirt's error code, its domain and its sentence.
    Fail(u32, u32, &'static str),
    /// It is made, and of the list that it answers only so many entries arrive.
    Partial(usize),
}

/// A call that was begun, with what it was about: a domain's UUID, a pool's name, a pool's and a volume's, or the lists of a sweep.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Asked {
    /// The function.
    pub call: Call,
    /// What it was about.
    pub object: String,
}

/// What a host was asked, and what goes wrong on it. Of faults for one call, that for its object comes first.
#[derive(Debug, Default)]
pub struct Double {
    state: Mutex<State>,
    lifted: Condvar,
}

#[derive(Debug, Default)]
struct State {
    asked: Vec<Asked>,
    /// By call and object; None is every object.
    faults: HashMap<(Call, Option<String>), Fault>,
    /// How much later each event arrives, once for each of these; None is once and at once.
    arrivals: Option<Vec<Duration>>,
    lost: usize,
    hanging: usize,
}

impl State {
    fn fault(&self, call: Call, object: &str) -> Option<&Fault> {
        self.faults.get(&(call, Some(object.to_owned()))).or_else(|| self.faults.get(&(call, None)))
    }
}

thread_local! {
    /// What the call is about that this thread makes.
    static OBJECT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on this thread's calls are about this.
pub(crate) fn about(object: &str) {
    OBJECT.with_borrow_mut(|known| object.clone_into(known));
}

impl Double {
    /// From now on this goes wrong with every such call.
    pub fn fault(&self, call: Call, fault: Fault) {
        lock(&self.state).faults.insert((call, None), fault);
    }

    /// From now on this goes wrong with such a call on this object.
    pub fn fault_on(&self, call: Call, object: &str, fault: Fault) {
        lock(&self.state).faults.insert((call, Some(object.to_owned())), fault);
    }

    /// Events do not arrive from now on.
    pub fn lose_events(&self) {
        self.shift_events(&[]);
    }

    /// Each event arrives once for each of these from now on, and so much later.
    pub fn shift_events(&self, arrivals: &[Duration]) {
        lock(&self.state).arrivals = Some(arrivals.to_vec());
    }

    /// Nothing goes wrong any more; calls that hang go on.
    pub fn lift(&self) {
        let mut state = lock(&self.state);
        state.faults.clear();
        state.arrivals = None;
        drop(state);
        self.lifted.notify_all();
    }

    /// As if nothing had been asked yet, and nothing goes wrong.
    pub fn reset(&self) {
        self.lift();
        let mut state = lock(&self.state);
        state.asked.clear();
        state.lost = 0;
    }

    /// What it was asked, in this order, and forgets it.
    pub fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut lock(&self.state).asked)
    }

    /// How many calls hang.
    pub fn hanging(&self) -> usize {
        lock(&self.state).hanging
    }

    /// How many events did not arrive.
    pub fn lost(&self) -> usize {
        lock(&self.state).lost
    }

    /// Before a call: notes it and does to it what is to go wrong.
    pub(crate) fn meet(&self, call: Call) -> Result<(), Error> {
        let object = OBJECT.with_borrow(String::clone);
        let mut state = lock(&self.state);
        state.asked.push(Asked { call, object: object.clone() });
        let hangs = |state: &mut State| matches!(state.fault(call, &object), Some(Fault::Hang));
        if hangs(&mut state) {
            state.hanging += 1;
            state = self.lifted.wait_while(state, hangs).unwrap_or_else(PoisonError::into_inner);
            state.hanging -= 1;
        }
        let fault = state.fault(call, &object).cloned();
        drop(state);
        match fault {
            Some(Fault::Delay(pause)) => std::thread::sleep(pause),
            Some(Fault::Fail(code, domain, message)) => return Err(Error::from_codes(code, domain, message)),
            Some(Fault::Hang | Fault::Partial(_)) | None => {}
        }
        Ok(())
    }

    /// Of a list, what arrives.
    pub(crate) fn cut<T>(&self, call: Call, mut list: Vec<T>) -> Vec<T> {
        let object = OBJECT.with_borrow(String::clone);
        if let Some(Fault::Partial(count)) = lock(&self.state).fault(call, &object) {
            list.truncate(*count);
        }
        list
    }

    /// How much later an event arrives, each time that it does; None where it arrives as ever.
    pub(crate) fn arrivals(&self) -> Option<Vec<Duration>> {
        let mut state = lock(&self.state);
        let arrivals = state.arrivals.clone();
        state.lost += usize::from(arrivals.as_ref().is_some_and(Vec::is_empty));
        arrivals
    }
}
