//! The examples show every field there is, and come true as they stand on a host that has what their comments say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{Console, Far, Host, Manners, PATIENCE, Stage, condition, eventually, guest_files, workspace};

/// Folders whose examples are not of single objects on a host, or are for a host without the others.
const ELSEWHERE: [&str; 8] =
    ["compositions", "gitops", "install", "passthrough", "quickstart", "shaping", "storage", "webhook"];

/// What the examples take for granted in the cluster.
const GIVEN: &str = r##"
apiVersion: v1
kind: Namespace
metadata: {name: images}
---
apiVersion: v1
kind: ConfigMap
metadata: {namespace: default, name: house-rules}
data: {vendor-data: "#cloud-config\n"}
---
apiVersion: libvirt.m.nourspeed.io/v1alpha1
kind: Volume
metadata: {namespace: images, name: debian-12, labels: {image: debian-12}}
spec: {forProvider: {pool: default, format: Qcow2, capacity: 1Mi}}
---
apiVersion: libvirt.m.nourspeed.io/v1alpha1
kind: Volume
metadata: {namespace: default, name: workshop-root}
spec: {forProvider: {pool: default, capacity: 1Mi}}
---
apiVersion: libvirt.m.nourspeed.io/v1alpha1
kind: Volume
metadata: {namespace: default, name: windows-root}
spec: {forProvider: {pool: default, capacity: 1Mi}}
---
apiVersion: libvirt.m.nourspeed.io/v1alpha1
kind: Volume
metadata: {namespace: default, name: tuned-root}
spec: {forProvider: {pool: default, capacity: 1Mi}}
---
apiVersion: libvirt.m.nourspeed.io/v1alpha1
kind: Volume
metadata: {namespace: default, name: pinned-root}
spec: {forProvider: {pool: default, capacity: 1Mi}}
---
apiVersion: libvirt.m.nourspeed.io/v1alpha1
kind: Volume
metadata: {namespace: default, name: rescue-root}
spec: {forProvider: {pool: default, capacity: 1Mi}}
---
apiVersion: libvirt.m.nourspeed.io/v1alpha1
kind: Volume
metadata: {namespace: default, name: storage-root}
spec: {forProvider: {pool: default, capacity: 1Mi}}
---
apiVersion: libvirt.m.nourspeed.io/v1alpha1
kind: Volume
metadata: {namespace: default, name: manuals, labels: {disk: manuals}}
spec: {forProvider: {pool: default, capacity: 1Mi}}
---
apiVersion: libvirt.m.nourspeed.io/v1alpha1
kind: Network
metadata: {namespace: default, name: lan, labels: {net: lan}}
spec: {forProvider: {mode: Isolated}}
---
apiVersion: libvirt.m.nourspeed.io/v1alpha1
kind: CloudInit
metadata: {namespace: default, name: blog, labels: {app: blog}}
spec: {forProvider: {pool: default, userData: {inline: "#cloud-config\n"}}}
"##;

