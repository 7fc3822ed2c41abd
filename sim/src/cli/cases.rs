//! Where a case comes from: a scenario, a seed, or a file; and the arguments that would bring it about again.

use super::Error;
use crate::{
    case::{
        Case, disaster, scenario,
        swarm::{self, Size},
    },
    net::Kind,
};
use clap::{Args, ValueEnum};
use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// Which world to run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum WorldName {
    /// In memory, event-driven: thousands of cases a minute
    #[default]
    Fast,
    /// turmoil: slower, a second opinion
    Turmoil,
}

impl WorldName {
    /// On the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Turmoil => "turmoil",
        }
    }

    /// In the library.
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Fast => Kind::Fast,
            Self::Turmoil => Kind::Turmoil,
        }
    }
}

/// How large the cases of seeds are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum SizeName {
    /// At most 3 dispatchers, 5 executors, 200 tasks, 2 minutes until all heals
    #[default]
    Quick,
    /// Up to 500 tasks and 10 minutes: what speed is measured with
    Bench,
}

impl SizeName {
    const fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Bench => "bench",
        }
    }

    fn size(self) -> Size {
        match self {
            Self::Quick => Size::default(),
            Self::Bench => Size::bench(),
        }
    }
}

/// What keeps the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum EngineName {
    /// The queue core under rules like RabbitMQ's
    Rabbit,
    /// The embedded broker's store, on a simulated disk
    Embedded,
}

impl EngineName {
    const fn name(self) -> &'static str {
        match self {
            Self::Rabbit => "rabbit",
            Self::Embedded => "embedded",
        }
    }
}

/// From a seed to a case.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct SeedArgs {
    /// How large the cases of seeds are
    #[arg(long, value_enum, default_value_t)]
    pub(super) size: SizeName,
    /// What keeps the messages, instead of what each seed says
    #[arg(long, value_enum)]
    pub(super) engine: Option<EngineName>,
}

impl SeedArgs {
    /// The case of a seed.
    pub(super) fn case(self, seed: u64) -> Case {
        let mut size = self.size.size();
        match self.engine {
            Some(EngineName::Rabbit) => size.embedded_per_mille = 0,
            Some(EngineName::Embedded) => size.embedded_per_mille = 1000,
            None => {}
        }
        swarm::case(seed, size)
    }

    /// The arguments that say the same, without defaults.
    pub(super) fn flags(self) -> Vec<String> {
        let mut flags = Vec::new();
        if self.size != SizeName::default() {
            flags.extend(["--size".to_owned(), self.size.name().to_owned()]);
        }
        if let Some(engine) = self.engine {
            flags.extend(["--engine".to_owned(), engine.name().to_owned()]);
        }
        flags
    }
}

/// Which case.
#[derive(Debug, Clone, Args)]
#[group(id = "which", required = true, multiple = false)]
pub(super) struct WhichArgs {
    /// A scenario by its name; `quebert-sim scenarios` lists them
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// The case of a seed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// A case in a JSON file; `-` is standard input
    #[arg(long, value_name = "FILE")]
    case: Option<PathBuf>,
}

/// A longer case, or one with more load.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct StretchArgs {
    /// Spread the case's faults over so many virtual seconds, and repeat its tasks until then
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
    /// With so many tasks a second, instead of as many as it has
    #[arg(long, value_name = "TASKS")]
    rate: Option<f64>,
}

impl StretchArgs {
    /// The case that comes of it.
    pub(super) fn apply(self, chosen: Chosen) -> Result<Chosen, Error> {
        if self.duration.is_none() && self.rate.is_none() {
            return Ok(chosen);
        }
        if self.rate.is_some_and(|rate| !(0.001..=100_000.0).contains(&rate)) {
            return Err(Error::Usage("--rate must be 0.001 to 100000".to_owned()));
        }
        let Chosen { case, mut replay } = chosen;
        let duration = self.duration.map_or(Duration::from_millis(case.heal_at_ms), Duration::from_secs);
        let case = case.stretched(duration, self.rate);
        case.check().map_err(|source| Error::Case { origin: replay.join(" "), source })?;
        replay.extend(self.duration.iter().flat_map(|duration| ["--duration".to_owned(), duration.to_string()]));
        replay.extend(self.rate.iter().flat_map(|rate| ["--rate".to_owned(), rate.to_string()]));
        Ok(Chosen { case, replay })
    }
}

