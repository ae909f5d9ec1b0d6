//! What users write: the kinds of `libvirt.m.nourspeed.io`, their schemas and the pure rules shared by webhook and controller.
