//! What the kernel knows of a process. Linux only.

use crate::Fault;
use std::{collections::BTreeMap, ffi::OsString, fs};

/// The kernel's clock ticks in `/proc/<pid>/stat`, 100 a second on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds so far, user and system, of all threads.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64, Fault> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name stands in brackets and may hold anything; user and system time are the 12th and 13th field after it.
    let (_, rest) = text.rsplit_once(')').ok_or("stat has no name")?;
    let field =
        |n: usize| -> Result<f64, Fault> { Ok(rest.split_whitespace().nth(n).ok_or("stat is short")?.parse()?) };
    Ok((field(11)? + field(12)?) / TICKS_PER_SECOND)
}

/// How often each thread of the process went to sleep by itself so far, which is a wake-up each; by thread, since those
/// that end take their count along.
pub(crate) fn voluntary_switches(pid: u32) -> Result<BTreeMap<OsString, u64>, Fault> {
    let mut switches = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?;
        let status = fs::read_to_string(thread.path().join("status"))?;
        switches.insert(thread.file_name(), field(&status, "voluntary_ctxt_switches:")?);
    }
    Ok(switches)
}

/// Bytes of memory in use, as the kernel counts pages.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64, Fault> {
    Ok(field(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:")? * 1024)
}

fn field(status: &str, name: &str) -> Result<u64, Fault> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line in status")?;
    Ok(line.split_whitespace().next().ok_or("an empty line in status")?.parse()?)
}
