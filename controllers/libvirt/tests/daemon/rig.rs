//! A libvirt daemon of the test's own: root, in namespaces of its own (mounts, network, host name, processes), with private
//! directories, so that it neither sees nor disturbs the machine's. Everything in it dies with the holder process.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A private daemon. Dropping it kills it, its guests and the namespaces.
pub(crate) struct Daemon {
    directory: PathBuf,
    holder: Child,
    /// The namespace's first process, as seen from outside.
    inside: u32,
}

const INNER: &str = r#"
set -e
mount --make-rprivate /
mount -t proc proc /proc
for pair in etc:/etc/libvirt run:/run/libvirt lib:/var/lib/libvirt cache:/var/cache/libvirt log:/var/log/libvirt; do
    mkdir -p "$1/${pair%%:*}" "${pair#*:}"
    mount --bind "$1/${pair%%:*}" "${pair#*:}"
done
mount -t sysfs sysfs /sys
hostname virtlib-test
mount --bind "$1/hosts" /etc/hosts
touch "$1/ready"
# The first process of a namespace has to collect what died; a shell does.
while sleep 1; do :; done
"#;

const LIBVIRTD: &str =
    "host_uuid = \"00000000-aaaa-4bbb-8ccc-00000000cafe\"\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n";
const QEMU: &str = "security_driver = \"none\"\nuser = \"root\"\ngroup = \"root\"\nnamespaces = []\ncgroup_controllers = []\n\
    stdio_handler = \"file\"\nremember_owner = 0\n";

impl Daemon {
    /// Starts a daemon and waits for its socket.
    pub(crate) fn start(name: &str) -> Self {
        Self::with(name, "")
    }

    /// Starts a daemon with further lines in its configuration.
    pub(crate) fn with(name: &str, lines: &str) -> Self {
        let directory = PathBuf::from(format!("/tmp/lvt-{}-{name}", std::process::id()));
        fs::create_dir_all(directory.join("etc")).unwrap();
        fs::create_dir_all(directory.join("pool")).unwrap();
        fs::write(directory.join("etc/libvirtd.conf"), format!("{LIBVIRTD}{lines}")).unwrap();
        fs::write(directory.join("etc/qemu.conf"), QEMU).unwrap();
        // Without it the daemon asks DNS for its own name, for ten seconds.
        fs::write(directory.join("hosts"), "127.0.0.1 localhost virtlib-test\n").unwrap();
        // Nothing may outlive a test that is killed.
        let holder = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--mount",
                "--net",
                "--uts",
                "--pid",
                "--fork",
                "--kill-child",
                "bash",
                "-c",
                INNER,
                "rig",
            ])
            .arg(&directory)
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare starts (the tests need root)");
        until("the namespaces are ready", || directory.join("ready").exists());
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", holder.id())).unwrap();
        let inside = children.trim().parse().expect("one child");
        let daemon = Self { directory, holder, inside };
        daemon.launch();
        daemon
    }

    /// Starts the daemon, again after [`Daemon::kill`].
    pub(crate) fn launch(&self) {
        self.run("rm -f /run/libvirt/libvirt-sock; libvirtd -d -p /run/libvirt/libvirtd.pid");
        until("the socket answers", || UnixStream::connect(self.socket()).is_ok());
        // A new daemon first asks every emulator what it can do.
        self.run("virsh -q capabilities > /dev/null && virsh -q version > /dev/null");
    }

    /// Kills the daemon; its guests live on.
    pub(crate) fn kill(&self) {
        self.run("pid=$(cat /run/libvirt/libvirtd.pid); kill -KILL $pid; while kill -0 $pid 2>/dev/null; do sleep 0.05; done");
    }

    /// Stops the daemon in its tracks: connections stay open and nothing answers.
    pub(crate) fn freeze(&self) {
        self.run("kill -STOP $(cat /run/libvirt/libvirtd.pid)");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.run("kill -CONT $(cat /run/libvirt/libvirtd.pid)");
    }

    /// Runs a shell command inside and gives what it printed.
    pub(crate) fn run(&self, command: &str) -> String {
        let output = Command::new("nsenter")
            .args(["-t", &self.inside.to_string(), "-m", "-n", "-u", "-p", "sh", "-c", command])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// How many connections it has.
    pub(crate) fn clients(&self) -> usize {
        self.run("virt-admin -q client-list libvirtd").lines().filter(|line| !line.trim().is_empty()).count()
    }

    /// A directory for a pool, at the same path inside and outside.
    pub(crate) fn pool(&self) -> PathBuf {
        self.directory.join("pool")
    }

    pub(crate) fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("run/libvirt-sock")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // --kill-child takes the namespace's first process along, and that one every process inside.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let end = Instant::now() + Duration::from_secs(5);
        while Path::new(&format!("/proc/{}", self.inside)).exists() && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "{what}: not in time");
        thread::sleep(Duration::from_millis(10));
    }
}
