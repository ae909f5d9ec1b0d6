//! A libvirt host that is reached from afar: by TLS, by TCP with SASL, and by SSH.

use std::{
    fs,
    net::Ipv6Addr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    files::servers,
    host::Host,
    link::Link,
    pki::{Pair, Pki},
    process::run,
    wait::eventually,
};

/// Who is let in by SASL and by SSH.
const USER: &str = "rig";
const PASSWORD: &str = "let-me-in";
/// Where the host listens, on its own loopback interface.
const TLS: u16 = 16514;
const TCP: u16 = 16509;
const SSH: u16 = 2222;
/// What its certificate is for.
const ADDRESSES: [&str; 2] = ["127.0.0.1", "::1"];

/// A libvirt host with three doors, each behind a line of its own on this machine's loopback interface.
#[derive(Debug)]
pub struct Far {
    /// The host.
    pub host: Host,
    /// Who vouches for it and for those who come by TLS.
    pub pki: Pki,
    /// The line to its TLS door.
    pub tls: Link,
    /// The line to its TCP door.
    pub tcp: Link,
    /// The line to its SSH server.
    pub ssh: Link,
}

impl Far {
    /// User and password, for SASL and SSH.
    pub const LOGIN: (&str, &str) = (USER, PASSWORD);

    /// Starts it in about a second. Needs root.
    ///
    /// # Errors
    /// When the host or one of its doors cannot be opened.
    pub fn start(name: &str) -> Result<Self> {
        Self::start_asking(name, "none")
    }

    /// Like [`Self::start`], with what the TLS door wants beside a certificate: `none` or `sasl`.
    ///
    /// # Errors
    /// As there.
    pub fn start_asking(name: &str, tls: &str) -> Result<Self> {
        let pki = Pki::new("rig")?;
        let own = pki.host(&ADDRESSES)?;
        Self::start_with(name, pki, &own, &format!("auth_tls = \"{tls}\"\n"))
    }

    /// Like [`Self::start`], with a certificate of the host that expired long ago. The daemon itself would not use it unless told to.
    ///
    /// # Errors
    /// As there.
    pub fn start_expired(name: &str) -> Result<Self> {
        let pki = Pki::new("rig")?;
        let own = pki.expired_host(&ADDRESSES)?;
        Self::start_with(name, pki, &own, "auth_tls = \"none\"\ntls_no_sanity_certificate = 1\n")
    }

    fn start_with(name: &str, pki: Pki, own: &Pair, tls: &str) -> Result<Self> {
        let host = Host::start_prepared(name, |folder| prepare(folder, (&pki.authority, own), tls))?;
        let (tls, tcp, ssh) = (Link::open(&host, TLS)?, Link::open(&host, TCP)?, Link::open(&host, SSH)?);
        let far = Self { host, pki, tls, tcp, ssh };
        far.start_sshd()?;
        Ok(far)
    }

    /// The URI of its TLS door.
    pub fn tls_uri(&self) -> String {
        format!("qemu+tls://127.0.0.1:{}/system", self.tls.port())
    }

    /// The URI of its TCP door.
    pub fn tcp_uri(&self) -> String {
        format!("qemu+tcp://127.0.0.1:{}/system", self.tcp.port())
    }

    /// The URI of its SSH door, with `qemu+ssh` or `qemu+libssh` and a user.
    pub fn ssh_uri(&self, scheme: &str, user: &str) -> String {
        format!("{scheme}://{user}@127.0.0.1:{}/system", self.ssh.port())
    }

    /// Further lines to its three doors, from this machine's IPv6 loopback address: TLS, TCP and SSH.
    ///
    /// # Errors
    /// When this machine has no such address.
    pub fn by_ipv6(&self) -> Result<[Link; 3]> {
        let open = |port| Link::open_at(Ipv6Addr::LOCALHOST.into(), &self.host, port);
        Ok([open(TLS)?, open(TCP)?, open(SSH)?])
    }

    /// The private key that opens the SSH door for root, and one that opens nothing.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn key(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.host.path("ssh").join(name)).context("read a private key")
    }

    /// The line of `known_hosts` that belongs to the SSH door with the key of this name, `host` or another.
    ///
    /// # Errors
    /// When the key cannot be read.
    pub fn known_hosts(&self, name: &str) -> Result<String> {
        let key = fs::read_to_string(self.host.path(&format!("ssh/{name}.pub"))).context("read a public key")?;
        Ok(format!("[127.0.0.1]:{} {key}", self.ssh.port()))
    }

    fn start_sshd(&self) -> Result<()> {
        let (folder, servers) = (self.host.path("ssh"), servers()?);
        let (config, log) = (folder.join("sshd.conf"), folder.join("log"));
        let library = format!("LD_LIBRARY_PATH={}", servers.display());
        let (config, log, sshd) =
            (config.display().to_string(), log.display().to_string(), servers.join("sshd").display().to_string());
        self.host.run("mkdir", &["-p", "/run/sshd"])?;
        self.host.run("env", &[&library, &sshd, "-f", &config, "-E", &log])?;
        eventually(Duration::from_secs(20), || fs::metadata(folder.join("pid")).context("wait for the SSH server"))?;
        Ok(())
    }
}