#[test]
fn every_field_is_in_an_example_and_every_example_says_what_it_shows() -> Result<()> {
    let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files(&workspace().join("examples"))? {
        let text = fs::read_to_string(&file)?;
        assert!(text.starts_with("# "), "{} does not begin with what it shows", file.display());
        for object in documents(&text).with_context(|| file.display().to_string())? {
            let kind = object["kind"].as_str().context("read the kind")?.to_owned();
            let mut paths = BTreeSet::new();
            used(&object["spec"], "", &mut paths);
            shown.entry(kind).or_default().append(&mut paths);
        }
    }
    let anywhere: BTreeSet<String> = shown.values().flatten().filter_map(|path| shape(path)).collect();
    let mut missing = Vec::new();
    for file in files(&workspace().join("package/crds"))? {
        let crd: Value = serde_saphyr::from_str(&fs::read_to_string(&file)?)?;
        let kind = crd["spec"]["names"]["kind"].as_str().context("read the kind")?;
        let mut fields = BTreeSet::new();
        declared(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"], "", &mut fields);
        let of_kind = shown.remove(kind).unwrap_or_default();
        let is_shown =
            |field: &String| of_kind.contains(field) || shape(field).is_some_and(|shape| anywhere.contains(&shape));
        missing.extend(fields.iter().filter(|field| !is_shown(field)).map(|field| format!("{kind} {field}")));
    }
    assert_eq!(missing, [""; 0], "no example has\n{}", missing.join("\n"));
    Ok(())
}

#[test]
fn every_example_comes_true() -> Result<()> {
    let stage =
        Stage::start_unconfigured("examples", &["--poll=2s", "--default-provider-config=ClusterProviderConfig/local"])?;
    let client = stage.plane().client();
    let far = Far::start("rack")?;
    // A host in maintenance, so by whatever config, must be one of its own.
    let resting = Host::start("resting")?;
    let left_alone = ("qemu+unix:///system?socket=/run/rack11/libvirt-sock".to_owned(), resting.uri());
    let home = [home(&stage)?, afar(&far)?, vec![left_alone]].concat();
    client.apply(&(GIVEN.to_owned() + &kernels(&stage)?))?;
    let folder = workspace().join("examples");
    let ours = |file: &&std::path::PathBuf| {
        let below = file.strip_prefix(&folder).unwrap_or(file);
        ELSEWHERE.iter().all(|name| !below.starts_with(name))
    };
    for file in files(&folder)?.iter().filter(ours) {
        client.apply(&at_home(file, &home)?).with_context(|| file.display().to_string())?;
    }
    await_settled(&stage, 28)?;
    for config in ["clusterproviderconfigs", "providerconfigs"] {
        client.run(&["wait", "--for=condition=Ready", "--all", "--all-namespaces", "--timeout=60s", config])?;
    }
    Ok(())
}

#[test]
fn the_quickstart_comes_true_from_its_four_files() -> Result<()> {
    let stage = Stage::start_unconfigured("quickstart", &["--poll=2s"])?;
    let image = stage.image(&guest_files()?.disk, Manners::Good)?;
    let home = [
        ("qemu:///system".to_owned(), stage.host().uri()),
        ("http://127.0.0.1:8000/guest.qcow2".to_owned(), image.url),
        (format!("sha256:{:064}", 0), image.checksum),
        ("/var/lib/libvirt/quickstart".to_owned(), stage.host().path("pool").display().to_string()),
    ];
    for file in files(&workspace().join("examples/quickstart"))? {
        stage.plane().client().apply(&at_home(&file, &home)?).with_context(|| file.display().to_string())?;
    }
    await_settled(&stage, 5)?;
    let console = Console::new(stage.host().path("log/qemu/web.serial.console"));
    console.wait_for_line("> user-data of provider-libvirt was run on web", PATIENCE).map(drop)
}

/// An example with what is otherwise here. Whatever the machine has, its guests are emulated; one that is only looked at says nothing of it.
fn at_home(file: &Path, home: &[(String, String)]) -> Result<String> {
    let text = home.iter().fold(fs::read_to_string(file)?, |text, (from, to)| text.replace(from, to));
    let mut objects = documents(&text).with_context(|| file.display().to_string())?;
    for object in objects.iter_mut().filter(|object| object["kind"] == "Domain") {
        let parameters = &mut object["spec"]["forProvider"];
        if parameters["memory"].is_string() && parameters["type"].is_null() {
            parameters["type"] = "Qemu".into();
        }
    }
    let texts: Vec<String> = objects.iter().map(ToString::to_string).collect();
    Ok(texts.join("\n---\n"))
}

/// Waits until more than so many objects are there, and all are as they should be.
fn await_settled(stage: &Stage, more_than: usize) -> Result<()> {
    let settled = || -> Result<()> {
        let list = stage.plane().client().run(&["get", "managed", "--all-namespaces", "-o", "json"])?;
        let list: Value = serde_json::from_str(&list)?;
        let objects = list["items"].as_array().context("read the list")?;
        ensure!(objects.len() > more_than, "only {} objects are there", objects.len());
        let unsettled: Vec<String> = objects.iter().filter_map(trouble).collect();
        ensure!(unsettled.is_empty(), "{}", unsettled.join("\n"));
        Ok(())
    };
    eventually(2 * PATIENCE, settled).with_context(|| stage.log())
}

/// Why an object is not as it should be.
fn trouble(object: &Value) -> Option<String> {
    let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
    let of = |kind: &str| condition(object, kind).unwrap_or(("missing", "", ""));
    let (ready, synced) = (of("Ready"), of("Synced"));
    // It is off on the host, and only looked at.
    let is_off = object["metadata"]["name"] == "old-mail" && object["kind"] == "Domain";
    let is_well = synced.0 == "True" && (ready.0 == "True" || is_off);
    (!is_well).then(|| format!("{name}: Ready {ready:?}, Synced {synced:?}"))
}

/// Hosts on other machines, and what lets in there.
fn afar(far: &Far) -> Result<Vec<(String, String)>> {
    let ((user, password), own) = (Far::LOGIN, far.pki.client("provider")?);
    // Within quotes, as a document on one line has it.
    let text = |text: &str| text.trim_end().replace('\n', "\\n");
    let secret = |key: &str, value: &str| format!("  {key}: \"{}\"", text(value));
    let given = |key: &str, example: &str, value: &str| (format!("  {key}: {example}"), secret(key, value));
    Ok(vec![
        ("qemu+tls://rack7.example.org/system".to_owned(), far.tls_uri()),
        ("qemu+ssh://provider@rack8.example.org:2222/system".to_owned(), far.ssh_uri("qemu+ssh", "root")),
        ("qemu+tcp://rack9.example.org/system".to_owned(), far.tcp_uri()),
        given("ca.crt", "\"-----BEGIN CERTIFICATE-----…\"", &far.pki.authority),
        given("tls.crt", "\"-----BEGIN CERTIFICATE-----…\"", &own.certificate),
        given("tls.key", "\"-----BEGIN PRIVATE KEY-----…\"", &own.key),
        given("ssh-privatekey", "\"-----BEGIN OPENSSH PRIVATE KEY-----…\"", &far.key("good")?),
        given("known_hosts", "\"[rack8.example.org]:2222 ssh-ed25519 AAAA…\"", &far.known_hosts("host")?),
        given("username", "provider", user),
        given("password", "…", password),
    ])
}

/// The host as the examples take it for granted, and what of their text is otherwise here: addresses, folders, images.
fn home(stage: &Stage) -> Result<Vec<(String, String)>> {
    let host = stage.host();
    host.run("ip", &["link", "add", "br0", "type", "bridge"])?;
    host.run("ip", &["link", "set", "br0", "up"])?;
    for card in ["eno1", "eno2"] {
        host.run("ip", &["link", "add", card, "type", "veth", "peer", "name", &format!("{card}-peer")])?;
    }
    host.virsh_xml("nwfilter-define", "<filter name='clean-traffic'/>")?;
    let pool = host.their_pool("default")?;
    host.their_pool("isos")?;
    host.virsh(&["vol-create-as", "isos", "tools.iso", "1M", "--format", "raw"])?;
    let given = served(host)?;
    let shared = host.path("share").display().to_string();
    std::fs::create_dir(&shared)?;
    for name in ["storage-log", "storage-shared"] {
        host.virsh(&["vol-create-as", "default", name, "1M", "--format", "raw"])?;
    }
    for name in ["mail01", "web-7"] {
        host.virsh(&["vol-create-as", "default", &format!("{name}.qcow2"), "40G", "--format", "qcow2"])?;
        let disk = format!(
            "<disk type='file'><driver name='qemu' type='qcow2'/><source file='{pool}/{name}.qcow2'/><target dev='vda'/></disk>"
        );
        let guest = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='GiB'>4</memory><os><type>hvm</type></os><devices>{disk}</devices></domain>"
        );
        host.virsh_xml("define", &guest)?;
    }
    host.virsh_xml("net-define", "<network><name>default</name><ip address='10.8.0.1' prefix='24'/></network>")?;
    host.virsh(&["net-start", "default"])?;

    let image = stage.image(&guest_files()?.disk, Manners::Good)?;
    let rack = |number: u8| format!("qemu+unix:///system?socket=/run/rack{number}/libvirt-sock");
    let local = "  name: local\nspec:\n".to_owned();
    let policy = format!(
        "  policy: {{imageHosts: [127.0.0.1], rawXml: [devices/redirdev, features/vmcoreinfo], hostPaths: ['{given}', /dev/vg0], hostFolders: ['{shared}'], emulators: [/usr/bin/qemu-system-x86_64], diskHosts: [127.0.0.1], hostDevices: ['pci/*', 'usb/*', 'mdev/*']}}\n"
    );
    let mut changes = vec![
        ("https://images.example.org/appliance.raw.xz".to_owned(), packed(stage)?),
        ("https://images.example.org/SHA256SUMS".to_owned(), stage.images().url("SHA256SUMS")),
        ("https://images.example.org/debian-12-genericcloud-amd64.qcow2".to_owned(), image.url),
        (format!("sha256:{:064}", 0), image.checksum),
        (local.clone(), local + &policy),
        ("qemu:///system".to_owned(), host.uri()),
        ("3c1e4f0a-7f0b-4c0e-9d59-7f2f0a5c9b11".to_owned(), host.uuid().to_owned()),
        ("/srv/images".to_owned(), given.clone()),
        ("/srv/share".to_owned(), shared),
        ("/var/lib/libvirt/images/shop".to_owned(), host.path("shop").display().to_string()),
        ("/var/lib/libvirt/images".to_owned(), pool),
        // What only a host with a real KVM, one with huge pages, or one whose kernel has more of everything can start.
        ("    vsock: {".to_owned(), "    # vsock: {".to_owned()),
        ("        vlan: {".to_owned(), "        # vlan: {".to_owned()),
        ("        bandwidth: {".to_owned(), "        # bandwidth: {".to_owned()),
        ("      hyperv: {relaxed".to_owned(), "      # hyperv: {relaxed".to_owned()),
        ("        - {name: Hypervclock".to_owned(), "        # - {name: Hypervclock".to_owned()),
        ("      hugepages: {".to_owned(), "      # hugepages: {".to_owned()),
    ];
    changes.extend([4, 5, 6].map(|number| (rack(number), host.uri())));
    Ok(changes)
}

