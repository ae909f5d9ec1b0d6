//! The libvirt client: hosts, calls, mirror, and the XML drift engine. It knows no Kubernetes.

pub mod diff;
pub mod overlay;
pub mod rule;
pub mod wish;
pub mod xml;
