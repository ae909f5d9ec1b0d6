//! A registry on the loopback interface.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    files::{Scratch, registry_program},
    http,
    process::{Process, free_port, run},
    wait::eventually,
};

/// User and password of a closed registry.
pub const LOGIN: (&str, &str) = ("rig", "secret");

/// The same as the registry keeps it: by bcrypt, with a salt of its own.
const USERS: &str = "rig:$2b$04$kR/s/VjJWNFvVYJnfS0UxuMudKB7CQs9r5eW1n9LTZTKmHszUU00C\n";

/// A registry of images with nothing in it; dropping it ends it, and what was pushed is gone.
#[derive(Debug)]
pub struct Registry {
    port: u16,
    _process: Process,
    _scratch: Scratch,
    _users: Option<Scratch>,
}

impl Registry {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When its program is missing or it does not answer.
    pub fn start() -> Result<Self> {
        Self::start_with("", None)
    }

    /// Starts one that only lets in who says [`LOGIN`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_closed() -> Result<Self> {
        let scratch = Scratch::new("users")?;
        let file = scratch.path().join("users");
        fs::write(&file, USERS).context("write the registry's users")?;
        Self::start_with(&format!("auth: {{htpasswd: {{realm: rig, path: '{}'}}}}\n", file.display()), Some(scratch))
    }

    fn start_with(more: &str, users: Option<Scratch>) -> Result<Self> {
        let (scratch, port) = (Scratch::new("registry")?, free_port()?);
        let folder = scratch.path().display();
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n\
             storage: {{filesystem: {{rootdirectory: {folder}/images}}}}\n{more}"
        );
        let file = scratch.path().join("config.yml");
        fs::write(&file, config).context("write the registry's configuration")?;
        let mut command = Command::new(registry_program()?);
        command.arg("serve").arg(&file);
        let mut process = Process::spawn(&command, &scratch.path().join("log"))?;
        eventually(Duration::from_secs(20), || {
            process.check_running()?;
            http::get(port, "/v2/")
        })
        .context("wait for the registry")?;
        Ok(Self { port, _process: process, _scratch: scratch, _users: users })
    }

    /// Its host and port, as references name it.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The bytes of what it has under a path of the API, as an OCI client gets it, logged in if it is closed.
    ///
    /// # Errors
    /// When it has nothing there.
    pub fn get(&self, path: &str) -> Result<String> {
        let url = format!("http://{}/v2/{path}", self.host());
        let kinds = "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
        let login = format!("{}:{}", LOGIN.0, LOGIN.1);
        run("curl", &["--silent", "--show-error", "--fail", "--header", kinds, "--user", &login, &url])
    }
}
