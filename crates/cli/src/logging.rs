//! The log on standard error.

use std::io::{IsTerminal, Write};

/// Logs to standard error from now on: what `UNANIMOUS_LOG` asks for, else `info`.
pub fn to_standard_error() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("UNANIMOUS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| BestEffort(std::io::stderr()))
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Writes what can be written. A log on a full disk, or whose reader is gone, has gaps; a site that can't say something goes
/// on, where the subscriber would complain on standard error, of all places, and panic at that.
struct BestEffort<W>(W);

impl<W: Write> Write for BestEffort<W> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        // A line that is cut short is better than the second half of it in front of the next one.
        let _ = self.0.write_all(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}
