//! The edits on which a naive overlay breaks, one golden file each; every result was defined on libvirt 9.0 with validation.

use libvirt::wish::{Part, Wishes};
use libvirt::xml::Element;

use crate::golden::{check, description};
use crate::table;

fn on(base: &str, case: &str, wish: impl FnOnce(&mut Wishes)) {
    let mut wishes = Wishes::new("domain");
    wish(&mut wishes);
    check(case, &wishes, &description(base), &table::domain());
}

#[test]
fn more_memory_reaches_the_guest_although_only_memory_is_wished() {
    on("rich", "memory", |wishes| wishes.set("memory", "262144"));
}

#[test]
fn memory_and_current_memory_are_set_together_and_attributes_that_are_not_ours_stay() {
    on("rich", "memory-and-current", |wishes| {
        wishes.set("memory", "256");
        wishes.set("memory@unit", "MiB");
        wishes.set("currentMemory", "192");
        wishes.set("currentMemory@unit", "MiB");
    });
}

#[test]
fn memory_over_numa_cells_takes_the_cells_away_because_they_would_win() {
    on("numa", "memory-over-numa", |wishes| wishes.set("memory", "262144"));
}

#[test]
fn maximum_memory_brings_the_numa_cell_it_needs() {
    on("rich", "max-memory", |wishes| {
        wishes.set("maxMemory", "1");
        wishes.set("maxMemory@unit", "GiB");
        wishes.set("maxMemory@slots", "4");
        wishes.set("memory", "131072");
        let cell =
            Element::new("cell").attr("id", "0").attr("cpus", "0-3").attr("memory", "131072").attr("unit", "KiB");
        wishes.replace("cpu/numa", Element::new("numa").child(cell));
    });
}

#[test]
fn fewer_processors_do_not_leave_a_current_number_above_the_maximum() {
    on("rich", "vcpus-fewer", |wishes| wishes.set("vcpu", "1"));
}

#[test]
fn another_number_of_processors_takes_the_old_topology_away() {
    on("numa", "vcpus-topology", |wishes| {
        wishes.set("vcpu", "4");
        wishes.replace(
            "cpu/numa",
            Element::new("numa").child(
                Element::new("cell").attr("id", "0").attr("cpus", "0-3").attr("memory", "131072").attr("unit", "KiB"),
            ),
        );
        wishes.set("memory", "131072");
    });
}

#[test]
fn a_new_bus_frees_the_address_of_the_old_one() {
    for bus in ["sata", "scsi", "usb"] {
        on("rich", &format!("bus-{bus}"), |wishes| {
            wishes.item("devices/disk", "ua-disk-data", Part::new().with("target@dev", "sdx").with("target@bus", bus));
        });
    }
}

#[test]
fn a_new_interface_model_frees_the_address_and_keeps_the_mac() {
    on("rich", "interface-model", |wishes| {
        wishes.item("devices/interface", "ua-nic-data", Part::new().with("model@type", "e1000"));
    });
}

#[test]
fn a_new_interface_source_replaces_the_old_one_with_its_type() {
    on("rich", "interface-source", |wishes| {
        let nic = Part::new().with("@type", "network").with("source@network", "engine-net");
        wishes.item("devices/interface", "ua-nic-data", nic);
    });
}

#[test]
fn other_media_in_a_drive_replace_the_source_with_its_type() {
    on("rich", "media-block", |wishes| {
        let drive = Part::new().with("@type", "block").with("source@dev", "/dev/sr0").with("driver@type", "raw");
        wishes.item("devices/disk", "ua-seed-cloud", drive);
    });
    on("rich", "media-volume", |wishes| {
        let drive =
            Part::new().with("@type", "volume").with("source@pool", "engine-pool").with("source@volume", "b.iso");
        wishes.item("devices/disk", "ua-seed-cloud", drive.with("driver@type", "raw"));
    });
    on("rich", "media-ejected", |wishes| {
        wishes.item("devices/disk", "ua-seed-cloud", Part::new().with("@type", "file").with_flag("source", false));
    });
}

#[test]
fn a_boot_order_of_devices_takes_the_order_of_classes_away() {
    on("rich", "boot-devices", |wishes| {
        wishes.item("devices/disk", "ua-disk-root", Part::new().with("boot@order", "2"));
        wishes.item("devices/interface", "ua-nic-data", Part::new().with("boot@order", "1"));
    });
}

