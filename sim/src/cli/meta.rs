//! `meta`: the proof that a case alone decides what happens. Each case runs twice in this process and once in each of two
//! others, which differ from it in environment, folder, addresses of memory and order of cases; traces are compared byte
//! for byte, and so are the hashes of all bytes on the network. It judges no run.

use super::{
    Error, Verdict,
    cases::{self, SeedArgs, WorldName},
    out,
};
use crate::{
    case::{Case, scenario},
    run::{self, Options, Setup},
    trace::{self, words},
};
use clap::{Args, ValueEnum};
use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, Command, Stdio},
    thread,
};

#[derive(Debug, Clone, Args)]
struct Selection {
    /// Only this scenario; may be repeated. Without, all of them
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<String>,
    /// And the cases of this many seeds, from 1 up
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: u64,
    /// Only this world. Without, both
    #[arg(long, value_enum)]
    world: Option<WorldName>,
    #[command(flatten)]
    size: SeedArgs,
}

#[derive(Debug, Args)]
pub(super) struct MetaArgs {
    #[command(flatten)]
    selection: Selection,
    /// Give one of the other processes other seeds: this must end with exit code 1, or the proof proves nothing
    #[arg(long)]
    negative_control: bool,
}

#[derive(Debug, Args)]
pub(super) struct ChildArgs {
    #[command(flatten)]
    selection: Selection,
    #[arg(long, value_enum)]
    order: Order,
    #[arg(long)]
    other_seeds: bool,
}

/// In which order a process runs the cases: what one leaves behind must not show in the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    Forward,
    Backward,
}

/// One case in one world.
struct Item {
    name: String,
    case: Case,
    world: WorldName,
}

/// What one run of an item gave.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    trace: String,
    /// Hash, segments, end in nanoseconds.
    wire: (u64, u64, u128),
}

impl Selection {
    fn items(&self) -> Result<Vec<Item>, Error> {
        let mut chosen = Vec::new();
        if self.scenarios.is_empty() {
            // The disasters are hours of the same.
            chosen.extend(scenario::ALL.iter().map(|known| (known.name.to_owned(), (known.case)())));
        }
        for name in &self.scenarios {
            chosen.push((name.clone(), cases::scenario(name)?.case));
        }
        chosen.extend((1..=self.seeds).map(|seed| (format!("seed {seed}"), self.size.case(seed))));
        let worlds = self.world.map_or_else(|| vec![WorldName::Fast, WorldName::Turmoil], |world| vec![world]);
        let item = |(name, case): &(String, Case), world| Item { name: name.clone(), case: case.clone(), world };
        Ok(worlds.iter().flat_map(|world| chosen.iter().map(|chosen| item(chosen, *world))).collect())
    }

    fn flags(&self) -> Vec<String> {
        let mut flags = vec!["--seeds".to_owned(), self.seeds.to_string()];
        flags.extend(self.scenarios.iter().flat_map(|name| ["--scenario".to_owned(), name.clone()]));
        flags.extend(self.world.iter().flat_map(|world| ["--world".to_owned(), world.name().to_owned()]));
        flags.extend(self.size.flags());
        flags
    }
}

/// Compares, and says where runs part.
pub(super) fn meta(args: &MetaArgs) -> Result<Verdict, Error> {
    let items = args.selection.items()?;
    let others = [
        ("one that knows little", Order::Forward, false),
        ("one that goes backward", Order::Backward, args.negative_control),
    ];
    let others = others.map(|(name, order, other_seeds)| (name, start(&args.selection, order, other_seeds)));
    let mut readers = Vec::new();
    for (name, child) in others {
        let mut child = child.map_err(Error::Process)?;
        let output = child.stdout.take().expect("it was asked for");
        let reader = thread::Builder::new().spawn(move || read(output)).map_err(Error::Process)?;
        readers.push((name, child, reader));
    }
    let here: Vec<_> = items.iter().map(|item| (item.run(), item.run())).collect();
    let mut elsewhere = Vec::new();
    for (name, mut child, reader) in readers {
        let mut runs = reader.join().expect("it only reads").map_err(Error::Process)?;
        let status = child.wait().map_err(Error::Process)?;
        if !status.success() || runs.len() != items.len() {
            let told = format!("{name}: told of {} of {} runs, {status}", runs.len(), items.len());
            return Err(Error::Process(io::Error::other(told)));
        }
        if name.ends_with("backward") {
            runs.reverse();
        }
        elsewhere.push((name, runs));
    }

    let width = items.iter().map(|item| item.name.len()).max().unwrap_or(0);
    let mut differ = 0;
    for (index, (item, (one, again))) in items.iter().zip(&here).enumerate() {
        let mut all = vec![("this process, for the second time", again)];
        all.extend(elsewhere.iter().map(|(name, runs)| (*name, &runs[index])));
        let parted = all.iter().find_map(|(name, other)| Some((name, one.parts_from(other)?)));
        let lines = words::count(one.trace.lines().count() as u64);
        let label = format!("{:<width$}  {:<7} {lines:>9} lines", item.name, item.world.name());
        match parted {
            None => out::line(&format!("{label}  wire {:016x}  4 times the same", one.wire.0))?,
            Some((name, difference)) => {
                differ += 1;
                out::line(&format!("{label}  DIFFERS in {name}: {difference}"))?;
            }
        }
    }
    let runs = words::plural(items.len(), "case");
    if differ == 0 {
        out::line(&format!("{runs}, each run four times in three processes: the same bytes"))?;
        Ok(Verdict::Kept)
    } else {
        out::line(&format!("{differ} of {runs} did not run the same way four times"))?;
        Ok(Verdict::Broken)
    }
}

