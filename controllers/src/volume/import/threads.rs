//! Threads of their own for imports: a server of strangers may answer so that its client has work without end, and the lease, the probes and
//! the objects of everybody else must not wait for that.

use std::{future::Future, sync::OnceLock};

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

/// As many imports may be busy with what they read at a time; any number may wait.
const THREADS: usize = 2;

/// The threads, started with the first import.
#[derive(Default)]
pub(super) struct Threads(OnceLock<Option<Runtime>>);

impl Threads {
    /// Runs an import on them, or, where the system gives none, among everything else.
    pub(super) fn spawn<F>(&self, import: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        match self.0.get_or_init(started) {
            Some(runtime) => runtime.spawn(import),
            None => tokio::spawn(import),
        }
    }
}

fn started() -> Option<Runtime> {
    let started = Builder::new_multi_thread().worker_threads(THREADS).thread_name("imports").enable_all().build();
    started.inspect_err(|error| tracing::warn!(%error, "start the threads of imports")).ok()
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Else the one who drops it would wait for them, which asynchronous code may not.
        if let Some(runtime) = self.0.take().flatten() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn an_import_that_never_lets_go_of_its_thread_holds_up_nobody_else() {
        let (threads, over) = (Threads::default(), Arc::new(AtomicBool::new(false)));
        let until = over.clone();
        let busy = threads.spawn(async move {
            while !until.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
        });
        tokio::time::timeout(Duration::from_secs(30), tokio::task::yield_now()).await.unwrap();
        assert!(!busy.is_finished());
        over.store(true, Ordering::Release);
        busy.await.unwrap();
    }
}
