//! A libvirt host for storage: an emulated Debian, whose kernel has what this machine's may lack (device mapper, SCSI, iSCSI, NFS).

use std::{
    fs::File,
    io::{self, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use data_encoding::BASE64;

use crate::{
    files::{Scratch, storage_host_files},
    guest::real_kvm,
    process::{Process, free_port, run},
    wait::eventually,
};

/// How long it may take to boot beside busy neighbours. Alone it takes half a minute.
const BOOT: Duration = Duration::from_mins(6);

/// How many spare disks it has: `/dev/disk/by-id/virtio-spare1` and so on, of this size, empty.
const SPARES: usize = 6;
const SPARE: u64 = 512 << 20;

/// The host; dropping it ends it. It has no emulator: pools, volumes and networks are all that it is for. Whatever is in it is gone with it.
#[derive(Debug)]
pub struct StorageHost {
    guest: Process,
    shell: u16,
    scratch: Scratch,
}

impl StorageHost {
    /// Boots it and waits until its libvirtd answers; or says why there is none on this machine.
    ///
    /// # Errors
    /// When its image has not been built, or it does not boot.
    pub fn start() -> Result<std::result::Result<Self, &'static str>> {
        let [kernel, initrd, root] = match storage_host_files()? {
            Ok(files) => files,
            Err(why) => return Ok(Err(why)),
        };
        let scratch = Scratch::new("storage")?;
        let (door, shell) = (free_port()?, free_port()?);
        let disk = scratch.path().join("root.qcow2").display().to_string();
        run("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", &root.display().to_string(), &disk])?;
        let mut machine = machine([&kernel, &initrd], scratch.path(), [door, shell])?;
        drive(&mut machine, "root", &disk, "qcow2");
        for number in 1..=SPARES {
            let (name, path) = (format!("spare{number}"), scratch.path().join(format!("spare{number}")));
            File::create(&path).and_then(|file| file.set_len(SPARE)).context("make a spare disk")?;
            drive(&mut machine, &name, &path.display().to_string(), "raw");
        }
        let guest = Process::spawn(&machine, &scratch.path().join("qemu.log"))?;
        let mut host = Self { guest, shell, scratch };
        lead(&host.socket(), door)?;
        eventually(BOOT, || {
            host.guest.check_running()?;
            host.virsh(&["uri"])
        })
        .with_context(|| format!("wait for the storage host; its console:\n{}", host.console()))?;
        Ok(Ok(host))
    }

    /// The connection URI.
    pub fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket().display())
    }

    /// Runs virsh against it and returns standard output.
    ///
    /// # Errors
    /// When it fails, with libvirt's sentence.
    pub fn virsh(&self, args: &[&str]) -> Result<String> {
        run("virsh", &[&["-q", "-c", &self.uri()], args].concat())
    }

    /// The names of a pool's volumes, as the pool tells without being refreshed.
    ///
    /// # Errors
    /// When virsh fails.
    pub fn volumes(&self, pool: &str) -> Result<Vec<String>> {
        let listed = self.virsh(&["vol-list", pool])?;
        Ok(listed.lines().filter_map(|line| line.split_whitespace().next()).map(ToOwned::to_owned).collect())
    }

    /// Runs a shell script in it, as root, and returns what it wrote.
    ///
    /// # Errors
    /// When a command of it fails, with all that was written.
    pub fn run(&self, script: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.shell)).context("connect to the host's shell")?;
        writeln!(stream, "{}", BASE64.encode(script.as_bytes())).context("send the script")?;
        let mut said = String::new();
        BufReader::new(stream).read_to_string(&mut said).context("read what the script says")?;
        let (said, status) = said.trim_end().rsplit_once("exit ").context("read the script's status")?;
        ensure!(status == "0", "{script}: status {status}: {said}");
        Ok(said.to_owned())
    }

    fn socket(&self) -> PathBuf {
        self.scratch.path().join("libvirt-sock")
    }

    fn console(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("console")).unwrap_or_default()
    }
}

/// QEMU with what is no disk. Its network is its own but for two ports of this machine's loopback interface: libvirtd's and the shell's.
fn machine([kernel, initrd]: [&Path; 2], scratch: &Path, [door, shell]: [u16; 2]) -> Result<Command> {
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("make a UUID")?;
    let mut command = Command::new("qemu-system-x86_64");
    let accelerator = if real_kvm() { "kvm" } else { "tcg,thread=multi" };
    command.args(["-nodefaults", "-display", "none", "-machine", "q35", "-smp", "2", "-m", "1024"]);
    command.args(["-accel", accelerator, "-uuid", uuid.trim()]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
    command.args([
        "-append",
        "root=LABEL=root console=ttyS0 quiet cryptomgr.notests nokaslr mitigations=off no_timer_check random.trust_cpu=on",
    ]);
    command.args(["-serial", &format!("file:{}", scratch.join("console").display())]);
    let forward = |from: u16, to: u16| format!("hostfwd=tcp:127.0.0.1:{from}-:{to}");
    command.args(["-netdev", &format!("user,id=lan,restrict=on,{},{}", forward(door, 1), forward(shell, 2))]);
    command.args(["-device", "virtio-net-pci,netdev=lan,romfile=", "-device", "virtio-rng-pci"]);
    Ok(command)
}

fn drive(machine: &mut Command, name: &str, path: &str, format: &str) {
    machine.args(["-drive", &format!("if=none,id={name},file={path},format={format},cache=unsafe,discard=unmap")]);
    machine.args(["-device", &format!("virtio-blk-pci,drive={name},serial={name}")]);
}

/// Leads whoever connects to a socket to a port of the loopback interface, for as long as this process lives.
fn lead(socket: &Path, port: u16) -> Result<()> {
    let listener = UnixListener::bind(socket).context("listen for clients of the storage host")?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A client that cannot be led anywhere is let go, and sees that.
            let _ = join(client, port);
        }
    });
    Ok(())
}

fn join(client: UnixStream, port: u16) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", port))?;
    let (mut from_client, mut to_client) = (client.try_clone()?, client);
    let (mut from_server, mut to_server) = (server.try_clone()?, server);
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    Ok(())
}
