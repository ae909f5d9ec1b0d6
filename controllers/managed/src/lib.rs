//! The generic managed-resource reconciler. It knows Kubernetes and the `apis` crate, and no libvirt.