/// Where a packed image is, beside the list with its checksum.
fn packed(stage: &Stage) -> Result<String> {
    let (folder, name) = (stage.host().path("packed"), "appliance.raw.xz");
    fs::create_dir(&folder)?;
    let (packed, list) = (folder.join(name), folder.join("SHA256SUMS"));
    tests::run("sh", &["-c", &format!("head -c 1M /dev/zero | xz -c > {}", packed.display())])?;
    fs::write(&list, format!("{}  {name}\n", tests::sha256(&packed)?))?;
    stage.images().serve("SHA256SUMS", &list, Manners::Good);
    Ok(stage.images().serve(name, &packed, Manners::Good))
}

/// The folder of files that a guest's disks may be, and a server of another.
fn served(host: &tests::Host) -> Result<String> {
    let folder = host.path("given");
    fs::create_dir(&folder)?;
    for name in ["storage-image.raw", "tools.raw"] {
        fs::File::create(folder.join(name))?.set_len(1 << 20)?;
    }
    let (folder, server) =
        (folder.display().to_string(), ["--fork", "--persistent", "--format=raw", "--bind=127.0.0.1"]);
    let export = ["--read-only", "--export-name=tools", &format!("{folder}/tools.raw")];
    host.run("qemu-nbd", &[&server[..], &export].concat())?;
    Ok(folder)
}

