//! The provider-libvirt binary.

fn main() {}
