//! A line to a host: TCP from the loopback interface here to the one of the host's own network, which can be made slow, silent or be cut.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::fd::AsFd as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::host::Host;

/// How much is read at once.
const PIECE: usize = 64 * 1024;

/// A line; it ends with the process.
#[derive(Clone, Debug)]
pub struct Link {
    port: u16,
    line: Arc<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// How long each byte is under way, in milliseconds.
    delay: AtomicU64,
    /// What is done with those who come and with what they say.
    manner: Mutex<Manner>,
    /// Both ends of every connection.
    open: Mutex<Vec<TcpStream>>,
    /// How many have come.
    opened: AtomicUsize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Manner {
    #[default]
    Good,
    /// Nothing gets through any more, and nobody is told.
    Silent,
    /// Whoever comes is turned away.
    Cut,
}

impl Link {
    /// A line to a port of the host's loopback interface.
    ///
    /// # Errors
    /// When there is no port.
    pub fn open(host: &Host, port: u16) -> Result<Self> {
        Self::open_at(Ipv4Addr::LOCALHOST.into(), host, port)
    }

    /// Like [`Self::open`], with its near end at this address.
    ///
    /// # Errors
    /// As there.
    pub fn open_at(near: IpAddr, host: &Host, port: u16) -> Result<Self> {
        let namespace = format!("/proc/{}/ns/net", host.init_pid()?);
        let listener = TcpListener::bind((near, 0)).context("listen for a line to the host")?;
        let link = Self { port: listener.local_addr()?.port(), line: Arc::default() };
        let line = link.line.clone();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let (line, namespace) = (line.clone(), namespace.clone());
                // A thread of its own, which enters the host's network and ends there.
                thread::spawn(move || line.carry(near, &namespace, port));
            }
        });
        Ok(link)
    }

    /// Where it begins.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections have been made over it.
    pub fn opened(&self) -> usize {
        self.line.opened.load(Ordering::Relaxed)
    }

    /// Each byte is under way for this long from now on, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.line.delay.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Nothing gets through any more, in both directions, and connections stay as they are.
    pub fn silence(&self) {
        self.line.set(Manner::Silent);
    }

    /// Connections break, and nobody gets through any more.
    pub fn cut(&self) {
        self.line.set(Manner::Cut);
        for end in self.line.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // One that is closed already cannot be.
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// It carries again. What was said into the silence is lost, as the connections are.
    pub fn mend(&self) {
        self.cut();
        self.line.set(Manner::Good);
    }
}

impl Line {
    fn set(&self, manner: Manner) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    fn manner(&self) -> Manner {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry(self: Arc<Self>, near: TcpStream, namespace: &str, port: u16) -> Result<()> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        if self.manner() == Manner::Cut {
            return Ok(());
        }
        move_into_link_name_space(File::open(namespace)?.as_fd(), Some(LinkNameSpaceType::Network))?;
        let far = TcpStream::connect(("127.0.0.1", port))?;
        for end in [&near, &far] {
            end.set_nodelay(true)?;
        }
        self.open.lock().unwrap_or_else(PoisonError::into_inner).extend([near.try_clone()?, far.try_clone()?]);
        let (back, line) = ((far.try_clone()?, near.try_clone()?), self.clone());
        thread::spawn(move || line.copy(back.0, back.1));
        self.copy(near, far);
        Ok(())
    }

    /// Carries bytes one way, each of them for as long as it is to be under way, and as many at once as there are.
    fn copy(self: Arc<Self>, mut from: TcpStream, mut to: TcpStream) {
        let (under_way, arriving) = mpsc::channel::<(Instant, Vec<u8>)>();
        let line = self.clone();
        let writer = thread::spawn(move || {
            for (due, piece) in arriving {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if line.manner() == Manner::Good && to.write_all(&piece).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Write);
        });
        let mut piece = vec![0; PIECE];
        while let Ok(read @ 1..) = from.read(&mut piece) {
            let due = Instant::now() + Duration::from_millis(self.delay.load(Ordering::Relaxed));
            if under_way.send((due, piece[..read].to_vec())).is_err() {
                break;
            }
        }
        drop(under_way);
        let _ = writer.join();
    }
}
