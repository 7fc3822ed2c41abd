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

/// What all processors together have done since the machine started, in seconds of one of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// Busy, for whomever.
    pub busy_s: f64,
    /// All their time.
    pub all_s: f64,
}

/// Looks at the machine; `None` if nothing is known.
pub fn machine() -> Option<Machine> {
    machine_of(&fs::read_to_string("/proc/stat").ok()?)
}

/// The first line: user, nice, system, idle, waiting for disks, interrupts (twice), and stolen by other machines. Guests' time is
/// counted as that of their users already.
fn machine_of(stat: &str) -> Option<Machine> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks = fields.take(8).map(str::parse).collect::<Result<Vec<f64>, _>>().ok()?;
    let all = ticks.iter().sum::<f64>();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(Machine { busy_s: (all - idle) / TICKS_PER_SECOND, all_s: all / TICKS_PER_SECOND })
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
        let machine = machine().unwrap();
        assert!(0.0 < machine.busy_s && machine.busy_s <= machine.all_s, "{machine:?}");
    }

    #[test]
    fn a_machine_is_busy_but_for_idling_and_waiting_for_disks() {
        let stat = "cpu  400 100 300 1000 200 10 20 70 900 0\ncpu0 1 2 3 4 5 6 7 8\n";
        assert_eq!(machine_of(stat), Some(Machine { busy_s: 9.0, all_s: 21.0 }));
        for stat in ["", "cpu  1 2 3", "cpu  a b c d e f g h", "intr 1 2 3 4 5 6 7 8"] {
            assert_eq!(machine_of(stat), None, "{stat:?}");
        }
    }
}
