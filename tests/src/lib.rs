//! The test rig: a control plane, libvirt hosts, guests and the provider, all as real processes.
