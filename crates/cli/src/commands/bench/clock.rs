//! What the machine says: one clock for all processes, and what a process has used.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time since the machine started: the same in every process and network namespace of it.
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}

/// The most memory that a process has had resident, in bytes; 0 if it is gone.
pub fn peak_memory_bytes(pid: u32) -> u64 {
    memory_bytes(pid, "VmHWM:")
}

/// The memory that a process has resident, in bytes; 0 if it is gone.
pub fn resident_memory_bytes(pid: u32) -> u64 {
    memory_bytes(pid, "VmRSS:")
}

/// From now on the most memory is counted anew. Without effect where that is not ours to say.
pub fn forget_peak_memory(pid: u32) {
    let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

fn memory_bytes(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// What a process has read or written by now, by its name in the system's table, with the colon; 0 if it is gone.
pub fn io_bytes(pid: u32, what: &str) -> u64 {
    let table = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = table.lines().find_map(|line| line.strip_prefix(what));
    line.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or_default()
}

/// The time that the threads of a process have run on a processor.
pub fn processor_time(pid: u32) -> Duration {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let nanoseconds = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_the_clock_goes_forward() {
        let before = now();
        assert!(peak_memory_bytes(std::process::id()) > 0);
        assert!(resident_memory_bytes(std::process::id()) > 0);
        assert!(io_bytes(std::process::id(), "rchar:") > 0);
        assert!(now() >= before);
        assert_eq!(peak_memory_bytes(u32::MAX), 0);
    }
}
