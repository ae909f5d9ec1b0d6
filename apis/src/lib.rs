//! What users write: the kinds of `libvirt.m.nourspeed.io`, their schemas, and the pure rules that webhook and controller share.
//!
//! ```text
//! YAML ── schema + CEL ──▶ Domain, Volume, Pool, CloudInit, Network      managed kinds: spec (wishes) and status (truth)
//!                          ProviderConfig, ClusterProviderConfig         one libvirt host each
//!                          ProviderConfigUsage                           who uses which host
//! ```
//!
//! One file per kind. What all managed kinds share is in [`managed`], [`condition`], [`mod@reference`] and [`placement`].
//! This crate talks to nobody: no client, no runtime, no libvirt.

// kube's schema derive repeats each struct inside a function, where `pub` reaches nobody.
#![allow(unreachable_pub)]
// A column's type and path are attributes that repeat from column to column.
#![allow(clippy::duplicated_attributes)]
// Field docs are what `kubectl explain` shows: plain words, no markup.
#![allow(clippy::doc_markdown, rustdoc::bare_urls)]

pub mod cloud_init;
pub mod condition;
pub mod domain;
pub mod initial;
pub mod managed;
pub mod network;
pub mod permissions;
pub mod placement;
pub mod pool;
pub mod provider_config;
pub mod quantity;
pub mod reference;
mod schema;
pub mod volume;

pub use cloud_init::CloudInit;
pub use domain::Domain;
pub use managed::Managed;
pub use network::Network;
pub use pool::Pool;
pub use provider_config::{ClusterProviderConfig, ProviderConfig, ProviderConfigUsage};
pub use schema::crds;
pub use volume::Volume;

/// The API group of every kind.
pub const GROUP: &str = "libvirt.m.nourspeed.io";
/// The API version of every kind.
pub const VERSION: &str = "v1alpha1";
