//! A Kubernetes namespace of one test.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use serde_json::Value;

use crate::kubectl::Kubectl;

/// A namespace with a name nobody else has; dropping it asks for its deletion and does not wait.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    kubectl: Kubectl,
}

impl Namespace {
    /// Creates it.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn create(kubectl: &Kubectl) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        kubectl.run(&["create", "namespace", &name])?;
        Ok(Self { name, kubectl: kubectl.clone() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// kubectl inside this namespace.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.kubectl.run(&[&["-n", &self.name], args].concat())
    }

    /// Applies YAML into this namespace; documents that name another one are refused by kubectl.
    ///
    /// # Errors
    /// As [`Kubectl::apply`].
    pub fn apply(&self, yaml: &str) -> Result<String> {
        let args = ["-n", &self.name, "apply", "--server-side", "--force-conflicts", "-f", "-"];
        self.kubectl.run_with_input(&args, yaml)
    }

    /// One object of this namespace, `None` if it does not exist.
    ///
    /// # Errors
    /// As [`Kubectl::get`].
    pub fn get(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        self.kubectl.get(&["-n", &self.name, kind, name])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The control plane may be gone already, and its data with it.
        let _ = self.kubectl.run(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}
