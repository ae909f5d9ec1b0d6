//! The kinds and the wiring of provider-libvirt.
//!
//! ```text
//! serve ── one managed::Runner a kind ──▶ Domains, Volumes, Pools, CloudInits, Networks
//!   │ (once it leads: leader)                │ render (pure) ▶ wishes ▶ libvirt::diff, overlay
//!   ├── cluster: stores, queues, index ◀─────┤ resolve: referents from the stores (references, select, links)
//!   ├── provider_config: usage, health       │
//!   ├── checks: CRDs and hosts, told by log, /readyz and condition
//!   ├── webhook ──▶ admission (pure): instance, links, exclusive; said before an object is stored, enforced in resolve
//!   └── hosts: config ▶ libvirt::Host ◀──────┘ find (mirror), create, update, delete
//! ```
//!
//! What differs a kind is in `<kind>.rs`: find, compare, create, update, delete. Its parameters become wishes in `<kind>/render.rs`;
//! what libvirt knows of each path is a line in `<kind>/rules.rs`.

pub mod admission;
pub mod adopt;
mod applied;
pub mod args;
pub mod checks;
pub mod cloud_init;
pub mod cluster;
mod credentials;
pub mod defined;
mod details;
pub mod domain;
pub mod host_secrets;
pub mod hosts;
pub mod http;
pub mod index;
mod initial;
pub mod instance;
pub mod key;
pub mod leader;
pub mod links;
pub mod located;
pub mod mark;
pub mod metrics;
pub mod network;
pub mod observe;
pub mod ownership;
pub mod pool;
pub mod provider_config;
pub mod references;
pub mod same_host;
pub mod select;
pub mod serve;
mod skew;
pub mod sources;
pub mod storage;
pub mod usages;
pub mod users;
pub mod volume;
pub mod webhook;
pub mod withheld;
