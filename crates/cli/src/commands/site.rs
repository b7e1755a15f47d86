//! `site`: one site, until it is told to stop.

use std::pin::{Pin, pin};

use ::site::{SiteConfig, Stopped};
use maildriver::{WithMail, start};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::args;
use crate::failure::Failure;
use crate::logging;

/// `unanimous site --config FILE`.
pub fn run(args: &args::Site) -> Result<(), Failure> {
    logging::to_standard_error();
    let Some(path) = &args.config else { return Err(Failure::usage("name the site's --config")) };
    let config = SiteConfig::read(path).map_err(|error| Failure::refused(error.to_string()))?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build()?;
    let result = runtime.block_on(async {
        let mut told = pin!(told_to_stop(args.with_stdin)?);
        let site = tokio::select! {
            // A site that waits for its number is stopped like any other.
            () = &mut told => return Ok(()),
            site = start(config) => site.map_err(|error| Failure::refused(error.to_string()))?,
        };
        match serve(site, told).await {
            Stopped::InOrder => Ok(()),
            Stopped::StartAgain => Err(start_again()),
            Stopped::Failed(why) => Err(Failure::refused(why)),
        }
    });
    runtime.shutdown_background();
    result
}

/// Starts this very program again in this very process: whoever watches over it need not know. Returns only if it can't.
fn start_again() -> Failure {
    use std::os::unix::process::CommandExt;
    tracing::info!("starting again, in a life above those of the earlier store");
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let error = std::process::Command::new("/proc/self/exe").arg0(name).args(args).exec();
    Failure::refused(format!("this site must be started again, and could not do it by itself: {error}"))
}

/// How many threads run a site's tasks. One site is one machine of states: a second thread carries links' encryption
/// beside it, if there is a processor for it, and costs a third of the messages if there is none.
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| (processors.get() - 1).clamp(1, 2))
}

async fn serve(mut running: WithMail, told: Pin<&mut impl Future<Output = ()>>) -> Stopped {
    tokio::select! {
        stopped = running.site.wait() => return stopped,
        () = told => {}
    }
    running.site.stop().await
}

/// Listens from now on for signals, and for the end of standard input if that is to be heeded.
fn told_to_stop(with_stdin: bool) -> Result<impl Future<Output = ()>, Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let parent_gone = async move {
        if !with_stdin {
            return std::future::pending().await;
        }
        // Whatever comes is ignored: only the end counts.
        let mut buffer = [0; 64];
        while tokio::io::stdin().read(&mut buffer).await.is_ok_and(|n| n > 0) {}
    };
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = parent_gone => tracing::info!("the process that started this site is gone"),
        }
    })
}