/// A case, and what `replay` is told to bring it about again.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    /// The case.
    pub(super) case: Case,
    /// The arguments of `replay`, without the world.
    pub(super) replay: Vec<String>,
}

impl WhichArgs {
    /// The case that is meant.
    pub(super) fn choose(&self, seeds: SeedArgs) -> Result<Chosen, Error> {
        match (&self.scenario, self.seed, &self.case) {
            (Some(name), _, _) => scenario(name),
            (_, Some(seed), _) => Ok(of_seed(seed, seeds)),
            (_, _, Some(path)) => of_file(path),
            (None, None, None) => Err(Error::Usage("one of --scenario, --seed and --case is needed".to_owned())),
        }
    }
}

/// What stands without a flag: a number is a seed, the name of a scenario is that, and anything else a file.
pub(super) fn seed_or_file(text: &str, seeds: SeedArgs) -> Result<Chosen, Error> {
    match text.parse() {
        Ok(seed) => Ok(of_seed(seed, seeds)),
        Err(_) if scenarios().any(|(name, _, _)| name == text) => scenario(text),
        Err(_) => of_file(Path::new(text)),
    }
}

fn of_seed(seed: u64, seeds: SeedArgs) -> Chosen {
    let mut replay = vec![seed.to_string()];
    replay.extend(seeds.flags());
    Chosen { case: seeds.case(seed), replay }
}

fn of_file(path: &Path) -> Result<Chosen, Error> {
    let read = |error| Error::Read(path.to_owned(), error);
    let text = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).map_err(read)?;
        text
    } else {
        fs::read_to_string(path).map_err(read)?
    };
    let case = Case::from_json(&text).map_err(|source| Error::Case { origin: path.display().to_string(), source })?;
    Ok(Chosen { case, replay: vec![path.display().to_string()] })
}

/// The case of a scenario.
pub(super) fn scenario(name: &str) -> Result<Chosen, Error> {
    let found = scenarios().find(|(known, _, _)| *known == name);
    let (name, _, case) = found.ok_or_else(|| {
        let known: Vec<_> = scenarios().map(|(name, _, _)| name).collect();
        Error::Usage(format!("there is no scenario {name:?}; there are {}", known.join(", ")))
    })?;
    let case = Case { name: name.to_owned(), ..case() };
    Ok(Chosen { case, replay: vec![name.to_owned()] })
}

/// Name, purpose and case of each scenario, disasters included.
pub(super) fn scenarios() -> impl Iterator<Item = (&'static str, &'static str, fn() -> Case)> {
    scenario::ALL.iter().chain(disaster::ALL).map(|known| (known.name, known.about, known.case))
}

/// How this program is called here, for commands that people copy.
pub(super) fn program() -> &'static str {
    // cargo sets it for what it runs.
    if std::env::var_os("CARGO_MANIFEST_DIR").is_some() { "cargo sim" } else { "quebert-sim" }
}

/// The command that runs a case again.
pub(super) fn replay_command(chosen: &[String], world: WorldName) -> String {
    let mut words = vec![program().to_owned(), "replay".to_owned()];
    words.extend(chosen.iter().map(|word| quoted(word)));
    if world != WorldName::default() {
        words.extend(["--world".to_owned(), world.name().to_owned()]);
    }
    words.join(" ")
}

/// For a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_whatever_is_no_default() {
        let seeds = SeedArgs { size: SizeName::Bench, engine: Some(EngineName::Embedded) };
        let command = replay_command(&of_seed(7, seeds).replay, WorldName::Turmoil);
        assert!(command.ends_with(" replay 7 --size bench --engine embedded --world turmoil"), "{command}");
        let command = replay_command(&["my case's.json".to_owned()], WorldName::Fast);
        assert!(command.ends_with(r" replay 'my case'\''s.json'"), "{command}");
    }

    #[test]
    fn a_file_that_is_no_case_is_refused_with_its_name() {
        let error = seed_or_file("no/such/file.json", SeedArgs::default()).unwrap_err();
        assert_eq!(error.to_string(), "read no/such/file.json");
    }
}