/// The kernel that guests of the examples boot.
fn kernels(stage: &Stage) -> Result<String> {
    let files = guest_files()?;
    let volume = |(name, label, file): (&str, &str, &Path)| -> Result<String> {
        Ok(format!(
            "---\napiVersion: libvirt.m.nourspeed.io/v1alpha1\nkind: Volume\n\
             metadata: {{namespace: default, name: {name}, labels: {{boot: {label}}}}}\n\
             spec: {{forProvider: {{pool: default, format: Raw, {}}}}}\n",
            stage.image(file, Manners::Good)?
        ))
    };
    Ok(volume(("vmlinuz", "kernel", &files.kernel))? + &volume(("initrd", "initrd", &files.initrd))?)
}

fn documents(text: &str) -> Result<Vec<Value>> {
    serde_saphyr::from_multiple(text).context("read the documents")
}

/// The YAML files in a folder and below.
fn files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.append(&mut files(&path)?);
        } else if path.extension().is_some_and(|end| end == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The fields that a value has, whatever is in them.
fn used(value: &Value, at: &str, paths: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                // What is initial has the same fields.
                let path = format!("{at}/{}", if key == "initProvider" { "forProvider" } else { key });
                used(value, &path, paths);
                paths.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| used(item, at, paths)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The fields that a schema declares.
fn declared(schema: &Value, at: &str, paths: &mut BTreeSet<String>) {
    for (key, value) in schema["properties"].as_object().into_iter().flatten().filter(|(key, _)| *key != "initProvider")
    {
        let path = format!("{at}/{key}");
        declared(value, &path, paths);
        declared(&value["items"], &path, paths);
        paths.insert(path);
    }
}

/// A field of a reference or selector, which all of them have: one example of any shows it.
fn shape(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').collect();
    let at = parts.iter().position(|part| part.ends_with("Ref") || part.ends_with("Selector"))?;
    let kind = if parts[at].ends_with("Selector") { "Selector" } else { "Ref" };
    (at + 1 < parts.len()).then(|| format!("{kind}/{}", parts[at + 1..].join("/")))
}
