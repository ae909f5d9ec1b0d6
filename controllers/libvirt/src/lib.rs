//! The libvirt client: hosts, calls, mirror, and the XML drift engine. It knows no Kubernetes.
//!
//! ```text
//! Hosts ──▶ Host ──call──▶ Lane ──▶ thread ──▶ Connection ──▶ Domain, Pool, Volume, Network
//!             │                                    ▲
//!             ├──upload──▶ thread with a connection of its own
//!             └──keeper (one thread): connects, keeps the Mirror by events and polls, connects again
//! ```
//!
//! libvirt's C library blocks, so it stays on threads of its own; callers are async and bring their deadlines.

mod calls;
mod connection;
mod counters;
mod cpu_set;
pub mod diff;
mod disks;
mod domain;
#[cfg(feature = "double")]
pub mod double;
mod download;
mod endpoint;
mod error;
mod event_loop;
mod facts;
mod guest;
mod host;
mod hosts;
mod keeper;
mod lifecycle;
mod lock;
pub mod mirror;
mod network;
mod offers;
pub mod overlay;
mod pool;
mod pool_calls;
pub mod rule;
mod secret;
mod sys;
mod throttle;
mod trouble;
mod tuning;
mod twins;
mod upload;
mod volume;
mod wakes;
pub mod wish;
pub mod xml;

pub use calls::LaneKind;
pub use connection::Connection;
pub use counters::{Call, CallCount, Counters};
pub use cpu_set::CpuSet;
pub use disks::{Backing, DiskSource, DiskUser, Running, is_named_after};
pub use domain::{Affect, Description, Domain, Listed, ShutdownMode, State, StateReason};
pub use endpoint::{Access, Address, Endpoint, Login, Settings, Ssh, Tls, Transport, called_as, leave, sweep};
pub use error::{Error, Kind, absent};
pub use facts::{Facts, Feature};
pub use guest::{Filesystem, Guest, GuestAddress};
pub use host::{Host, HostState};
pub use hosts::{Hosts, Key};
pub use lifecycle::{End, Kept};
pub use mirror::{Claim, Mirror, Reading};
pub use network::{Network, Section, UpdateCommand, is_lender};
pub use offers::Sort;
pub use pool::{Listing, Pool, PoolInfo, VolumeName};
pub use pool_calls::UNANSWERED;
pub use secret::{Secret, SecretUsage};
pub use sys::Lease;
pub use throttle::BlockTune;
pub use trouble::Trouble;
pub use tuning::{MemoryLimit, Scheduler, Threads};
pub use twins::Twin;
pub use upload::{Upload, UploadRequest};
pub use volume::{Volume, VolumeId, VolumeInfo};
pub use wakes::Wakes;