#[test]
fn a_new_device_with_a_boot_order_takes_the_order_of_classes_away() {
    on("rich", "boot-new-device", |wishes| {
        let source = Part::new()
            .with("@type", "file")
            .with("@device", "disk")
            .with("source@file", "/var/lib/libvirt/images/b.iso");
        let disk = source
            .with("driver@name", "qemu")
            .with("driver@type", "raw")
            .with("target@dev", "vdz")
            .with("target@bus", "virtio");
        wishes.item("devices/disk", "ua-disk-new", disk.with("boot@order", "1"));
    });
}

#[test]
fn a_boot_order_of_classes_is_replaced_in_its_order() {
    on("rich", "boot-classes", |wishes| {
        let boot = |dev: &str| Element::new("boot").attr("dev", dev);
        wishes.replace_all("os/boot", vec![boot("network"), boot("hd")]);
    });
}

#[test]
fn a_host_model_processor_leaves_no_old_model_inside() {
    on("rich", "cpu-host-model", |wishes| wishes.replace("cpu", Element::new("cpu").attr("mode", "host-model")));
}

#[test]
fn a_processor_as_wished_is_not_touched_for_what_libvirt_filled_in() {
    on("rich", "cpu-equal", |wishes| {
        let feature = Element::new("feature").attr("name", "vmx").attr("policy", "require");
        let cpu = Element::new("cpu").attr("mode", "custom").child(feature).child(Element::new("model").text("qemu64"));
        wishes.replace("cpu", cpu);
    });
}

#[test]
fn a_processor_feature_wished_no_more_goes() {
    on("rich", "cpu-feature-gone", |wishes| {
        wishes.replace("cpu", Element::new("cpu").attr("mode", "custom").child(Element::new("model").text("qemu64")));
    });
}

#[test]
fn firmware_wished_no_more_takes_its_features_with_it() {
    on("uefi", "firmware-gone", |wishes| wishes.forget(&["os@firmware".to_owned()]));
}

#[test]
fn another_firmware_is_rendered_with_its_features() {
    on("uefi", "firmware-secure", |wishes| {
        wishes.set("os@firmware", "efi");
        let feature = |name: &str| Element::new("feature").attr("enabled", "yes").attr("name", name);
        let features = Element::new("firmware").child(feature("secure-boot")).child(feature("enrolled-keys"));
        wishes.replace("os/firmware", features);
        wishes.set("features/smm@state", "on");
    });
}

#[test]
fn another_machine_family_is_a_difference_that_is_never_applied() {
    on("uefi", "machine-family", |wishes| wishes.set("os/type@machine", "pc"));
    on("uefi", "machine-alias", |wishes| wishes.set("os/type@machine", "q35"));
}

#[test]
fn no_balloon_and_no_video_are_models_named_none() {
    on("rich", "no-balloon-no-video", |wishes| {
        wishes.set("devices/memballoon@model", "none");
        wishes.item(
            "devices/video",
            "ua-video-main",
            Part::new().with_whole("model", Element::new("model").attr("type", "none")),
        );
    });
}

#[test]
fn video_acceleration_comes_before_the_resolution_as_the_schema_wants() {
    on("rich", "video-order", |wishes| {
        wishes.item("devices/video", "ua-video-main", Part::new().with("model/acceleration@accel3d", "no"));
    });
}

#[test]
fn another_listen_address_replaces_the_attribute_and_the_element_and_keeps_the_password() {
    on("rich", "graphics-listen", |wishes| {
        let vnc =
            Part::new().with("listen@type", "address").with("listen@address", "127.0.0.2").with("@autoport", "on");
        wishes.item("devices/graphics", "vnc", vnc);
    });
}

#[test]
fn a_password_is_compared_and_never_shown() {
    on("rich", "graphics-password", |wishes| {
        wishes.item("devices/graphics", "vnc", Part::new().with("@passwd", "other"));
    });
}

#[test]
fn presence_elements_are_switched_on_and_off() {
    on("rich", "presence", |wishes| {
        wishes.flag("features/acpi", false);
        wishes.flag("features/pae", true);
        wishes.item("devices/disk", "ua-disk-data", Part::new().with_flag("readonly", true));
    });
}
