//! kubectl against one control plane.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;

use crate::process::{owned, spawn_from_lasting_thread, stdout_of};

/// kubectl with its kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// The kubectl in `programs`, used with `kubeconfig`.
    pub fn new(programs: &Path, kubeconfig: &Path) -> Self {
        Self { program: programs.join("kubectl"), kubeconfig: kubeconfig.to_owned() }
    }

    /// Runs it and returns standard output.
    ///
    /// # Errors
    /// When it fails; the error is what kubectl wrote to standard error.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        let output = self.command(args).stdin(Stdio::null()).output().context("start kubectl")?;
        stdout_of(&output).with_context(|| format!("kubectl {}", args.join(" ")))
    }

    /// Like [`Self::run`], with standard output and standard error together: warnings are part of the answer.
    ///
    /// # Errors
    /// As there.
    pub fn run_with_input(&self, args: &[&str], input: &str) -> Result<String> {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child
            .stdin
            .take()
            .context("open kubectl's input")?
            .write_all(input.as_bytes())
            .context("write kubectl's input")?;
        let output = child.wait_with_output().context("wait for kubectl")?;
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        let answer = stdout_of(&output).with_context(|| format!("kubectl {}", args.join(" ")))?;
        Ok(answer + &warnings)
    }

    /// Applies a YAML text by server-side apply; the answer includes the server's warnings.
    ///
    /// # Errors
    /// When the server refuses it, with its sentence.
    pub fn apply(&self, yaml: &str) -> Result<String> {
        self.run_with_input(&["apply", "--server-side", "--force-conflicts", "-f", "-"], yaml)
    }

    /// One object by `kubectl get`'s words, `None` if it does not exist.
    ///
    /// # Errors
    /// When the server cannot be asked or does not know the kind.
    pub fn get(&self, args: &[&str]) -> Result<Option<Value>> {
        let text = self.run(&[&["get", "-o", "json", "--ignore-not-found"], args].concat())?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&text).map(Some).context("parse kubectl's answer")
    }

    /// Starts it; what it writes is read as it comes. It ends with this process at the latest.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn streamed(&self, args: &[&str]) -> Result<Child> {
        let mut streamed = owned(&self.command(args))?;
        streamed.stdout(Stdio::piped()).stderr(Stdio::null());
        spawn_from_lasting_thread(streamed).context("start kubectl")
    }

    /// The kubectl this runs.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The kubeconfig this uses.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // A cache of its own: discovery of another control plane on the same port would otherwise be believed.
        let cache = self.kubeconfig.with_extension("cache");
        command.arg("--kubeconfig").arg(&self.kubeconfig).arg("--cache-dir").arg(cache).args(args);
        command
    }
}

/// A condition of an object: status, reason and message.
///
/// # Errors
/// When the object has no condition of that type.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Result<(&'a str, &'a str, &'a str)> {
    let all = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = all.iter().find(|condition| condition["type"] == kind);
    let found = found.ok_or_else(|| anyhow!("no condition {kind} yet on {}", object["metadata"]["name"]))?;
    let text = |field: &str| found[field].as_str().unwrap_or_default();
    Ok((text("status"), text("reason"), text("message")))
}

/// Whether a condition of an object is True.
pub fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_ok_and(|(status, ..)| status == "True")
}
