//! The test rig: a control plane, libvirt hosts, guests and the provider, all as real processes.
//!
//! ```text
//!   ControlPlane (etcd, kube-apiserver, kube-controller-manager)   ImageServer (loopback HTTP, also misbehaving)
//!        ▲ kubeconfig                                                   │
//!   Provider (the real binary) ──── qemu+unix://…?socket= ──▶ Host (libvirtd in namespaces of its own) ──▶ guest ──▶ Console
//! ```
//!
//! [`crossplane::Rig`] puts a real Crossplane around that, in a [`PrivateNetwork`] of its own.
//!
//! [`Stage`] starts all of it for one test, [`SharedStage`] for all tests of a program; a [`Scenario`] is what one test does there.
//! Every value here owns its processes and ends them when it is dropped; they also end when the test process itself is killed.
//! Nothing touches the machine's own libvirt daemon or network. Waiting is [`eventually`], never a fixed sleep.

mod console;
mod control_groups;
mod control_plane;
pub mod crossplane;
mod far;
mod files;
mod foreign;
pub mod granted;
mod guest;
mod halted;
mod host;
mod http;
mod image;
mod image_proxy;
mod images;
mod kubectl;
mod link;
mod manifests;
mod namespace;
mod network;
mod pki;
mod process;
mod provider;
mod recorded;
mod registry;
mod scenario;
mod skip;
mod slow_door;
mod stage;
mod storage_host;
mod sums;
mod tls_door;
mod wait;

pub use console::Console;
pub use control_groups::no_control_groups;
pub use control_plane::ControlPlane;
pub use far::Far;
pub use files::{
    Scratch, cache, control_plane_programs, copy_package_sources, crossplane_programs, debian_files, guest_files,
    packager, provider_binary, registry_program, servers, workspace,
};
pub use foreign::cert_manager;
pub use guest::{GuestFiles, Seed, real_kvm};
pub use host::Host;
pub use http::get as http_get;
pub use image::UnpackedImage;
pub use image_proxy::ImageProxy;
pub use images::{ImageServer, Manners, ServedImage};
pub use kubectl::{Kubectl, condition, is_true};
pub use link::Link;
pub use manifests::{manifest, manifest_on};
pub use namespace::Namespace;
pub use network::PrivateNetwork;
pub use pki::{Pair, Pki};
pub use process::{Lifetime, Process, free_port, is_running, run, signal};
pub use provider::Provider;
pub use recorded::Recorded;
pub use registry::{LOGIN, Registry};
pub use scenario::{PATIENCE, Scenario};
pub use skip::skip;
pub use slow_door::SlowDoor;
pub use stage::{LEASE, SharedStage, Stage};
pub use storage_host::StorageHost;
pub use sums::{sha256, sum};
pub use tls_door::TlsDoor;
pub use wait::{eventually, quickest_of, skipped};
