//! The provider-libvirt binary.

use std::{io::IsTerminal, process::ExitCode, thread, time::Duration};

use provider_libvirt::{args::Args, serve};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// The stack of each thread in bytes: four times what threads usually have, because reading the specs of domains nests deep. Pages that
/// are never touched cost nothing.
const STACK: usize = 8 << 20;

fn main() -> ExitCode {
    // libvirt starts this program again where a host is reached by SSH.
    if let Some(ended) = libvirt::called_as(std::env::args_os()) {
        return ended;
    }
    let args = Args::read(std::env::args_os(), |name| std::env::var_os(name)).unwrap_or_else(|error| error.exit());
    log(args.debug);
    for warning in args.without_effect() {
        tracing::warn!("{warning}");
    }
    libvirt::sweep();
    sweep_later();
    let run = || {
        // One provider of cryptography in the whole process, chosen before anyone asks for it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK).build()?;
        runtime.block_on(serve::serve(args))
    };
    let ended = run();
    libvirt::leave();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Sweeps once more: one that was killed right before may have been at its end still when this one started.
fn sweep_later() {
    let later = || {
        thread::sleep(Duration::from_mins(1));
        libvirt::sweep();
    };
    if let Err(error) = thread::Builder::new().name("sweep".to_owned()).spawn(later) {
        tracing::warn!(%error, "start a thread that sweeps");
    }
}

/// Readable lines on a terminal, JSON for machines otherwise.
fn log(debug: bool) {
    let level = if debug { "info,provider_libvirt=debug,managed=debug,libvirt=debug" } else { "info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let registry = tracing_subscriber::registry().with(filter);
    if std::io::stderr().is_terminal() {
        registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr)).init();
    } else {
        registry.with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).init();
    }
}
