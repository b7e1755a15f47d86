//! `site`: one site, until it is told to stop.

use ::site::{RunningSite, SiteConfig, Stopped, start};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::args;
use crate::failure::Failure;

/// `unanimous site --config FILE`.
pub fn run(args: &args::Site) -> Result<(), Failure> {
    log_to_standard_error();
    let config = SiteConfig::read(&args.config).map_err(|error| Failure::refused(error.to_string()))?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build()?;
    let result = runtime.block_on(async {
        let site = start(config).await.map_err(|error| Failure::refused(error.to_string()))?;
        match serve(site, args.with_stdin).await {
            Stopped::InOrder => Ok(()),
            Stopped::Failed(why) => Err(Failure::refused(why)),
        }
    });
    runtime.shutdown_background();
    result
}

/// How many threads run a site's tasks. One site is one machine of states: a second thread carries links' encryption
/// beside it, if there is a processor for it, and costs a third of the messages if there is none.
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| (processors.get() - 1).clamp(1, 2))
}

async fn serve(mut site: RunningSite, with_stdin: bool) -> Stopped {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return Stopped::Failed("signals can't be handled here".to_owned());
    };
    let parent_gone = async {
        if !with_stdin {
            return std::future::pending().await;
        }
        // Whatever comes is ignored: only the end counts.
        let mut buffer = [0; 64];
        while tokio::io::stdin().read(&mut buffer).await.is_ok_and(|n| n > 0) {}
    };
    tokio::select! {
        stopped = site.wait() => return stopped,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = parent_gone => tracing::info!("the process that started this site is gone"),
    }
    site.stop().await
}

fn log_to_standard_error() {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::try_from_env("UNANIMOUS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
