//! A libvirt host of its own: a privileged libvirtd in mount, network, host name and process namespaces.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::Signal;

use crate::{
    console::Console,
    control_groups::ControlGroups,
    files::{Scratch, workspace},
    process::{Process, is_running, run, signal, stdout_of},
    wait::eventually,
};

/// A libvirt host; dropping it kills everything in it: the daemon, guests, DHCP servers. Its mounts and networks go with them.
///
/// Its UUID, sockets, pools, networks and guests are its own. It has no network to the outside. `/var/lib/libvirt` of the host is
/// [`Host::path`]`("lib")` outside; every other path is the same file inside and outside.
#[derive(Debug)]
pub struct Host {
    first: Process,
    uuid: String,
    // Gone after all processes.
    groups: Option<ControlGroups>,
    scratch: Scratch,
}

impl Host {
    /// Starts a host of this host name in about half a second. Needs root.
    ///
    /// # Errors
    /// When namespaces cannot be made or libvirtd does not answer.
    pub fn start(name: &str) -> Result<Self> {
        Self::start_in(name, None, |_| Ok(()))
    }

    /// Like [`Self::start`], with control groups, by which libvirt limits what guests get; see [`crate::no_control_groups`].
    ///
    /// # Errors
    /// As there, and where hosts cannot have them.
    pub fn start_with_control_groups(name: &str) -> Result<Self> {
        Self::start_in(name, Some(ControlGroups::create(name)?), |_| Ok(()))
    }

    /// Like [`Self::start`], with what `prepare` puts into the host's folder before its daemon starts.
    ///
    /// # Errors
    /// As there, and when `prepare` fails.
    pub(crate) fn start_prepared(name: &str, prepare: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        Self::start_in(name, None, prepare)
    }

    fn start_in(name: &str, groups: Option<ControlGroups>, prepare: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let scratch = Scratch::new(name)?;
        let uuid = run("cat", &["/proc/sys/kernel/random/uuid"])?.trim().to_owned();
        write_configuration(scratch.path(), name, &uuid, groups.is_some())?;
        prepare(scratch.path())?;
        let folder = scratch.path().display().to_string();
        if folder.len() > 70 {
            bail!("{folder} is too long for the sockets in it; set TMPDIR to a short path");
        }
        let mut unshare = in_groups(groups.as_ref(), "unshare", "--cgroup");
        unshare.args(["--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "bash"]);
        unshare.arg(workspace().join("tests/host/inner.sh")).args([&folder, name]);
        unshare.args(groups.iter().flat_map(|_| ControlGroups::controllers()));
        let first = Process::spawn(&unshare, &scratch.path().join("host.log"))?;
        let mut host = Self { first, uuid, groups, scratch };
        eventually(Duration::from_mins(1), || {
            host.first.check_running()?;
            fs::metadata(host.path("up")).context("wait for the host's namespaces")
        })?;
        host.start_daemon()?;
        Ok(host)
    }

    /// The connection URI, usable from outside the host.
    pub fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket().display())
    }

    /// The UUID the host reports in its capabilities.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The daemon's socket, as seen from outside.
    pub fn socket(&self) -> PathBuf {
        self.path("run/libvirt-sock")
    }

    /// A path below the host's own folder, the same inside and outside: for pools, images, seeds, console logs.
    pub fn path(&self, below: &str) -> PathBuf {
        self.scratch.path().join(below)
    }

    /// The console log of a guest that was defined with this file as its serial port or serial log.
    pub fn console(&self, guest: &str) -> Console {
        Console::new(self.path(&format!("console/{guest}.log")))
    }

    /// Runs virsh against this host and returns standard output.
    ///
    /// # Errors
    /// When it fails, with libvirt's sentence.
    pub fn virsh(&self, args: &[&str]) -> Result<String> {
        run("virsh", &[&["-q", "-c", &self.uri()], args].concat())
    }

    /// Gives an XML description to a virsh command that takes a file, such as `define` or `net-create`.
    ///
    /// # Errors
    /// When the file cannot be written or virsh fails.
    pub fn virsh_xml(&self, command: &str, xml: &str) -> Result<String> {
        let file = Scratch::new("xml")?;
        let path = file.path().join("description.xml");
        fs::write(&path, xml).context("write the description")?;
        self.virsh(&[command, &path.display().to_string()])
    }

    /// Everything that libvirt has a name for, as `kind name`: domains, networks, pools, and volumes of active pools.
    ///
    /// # Errors
    /// When virsh fails.
    pub fn everything(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for (kind, command) in [("domain", "list"), ("network", "net-list"), ("pool", "pool-list")] {
            let names = self.virsh(&[command, "--all", "--name"])?;
            all.extend(words(&names).map(|name| format!("{kind} {name}")));
        }
        for pool in words(&self.virsh(&["pool-list", "--name"])?) {
            self.virsh(&["pool-refresh", pool])?;
            all.extend(self.volumes(pool)?.iter().map(|volume| format!("volume {pool}/{volume}")));
        }
        all.sort();
        Ok(all)
    }

    /// The names of a pool's volumes, as the pool tells without being refreshed.
    ///
    /// # Errors
    /// When virsh fails.
    pub fn volumes(&self, pool: &str) -> Result<Vec<String>> {
        let listed = self.virsh(&["vol-list", pool])?;
        Ok(listed.lines().filter_map(|line| line.split_whitespace().next()).map(ToOwned::to_owned).collect())
    }

    /// A pool that others made and started, in a folder of its name; answers the folder.
    ///
    /// # Errors
    /// When virsh fails.
    pub fn their_pool(&self, name: &str) -> Result<String> {
        let path = self.path(name).display().to_string();
        self.virsh(&["pool-define-as", name, "dir", "--target", &path])?;
        self.virsh(&["pool-build", name])?;
        self.virsh(&["pool-start", name])?;
        Ok(path)
    }

