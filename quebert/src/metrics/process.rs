//! What the kernel tells of this process, read from /proc/self. Where there is no /proc, nothing is told.

use quebert_metrics::ProcessReading;
use std::fs;

/// Clock ticks a second in /proc/self/stat: 100 on every Linux architecture that Rust runs on (`USER_HZ`).
const TICKS: f64 = 100.0;

pub(super) fn read() -> Option<ProcessReading> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name is in parentheses and may hold spaces; proc(5) counts the fields after it from 3.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |n: usize| fields.get(n - 3).and_then(|f| f.parse::<f64>().ok());
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse::<f64>().ok().map(|n| n * 1024.0)
    };
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let max_fds = limits.lines().find_map(|l| l.strip_prefix("Max open files"))?.split_whitespace().next()?;
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot = boot.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse::<f64>().ok()?;
    Some(ProcessReading {
        cpu_seconds: (field(14)? + field(15)?) / TICKS,
        resident_bytes: kib("VmRSS")?,
        virtual_bytes: kib("VmSize")?,
        open_fds: fs::read_dir("/proc/self/fd").ok()?.count() as f64,
        max_fds: max_fds.parse().unwrap_or(f64::INFINITY),
        threads: field(20)?,
        start_seconds: boot + field(22)? / TICKS,
    })
}
