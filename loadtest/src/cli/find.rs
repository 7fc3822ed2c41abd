//! `find-max`: flags become a search, and what it came to a line. A line a probe on the way.

use super::{Error, interrupted, out, profile::ProfileArgs, report::Pages, runtime};
use crate::{
    quantity,
    report::{Sweep, exit, html_sweep, markdown_sweep},
    run::Profile,
    search::{FindSpec, Limits, ProbeLength, find_max},
};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct FindArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    /// An objective that must be kept, such as "wait.p99<200ms"; repeatable
    #[arg(long, required = true, num_args = 1.., value_name = "DEMAND")]
    slo: Vec<String>,
    /// The first rate that is tried
    #[arg(long, default_value = "50/s", value_parser = rate)]
    from: f64,
    /// None below this is tried
    #[arg(long, default_value = "1/s", value_parser = rate)]
    least: f64,
    /// None above this is tried
    #[arg(long, default_value = "100000/s", value_parser = rate)]
    most: f64,
    /// How near the result is to the limit
    #[arg(long, default_value = "3%", value_parser = quantity::share)]
    tolerance: f64,
    #[command(flatten)]
    length: LengthArgs,
    #[command(flatten)]
    output: PointsArgs,
}

/// Where the points of many runs go.
#[derive(Debug, Args)]
pub(super) struct PointsArgs {
    /// Write the result and every point as JSON; `-` is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    pages: Pages,
    /// Tell nothing while it runs
    #[arg(long, short)]
    quiet: bool,
}

impl PointsArgs {
    /// Something about what happens.
    pub(super) fn tell(&self, line: &str) {
        if !self.quiet {
            out::tell(line);
        }
    }

    /// The result as JSON, and its points for people.
    pub(super) fn write(&self, result: &impl serde::Serialize, points: &Sweep) -> Result<(), Error> {
        if let Some(path) = &self.json {
            out::write(path, &serde_json::to_string_pretty(result).expect("it is plain data"))?;
        }
        self.pages.write(|| html_sweep(points), || markdown_sweep(points))
    }

    /// Whether standard output is a file's, so that nothing else may be written to it.
    fn to_stdout(&self) -> bool {
        self.json.as_ref().is_some_and(|path| path.as_os_str() == "-") || self.pages.to_stdout()
    }
}

/// How long each run is.
#[derive(Debug, Args)]
pub(super) struct LengthArgs {
    /// A probe is at least so long; the one that confirms is three times as long
    #[arg(long, default_value = "20s", value_name = "DURATION", value_parser = quantity::duration)]
    probe: std::time::Duration,
    /// And so long that this many tasks come, and 20 times as long as a task's work
    #[arg(long, default_value = "2000", value_name = "N", value_parser = quantity::count)]
    probe_tasks: u64,
    /// How tasks come: poisson or constant
    #[arg(long, default_value = "poisson", value_parser = ["poisson", "constant"])]
    pub(super) shape: String,
}

impl LengthArgs {
    pub(super) fn length(&self) -> ProbeLength {
        ProbeLength { least: self.probe, tasks: self.probe_tasks, ..ProbeLength::default() }
    }
}

pub(super) fn rate(text: &str) -> Result<f64, quantity::Unclear> {
    quantity::rate(text)
        .and_then(|rate| if rate > 0.0 { Ok(rate) } else { Err(quantity::Unclear::new("a rate above 0", text)) })
}

/// The profile for many runs: plan and demands are the verb's.
pub(super) fn shared(args: ProfileArgs, verb: &str) -> Result<Profile, Error> {
    let profile = args.read()?;
    let plain = Profile::default();
    if profile.arrivals != plain.arrivals || !profile.thresholds.is_empty() || !profile.faults.is_empty() {
        return Err(Error::Usage(format!(
            "{verb} has plans and demands of its own: no arrivals, thresholds or faults"
        )));
    }
    Ok(profile)
}

pub(super) fn find(args: FindArgs) -> Result<u8, Error> {
    let FindArgs { profile, slo, from, least, most, tolerance, length, output } = args;
    if !(least <= from && from <= most) || tolerance <= 0.0 {
        return Err(Error::Usage("least <= from <= most, and a tolerance above 0".to_owned()));
    }
    let limits = Limits { start: from, least, most, tolerance };
    let profile = shared(profile, "find-max")?;
    let spec = FindSpec { profile, slo, limits, length: length.length(), shape: length.shape };
    let told = |probe: &crate::search::ProbeView| output.tell(&probe.to_string());
    let found = runtime()?.block_on(async {
        tokio::select! {
            biased;
            () = interrupted() => Ok(None),
            found = find_max(spec, |_| {}, told) => found.map(Some),
        }
    })?;
    let Some(found) = found else {
        out::tell("interrupted: nothing is reported");
        return Ok(exit::INVALID);
    };
    output.write(&found, &found.as_sweep())?;
    if output.to_stdout() {
        output.tell(&found.summary);
    } else {
        out::print(&found.summary)?;
    }
    Ok(found.exit_code)
}
