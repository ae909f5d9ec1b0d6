//! The kinds and the wiring of provider-libvirt.
