//! What the kernel knows of a process: CPU, memory, descriptors, switches. Linux only; elsewhere nothing is known.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs;

/// The kernel's clock ticks in `/proc/<pid>/stat`: 100 a second on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Look {
    /// CPU seconds so far, user and system, of all threads.
    pub cpu_s: f64,
    /// Memory in use.
    pub rss_bytes: u64,
    /// The most memory that was ever in use.
    pub rss_peak_bytes: u64,
    /// Open descriptors.
    pub fds: u64,
    /// How often it went to sleep by itself, of its main thread.
    pub voluntary_switches: u64,
}

/// Looks at a process; `None` if it is gone or nothing is known.
pub fn look(pid: u32) -> Option<Look> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything; user and system time are the 12th and 13th field after it.
    let (_, rest) = stat.rsplit_once(')')?;
    let field = |n: usize| rest.split_whitespace().nth(n)?.parse::<f64>().ok();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Look {
        cpu_s: (field(11)? + field(12)?) / TICKS_PER_SECOND,
        rss_bytes: of("VmRSS:")? * 1024,
        rss_peak_bytes: of("VmHWM:")? * 1024,
        fds: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |all| all.count() as u64),
        voluntary_switches: of("voluntary_ctxt_switches:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_known_and_a_missing_one_is_not() {
        let me = look(std::process::id()).unwrap();
        assert!(me.rss_bytes > 100_000 && me.rss_peak_bytes >= me.rss_bytes && me.fds > 2, "{me:?}");
        assert_eq!(look(u32::MAX), None);
    }
}
