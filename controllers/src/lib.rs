//! The kinds and the wiring of provider-libvirt.

#[allow(missing_docs)]
pub mod cloud_init {
    pub mod seed;
}
pub mod ownership;
#[allow(missing_docs)]
pub mod volume {
    pub mod fetch;
    pub mod image;
}
