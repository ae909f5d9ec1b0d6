//! libvirt's event loop on the kernel's (`virEventRegisterImpl`).
//!
//! ```text
//! libvirt, any thread ──▶ add, update, remove ──▶ table, epoll
//! lv-events: epoll ──▶ which are ready? timers due? ──▶ their callbacks, with nothing locked ──▶ contexts of those that ended freed
//! ```
//!
//! Callbacks and the functions that free their contexts are called by this thread alone, so a context is there as long as its callback runs.

use std::ffi::{c_int, c_void};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use polling::{Event, Events, PollMode, Poller};
use virt::sys;

use crate::event_loop::{Table, Watch};
use crate::lock::lock;

const READABLE: c_int = 1;
const WRITABLE: c_int = 2;
const ERROR: c_int = 4;
const HANGUP: c_int = 8;

/// How many descriptors one look tells of; the next one tells of the others.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(256).unwrap();

static LOOP: OnceLock<EventLoop> = OnceLock::new();

/// The loop of the process.
pub(crate) struct EventLoop {
    poller: Poller,
    table: Mutex<Table<Callee>>,
}

type OnReady = unsafe extern "C" fn(c_int, c_int, c_int, *mut c_void);
type OnTime = unsafe extern "C" fn(c_int, *mut c_void);

#[derive(Clone, Copy)]
enum Callback {
    Ready(OnReady),
    Time(OnTime),
}

/// Whom to call, and how to free its context when it is called no more.
#[derive(Clone, Copy)]
struct Callee {
    callback: Callback,
    opaque: *mut c_void,
    free: sys::virFreeCallback,
}

// SAFETY: libvirt hands contexts to whichever thread runs the loop.
unsafe impl Send for Callee {}

impl EventLoop {
    /// Makes it libvirt's. Before the first connection is opened, and once.
    pub(crate) fn register() -> io::Result<&'static Self> {
        let poller = Poller::new()?;
        let events = LOOP.get_or_init(|| Self { poller, table: Mutex::default() });
        // SAFETY: the functions have the signatures that libvirt documents, may be called by any thread and live as long as the process.
        unsafe {
            sys::virEventRegisterImpl(
                Some(add_handle),
                Some(update_handle),
                Some(remove_handle),
                Some(add_timeout),
                Some(update_timeout),
                Some(remove_timeout),
            );
        }
        Ok(events)
    }

    /// Runs it for ever.
    pub(crate) fn run(&self) {
        let mut ready = Events::with_capacity(AT_ONCE);
        loop {
            let wait = lock(&self.table).wait(Instant::now());
            ready.clear();
            if let Err(error) = self.poller.wait(&mut ready, wait) {
                tracing::warn!(%error, "run the libvirt event loop");
                thread::sleep(Duration::from_millis(100));
            }
            for event in ready.iter() {
                self.tell(&event);
            }
            self.tell_timers();
            self.free();
        }
    }

    fn tell(&self, event: &Event) {
        let Ok(number) = c_int::try_from(event.key) else { return };
        let Some(Watch { descriptor, events, callee }) = lock(&self.table).watch(number) else { return };
        let all = [
            (event.readable, READABLE),
            (event.writable, WRITABLE),
            (event.is_err() == Some(true), ERROR),
            (event.is_interrupt(), HANGUP),
        ];
        let happened = all.into_iter().filter(|(is_so, _)| *is_so).fold(0, |bits, (_, bit)| bits | bit) & events;
        if let Callback::Ready(call) = callee.callback
            && happened != 0
        {
            // SAFETY: it was registered for a descriptor, and its context is freed by this thread only.
            unsafe { call(number, descriptor, happened, callee.opaque) };
        }
    }

    fn tell_timers(&self) {
        let now = Instant::now();
        let due = lock(&self.table).due(now);
        for number in due {
            let callee = lock(&self.table).fire(number, now);
            if let Some(Callee { callback: Callback::Time(call), opaque, free: _ }) = callee {
                // SAFETY: it was registered for a timer, and its context is freed by this thread only.
                unsafe { call(number, opaque) };
            }
        }
    }

    fn free(&self) {
        let ended = lock(&self.table).ended();
        for Callee { callback: _, opaque, free } in ended {
            if let Some(free) = free {
                // SAFETY: what it belongs to is in the table no more, so nobody is called with it again.
                unsafe { free(opaque) };
            }
        }
    }

    fn watch(&self, number: c_int, descriptor: RawFd, (before, after): (c_int, c_int)) -> io::Result<()> {
        // SAFETY: libvirt watches descriptors that it has open, and takes them back before it closes them.
        let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let key = usize::try_from(number).unwrap_or_default();
        let interest = Event::new(key, after & READABLE != 0, after & WRITABLE != 0);
        match (before, after) {
            (0, 0) => Ok(()),
            // SAFETY: as above.
            (0, _) => unsafe { self.poller.add_with_mode(descriptor, interest, PollMode::Level) },
            // The kernel tells of hang-ups whether asked or not.
            (_, 0) => self.poller.delete(borrowed),
            (..) => self.poller.modify_with_mode(borrowed, interest, PollMode::Level),
        }
    }

    fn wake(&self) {
        if let Err(error) = self.poller.notify() {
            tracing::warn!(%error, "wake the libvirt event loop");
        }
    }
}