/// Runs the cases for a parent, and sends it their traces.
pub(super) fn child(args: &ChildArgs) -> Result<Verdict, Error> {
    let mut items = args.selection.items()?;
    if args.order == Order::Backward {
        items.reverse();
    }
    let mut out = io::stdout().lock();
    for item in &mut items {
        if args.other_seeds {
            item.case.seed = item.case.seed.wrapping_add(1);
        }
        let Run { trace, wire: (hash, segments, end) } = item.run();
        writeln!(out, "{} {hash} {segments} {end}", trace.len())?;
        out.write_all(trace.as_bytes())?;
    }
    Ok(Verdict::Kept)
}

impl Item {
    fn run(&self) -> Run {
        let options = Options { kind: self.world.kind(), ..Options::default() };
        let report = run::play(&self.case, &Setup::default(), &options);
        let wire = (report.ran.wire_hash, report.ran.segments, report.ran.end.as_nanos());
        Run { trace: trace::text(&self.case, options.kind, &report.entries), wire }
    }
}

impl Run {
    fn parts_from(&self, other: &Self) -> Option<String> {
        match trace::difference(&self.trace, &other.trace) {
            Some(difference) => Some(difference.to_string()),
            None if self.wire == other.wire => None,
            None => Some(format!("the traces are the same, the network is not: {:?} and {:?}", self.wire, other.wire)),
        }
    }
}

/// Starts another process of this program, in other circumstances.
fn start(selection: &Selection, order: Order, other_seeds: bool) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("meta-child").args(selection.flags());
    match order {
        // Nearly nothing, so that its stack begins elsewhere, too.
        Order::Forward => command.args(["--order", "forward"]).env_clear().current_dir("/"),
        Order::Backward => {
            let padding = "x".repeat(5000);
            command.args(["--order", "backward"]);
            command.env("QUEBERT_SIM_PADDING", padding).env("TZ", "Pacific/Chatham").env("LANG", "tr_TR.UTF-8")
        }
    };
    if other_seeds {
        command.arg("--other-seeds");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
}

/// Reads what a child tells.
fn read(output: impl io::Read) -> io::Result<Vec<Run>> {
    let mut output = BufReader::new(output);
    let mut runs = Vec::new();
    let mut head = String::new();
    loop {
        head.clear();
        if output.read_line(&mut head)? == 0 {
            return Ok(runs);
        }
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, format!("{head:?} is no head of a trace"));
        let mut numbers = head.split_ascii_whitespace().map(str::parse::<u64>);
        let mut number = || numbers.next().and_then(Result::ok).ok_or_else(wrong);
        let (length, hash, segments, end) = (number()?, number()?, number()?, number()?);
        let mut trace = String::new();
        output.by_ref().take(length).read_to_string(&mut trace)?;
        runs.push(Run { trace, wire: (hash, segments, end.into()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_run() -> Run {
        Run { trace: "# head\n 1 a\n 2 b\n".to_owned(), wire: (7, 3, 9) }
    }

    #[test]
    fn what_a_child_tells_is_read_as_it_was_told() {
        let run = a_run();
        let told = format!("{} 7 3 9\n{}", run.trace.len(), run.trace).repeat(2);
        assert_eq!(read(told.as_bytes()).unwrap(), [run.clone(), run]);
        assert!(read(b"nonsense\n".as_slice()).is_err());
    }

    #[test]
    fn runs_that_differ_only_on_the_network_differ() {
        let (one, mut other) = (a_run(), a_run());
        assert_eq!(one.parts_from(&other), None);
        other.wire.0 = 8;
        assert!(one.parts_from(&other).unwrap().contains("the network is not"));
        other.trace = "# head\n 1 a\n 2 c\n".to_owned();
        assert!(one.parts_from(&other).unwrap().contains("line 3:"));
    }
}