    /// Runs a program inside the host, as root.
    ///
    /// # Errors
    /// When it cannot be started or fails.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let init = self.init_pid()?.to_string();
        let enter = ["-t", &init, "-m", "-n", "-u", "-p", "--", program];
        let output =
            in_groups(self.groups.as_ref(), "nsenter", "--cgroup").args(enter).args(args).stdin(Stdio::null()).output();
        stdout_of(&output.context("start nsenter")?)
            .with_context(|| format!("run {program} {} in the host", args.join(" ")))
    }

    /// Kills the daemon with SIGKILL; its guests go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_daemon(&self) -> Result<()> {
        let pid = self.daemon()?;
        signal(pid, Signal::KILL)?;
        eventually(
            Duration::from_secs(20),
            || if is_running(pid) { Err(anyhow!("libvirtd {pid} lives")) } else { Ok(()) },
        )
    }

    /// Starts the daemon again after [`Self::kill_daemon`] and waits until it answers; kills it first if it runs.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn restart_daemon(&self) -> Result<()> {
        if self.daemon().is_ok() {
            self.kill_daemon()?;
        }
        self.start_daemon()
    }

    /// Stops the daemon where it stands (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<()> {
        signal(self.daemon()?, Signal::STOP)
    }

    /// Lets a frozen daemon go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<()> {
        signal(self.daemon()?, Signal::CONT)
    }

    /// Process ids, outside, of everything in the host whose program is named `program`.
    ///
    /// # Errors
    /// When the process table cannot be read.
    pub fn pids(&self, program: &str) -> Result<Vec<u32>> {
        let namespace =
            fs::read_link(format!("/proc/{}/ns/net", self.init_pid()?)).context("read the host's namespace")?;
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").context("read the process table")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process that ends meanwhile is not in the host any more.
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            if name.trim() == program && fs::read_link(entry.path().join("ns/net")).is_ok_and(|link| link == namespace)
            {
                found.push(pid);
            }
        }
        Ok(found)
    }

    /// What the daemon has logged, and how often its service manager had to start it again.
    pub fn daemon_log(&self) -> String {
        let read = |file: &str| fs::read_to_string(self.path("log").join(file)).unwrap_or_default();
        read("libvirtd.log") + &read("service.log")
    }

    /// Makes the daemon crash (SIGSEGV), as it can by itself; its service manager starts it again.
    ///
    /// # Errors
    /// When it does not run.
    pub fn crash_daemon(&self) -> Result<()> {
        signal(self.daemon()?, Signal::SEGV)
    }

    fn start_daemon(&self) -> Result<()> {
        let service =
            format!("setsid {} </dev/null >/dev/null 2>&1 &", workspace().join("tests/host/daemon.sh").display());
        self.run("bash", &["-c", &service])?;
        let answer = eventually(Duration::from_mins(1), || self.virsh(&["uri"]));
        answer.map(drop).with_context(|| format!("wait for libvirtd; its log:\n{}", self.daemon_log()))
    }

    fn daemon(&self) -> Result<u32> {
        self.pids("libvirtd")?.first().copied().context("find the host's libvirtd")
    }

    /// The first process inside is the only child of `unshare`, which itself stays outside.
    pub(crate) fn init_pid(&self) -> Result<u32> {
        let unshare = self.first.pid();
        let children =
            fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).context("read children")?;
        children.split_whitespace().next().and_then(|pid| pid.parse().ok()).context("find the host's first process")
    }
}

/// A program that makes or enters namespaces, also that of control groups where there are some.
fn in_groups(groups: Option<&ControlGroups>, program: &str, also: &str) -> Command {
    let Some(groups) = groups else { return Command::new(program) };
    let mut command = Command::new("bash");
    command.arg(workspace().join("tests/host/groups.sh")).args(groups.folders()).args(["--", program, also]);
    command
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

fn write_configuration(folder: &Path, name: &str, uuid: &str, has_groups: bool) -> Result<()> {
    // The packages of libvirt bring the folder of the guests' logs; the daemon makes it only for a log of its own.
    for below in ["etc", "run", "lib", "cache", "log/qemu", "console"] {
        fs::create_dir_all(folder.join(below)).with_context(|| format!("create {below}"))?;
    }
    let daemon = format!(
        "host_uuid = \"{uuid}\"\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\nunix_sock_rw_perms = \"0777\"\n\
         log_outputs = \"2:file:/var/log/libvirt/libvirtd.log\"\nkeepalive_interval = 5\nkeepalive_count = 3\n"
    );
    let quoted: Vec<String> = ControlGroups::controllers().iter().map(|controller| format!("{controller:?}")).collect();
    let controllers = if has_groups { quoted.join(", ") } else { String::new() };
    // Everything that asks for another user, a control group or a second daemon is off: a namespace has none of them.
    let qemu = format!(
        "security_driver = \"none\"\nuser = \"root\"\ngroup = \"root\"\nnamespaces = []\ncgroup_controllers = [{controllers}]\n\
         stdio_handler = \"file\"\nremember_owner = 0\n"
    );
    let write = |file: &str, text: &str| fs::write(folder.join(file), text).with_context(|| format!("write {file}"));
    write("etc/libvirtd.conf", &daemon)?;
    write("etc/qemu.conf", &qemu)?;
    let known = |file: &str| fs::read_to_string(file).with_context(|| format!("read {file}"));
    write("passwd", &format!("{}provider:x:2000:2000::/:/usr/sbin/nologin\n", known("/etc/passwd")?))?;
    write("group", &format!("{}provider:x:2000:\n", known("/etc/group")?))?;
    write("hosts", &format!("127.0.0.1 localhost\n127.0.1.1 {name}\n"))
}
