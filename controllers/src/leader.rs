//! Whether this process is the one that works.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use kube::{Api, Client};
use managed::lease::{Election, Lost, Term};

use crate::{args::Args, key::random, metrics::Metrics};

/// The Lease's name; its form is that of crossplane-runtime's providers.
pub const LEASE: &str = "crossplane-leader-election-provider-libvirt";

/// Leadership by election, or for good where there is none.
pub struct Leadership {
    election: Option<Election>,
    metrics: Arc<Metrics>,
}

impl Leadership {
    /// Nothing is asked of anybody yet.
    pub fn new(args: &Args, client: &Client, namespace: &str, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let metrics = metrics.clone();
        if !args.leader_election {
            return Ok(Self { election: None, metrics });
        }
        metrics.leads(LEASE, false);
        let api = Api::namespaced(client.clone(), namespace);
        Ok(Self { election: Some(Election::new(api, LEASE, identity()?, args.timing())), metrics })
    }

    /// How long something new may be begun.
    pub fn term(&self) -> Arc<Term> {
        self.election.as_ref().map_or_else(|| Arc::new(Term::endless()), Election::term)
    }

    /// Waits until this process leads.
    pub async fn gain(&mut self) {
        if let Some(election) = &mut self.election {
            election.acquire().await;
            self.metrics.leads(LEASE, true);
        }
    }

    /// Keeps leading; ends only when that is over.
    pub async fn keep(&mut self) -> Lost {
        match &mut self.election {
            Some(election) => election.hold().await,
            None => std::future::pending().await,
        }
    }

    /// Lets the next lead at once. Nothing may be done after it.
    pub async fn give_up(mut self) {
        if let Some(election) = &mut self.election {
            self.metrics.leads(LEASE, false);
            election.release().await;
        }
    }
}

/// A name that no other process has: that of the pod, so that people can tell, and chance, so that a restarted pod is another.
fn identity() -> anyhow::Result<String> {
    let host = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).context("read the hostname")?;
    let mut chance = [0; 16];
    random(&mut chance)?;
    Ok(format!("{}_{}", host.trim(), data_encoding::HEXLOWER.encode(&chance)))
}
