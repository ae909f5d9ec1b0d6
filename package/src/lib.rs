//! The Crossplane package of provider-libvirt: one image that Crossplane reads the API from and a node runs, made without a container
//! engine, the same for the same commit and the same Debian packages.
//!
//! ```text
//!   Debian packages ──▶ debian ──▶ root ───┐
//!   the program ───────────────────────────┼──▶ layer ──▶ image ──▶ archive (.xpkg) ──▶ registry
//!   package/, examples/ ──▶ manifests ─────┘
//! ```
//!
//! [`Package::new`] reads the manifests; [`Package::with_runtime`] is the image that `make xpkg` writes, and
//! [`Package::without_runtime`] one of a few kilobytes that Crossplane installs just as well, for who starts the provider's program
//! himself. [`push`] sends either to a registry.

mod archive;
mod debian;
mod image;
mod layer;
mod licences;
mod manifests;
mod package;
mod registry;
mod root;
mod tree;

pub use debian::fetch;
pub use image::{Descriptor, Image, Manifest, Platform};
pub use layer::Role;
pub use manifests::{KINDS, examples_yaml, package_yaml};
pub use package::{MOST, Package, environment};
pub use registry::{Target, push};
pub use root::{USER, root_file_system};
pub use tree::{Content, Entry, Tree};
