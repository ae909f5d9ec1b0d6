//! The libvirt client: hosts, calls, mirror, and the XML drift engine. It knows no Kubernetes.

pub mod xml;