/// Milliseconds; below zero is never.
fn every(timeout: c_int) -> Option<Duration> {
    u64::try_from(timeout).ok().map(Duration::from_millis)
}

unsafe extern "C" fn add_handle(
    descriptor: c_int,
    events: c_int,
    callback: sys::virEventHandleCallback,
    opaque: *mut c_void,
    free: sys::virFreeCallback,
) -> c_int {
    let (Some(this), Some(callback)) = (LOOP.get(), callback) else { return -1 };
    let callee = Callee { callback: Callback::Ready(callback), opaque, free };
    let mut table = lock(&this.table);
    let number = table.add_watch(Watch { descriptor, events, callee });
    if let Err(error) = this.watch(number, descriptor, (0, events)) {
        table.take_watch(number);
        tracing::warn!(%error, "watch a descriptor of libvirt");
        return -1;
    }
    number
}

unsafe extern "C" fn update_handle(number: c_int, events: c_int) {
    let Some(this) = LOOP.get() else { return };
    let mut table = lock(&this.table);
    let Some(watch) = table.watch(number) else { return };
    if let Err(error) = this.watch(number, watch.descriptor, (watch.events, events)) {
        tracing::warn!(%error, "watch a descriptor of libvirt for something else");
    }
    table.set_watch(number, events);
}

unsafe extern "C" fn remove_handle(number: c_int) -> c_int {
    let Some(this) = LOOP.get() else { return -1 };
    let mut table = lock(&this.table);
    let Some(watch) = table.end_watch(number) else { return -1 };
    // It may be closed already.
    let _ = this.watch(number, watch.descriptor, (watch.events, 0));
    drop(table);
    this.wake();
    0
}

unsafe extern "C" fn add_timeout(
    timeout: c_int,
    callback: sys::virEventTimeoutCallback,
    opaque: *mut c_void,
    free: sys::virFreeCallback,
) -> c_int {
    let (Some(this), Some(callback)) = (LOOP.get(), callback) else { return -1 };
    let callee = Callee { callback: Callback::Time(callback), opaque, free };
    let number = lock(&this.table).add_timer(every(timeout), callee, Instant::now());
    if timeout >= 0 {
        this.wake();
    }
    number
}

unsafe extern "C" fn update_timeout(number: c_int, timeout: c_int) {
    let Some(this) = LOOP.get() else { return };
    lock(&this.table).set_timer(number, every(timeout), Instant::now());
    if timeout >= 0 {
        this.wake();
    }
}

unsafe extern "C" fn remove_timeout(number: c_int) -> c_int {
    let Some(this) = LOOP.get() else { return -1 };
    if !lock(&this.table).end_timer(number) {
        return -1;
    }
    this.wake();
    0
}