/// Writes what the doors need into the host's folder.
fn prepare(folder: &Path, (authority, own): (&str, &Pair), tls: &str) -> Result<()> {
    let write = |file: &str, text: &str| fs::write(folder.join(file), text).with_context(|| format!("write {file}"));
    let append = |file: &str, text: &str| -> Result<()> {
        let before = fs::read_to_string(folder.join(file)).with_context(|| format!("read {file}"))?;
        write(file, &(before + text))
    };
    for below in ["etc/pki", "sasl2", "ssh"] {
        fs::create_dir_all(folder.join(below)).with_context(|| format!("create {below}"))?;
    }
    write("etc/pki/ca.pem", authority)?;
    write("etc/pki/cert.pem", &own.certificate)?;
    write("etc/pki/key.pem", &own.key)?;
    append(
        "etc/libvirtd.conf",
        &format!(
            "listen_tls = 1\nlisten_tcp = 1\nlisten_addr = \"127.0.0.1\"\nauth_tcp = \"sasl\"\n{tls}\
         ca_file = \"/etc/libvirt/pki/ca.pem\"\ncert_file = \"/etc/libvirt/pki/cert.pem\"\nkey_file = \"/etc/libvirt/pki/key.pem\"\n"
        ),
    )?;
    write("etc/listen", "")?;
    accounts(folder)?;
    at_home(folder)?;
    append("passwd", &format!("sshd:x:2001:65534::/run/sshd:/usr/sbin/nologin\n{USER}:x:2002:2000::/:/bin/bash\n"))?;
    let hash = run("openssl", &["passwd", "-6", PASSWORD])?;
    let known = fs::read_to_string("/etc/shadow").context("read /etc/shadow")?;
    write("shadow", &format!("{known}sshd:!:19000::::::\n{USER}:{}:19000::::::\n", hash.trim()))?;
    ssh(&folder.join("ssh"))
}

/// Gives root a home of its own: what this machine's root has in it, every login would run.
fn at_home(folder: &Path) -> Result<()> {
    let (home, file) = (folder.join("home"), folder.join("passwd"));
    fs::create_dir(&home).context("create a home")?;
    let known = fs::read_to_string(&file).context("read passwd")?;
    let others = known.lines().filter(|line| !line.starts_with("root:")).map(|line| format!("{line}\n"));
    let root = format!("root:x:0:0:root:{}:/bin/bash\n", home.display());
    fs::write(&file, root + &others.collect::<String>()).context("write passwd")
}

/// The accounts for SASL. Its realm is what the host is called.
fn accounts(folder: &Path) -> Result<()> {
    let file = folder.join("sasl2/passwd.db");
    let saslpasswd2 = servers()?.join("saslpasswd2");
    let name = fs::read_to_string(folder.join("hosts")).context("read the host's name")?;
    let name = name.split_whitespace().last().context("find the host's name")?;
    let script = format!(
        "echo -n {PASSWORD} | {} -p -c -a libvirt -u {name} -f {} {USER}",
        saslpasswd2.display(),
        file.display()
    );
    run("bash", &["-c", &script])?;
    fs::write(folder.join("sasl2/libvirt.conf"), "mech_list: digest-md5\nsasldb_path: /etc/sasl2/passwd.db\n")
        .context("write libvirt.conf")
}

/// Keys, and what the SSH server goes by.
fn ssh(folder: &Path) -> Result<()> {
    for (name, passphrase) in [("host", ""), ("good", ""), ("other", ""), ("locked", "secret")] {
        let file = folder.join(name).display().to_string();
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", passphrase, "-C", "rig", "-f", &file])?;
    }
    fs::copy(folder.join("good.pub"), folder.join("authorized_keys")).context("let the key in")?;
    let path = |name: &str| -> PathBuf { folder.join(name) };
    let text = format!(
        "Port {SSH}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile {}\nUsePAM no\nStrictModes no\n\
         PermitRootLogin prohibit-password\nPasswordAuthentication yes\nKbdInteractiveAuthentication no\n",
        path("host").display(),
        path("authorized_keys").display(),
        path("pid").display()
    );
    fs::write(path("sshd.conf"), text).context("write sshd.conf")?;
    // A user who is not root reads what lets it in.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).context("open the folder")
}
