//! Lays defaults, file, environment and flags over each other, and remembers where each value comes from. What the
//! values mean is checked elsewhere.

use super::{
    file::ConfigFile,
    problem::{Origin, Problem, Problems},
};
use serde_path_to_error::Segment;
use std::{collections::BTreeMap, sync::Arc};
use toml::{Table, Value, de::DeTable};

/// The defaults, as shipped.
pub const DEFAULTS: &str = include_str!("../../config.default.toml");

/// What environment variables of ours begin with; `__` then separates the parts of a key.
pub const ENV_PREFIX: &str = "QUEBERT__";

type Path = Vec<String>;

/// The layers so far.
#[derive(Debug)]
pub struct Layers {
    table: Table,
    origins: Origins,
    problems: Vec<Problem>,
}

/// Where each key was said.
#[derive(Debug, Clone, Default)]
pub struct Origins(BTreeMap<Path, Origin>);

impl Origins {
    /// Where the value of `path` comes from: its own origin, that of the section it was taken from, or that of the
    /// nearest section around it.
    pub fn of(&self, path: &[String]) -> Origin {
        let inherited = inherited_from(path);
        let mut longest: Option<(usize, &Origin)> = None;
        for candidate in std::iter::once(path).chain(inherited.iter().map(Vec::as_slice)) {
            for end in (1..=candidate.len()).rev() {
                // An origin that names the very key beats one that only names a section around it.
                if let Some(origin) = self.0.get(&candidate[..end]) {
                    let missing = candidate.len() - end;
                    if longest.is_none_or(|(best, _)| missing < best) {
                        longest = Some((missing, origin));
                    }
                    break;
                }
            }
        }
        longest.map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// The key as the user said it: a lane's key that came from a section is that section's.
    pub fn key(&self, path: &[String]) -> String {
        let inherited = inherited_from(path);
        let mut candidates = std::iter::once(path).chain(inherited.iter().map(Vec::as_slice));
        candidates.find(|p| self.0.contains_key(*p)).unwrap_or(path).join(".")
    }
}

impl Layers {
    /// The embedded defaults.
    pub fn defaults() -> Self {
        Self { table: default_table(), origins: Origins::default(), problems: Vec::new() }
    }

    /// Lays a file over what is there. `name` is what errors call it.
    pub fn file(&mut self, name: &str, text: &str) {
        let name: Arc<str> = name.into();
        let (spanned, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            self.problems.extend(errors.iter().map(|e| Problem {
                origin: Origin::Line(name.clone(), line_of(text, e.span().map_or(0, |s| s.start))),
                key: String::new(),
                message: e.message().to_owned(),
            }));
            return;
        }
        let table = match text.parse::<Table>() {
            Ok(table) => table,
            Err(e) => {
                self.problems.push(Problem {
                    origin: Origin::Line(name, line_of(text, e.span().map_or(0, |s| s.start))),
                    key: String::new(),
                    message: e.message().to_owned(),
                });
                return;
            }
        };
        if table.contains_key("lanes") {
            self.table.remove("lanes");
        }
        note_lines(spanned.get_ref(), &mut Vec::new(), &mut |path, at| {
            self.origins.0.insert(path.to_vec(), Origin::Line(name.clone(), line_of(text, at)));
        });
        merge(&mut self.table, table);
    }

    /// Lays environment variables over what is there; those without our prefix are none of our business.
    pub fn env(&mut self, vars: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in vars {
            if let Some(key) = name.strip_prefix(ENV_PREFIX) {
                let path = key.split("__").map(str::to_lowercase).collect();
                self.put(path, &value, Origin::Env(name.clone()));
            }
        }
    }

    /// Lays one `key=value` of the command line over what is there. `flag` is what errors call it.
    pub fn set(&mut self, flag: &str, assignment: &str) {
        match assignment.split_once('=') {
            Some((key, value)) => {
                let path = key.trim().split('.').map(str::to_owned).collect();
                self.put(path, value.trim(), Origin::Flag(format!("{flag} {}", key.trim())));
            }
            None => self.problems.push(Problem {
                origin: Origin::Flag(flag.to_owned()),
                key: assignment.to_owned(),
                message: "is not of the form key=value".to_owned(),
            }),
        }
    }

    /// Reads all layers as one. With problems the config is the best that could be made of it, for further checks.
    pub fn read(mut self) -> (ConfigFile, Origins, Vec<Problem>) {
        expand_lanes(&mut self.table);
        let mut defaults = default_table();
        expand_lanes(&mut defaults);
        // Serde stops at the first fault. To tell them all at once, each faulty value is replaced by its default and
        // the whole is read again; each round repairs one key, so the number of keys bounds the rounds.
        loop {
            match serde_path_to_error::deserialize::<_, ConfigFile>(self.table.clone()) {
                Ok(file) => return (file, self.origins, self.problems),
                Err(e) => {
                    assert!(self.table != defaults, "the embedded defaults are a config, as a test holds: {e}");
                    let path = fault_path(&e);
                    let origin = self.origins.of(&path);
                    let retyped = matches!(origin, Origin::Env(_) | Origin::Flag(_)) && retype(&mut self.table, &path);
                    if retyped {
                        continue;
                    }
                    let message = e.inner().message().trim_end();
                    let problem = Problem {
                        key: self.origins.key(&path),
                        origin,
                        message: match path.first() {
                            Some(section) if HOLD_SECRETS.contains(&&**section) => without_value(message),
                            _ => message.to_owned(),
                        },
                    };
                    if !self.problems.iter().any(|p| p.origin == problem.origin && p.message == problem.message) {
                        self.problems.push(problem);
                    }
                    if !repair(&mut self.table, &defaults, &path) {
                        self.table = defaults.clone();
                    }
                }
            }
        }
    }

    fn put(&mut self, path: Path, value: &str, origin: Origin) {
        let typed = format!("v = {value}").parse::<Table>().ok().and_then(|mut t| t.remove("v"));
        let value = typed.unwrap_or_else(|| Value::String(value.to_owned()));
        let mut layer = Table::new();
        insert(&mut layer, &path, value);
        merge(&mut self.table, layer);
        self.origins.0.insert(path, origin);
    }
}

/// Problems as an error, unless there are none.
pub fn verdict(mut problems: Vec<Problem>) -> Result<(), Problems> {
    if problems.is_empty() {
        return Ok(());
    }
    problems.sort();
    problems.dedup();
    Err(Problems(problems))
}

/// Sections in which a secret may stand where something else is expected.
const HOLD_SECRETS: [&str; 4] = ["api", "broker", "otlp", "signing"];

/// What serde says of a value, without the value.
fn without_value(message: &str) -> String {
    let shown = ["invalid type: ", "invalid value: "].iter().find_map(|start| message.strip_prefix(*start));
    let Some((what, wanted)) = shown.and_then(|rest| rest.rsplit_once(", expected ")) else {
        return message.to_owned();
    };
    let kind = what.split(['"', '`']).next().unwrap_or_default().trim_end();
    let wanted = if wanted.starts_with("struct ") { "a table" } else { wanted };
    format!("invalid type: {kind}, expected {wanted}")
}

fn default_table() -> Table {
    DEFAULTS.parse().expect("the embedded defaults are TOML: a test holds that")
}

/// Fills each lane up with what `lane_defaults`, `retry` and `status` say.
fn expand_lanes(table: &mut Table) {
    let section = |name: &str| match table.get(name) {
        Some(Value::Table(t)) => t.clone(),
        _ => Table::new(),
    };
    let mut base = section("lane_defaults");
    for name in ["retry", "status"] {
        let mut filled = section(name);
        if let Some(Value::Table(own)) = base.remove(name) {
            merge(&mut filled, own);
        }
        base.insert(name.to_owned(), Value::Table(filled));
    }
    if let Some(Value::Table(lanes)) = table.get_mut("lanes") {
        for (_, lane) in lanes.iter_mut() {
            if let Value::Table(own) = lane {
                let mut filled = base.clone();
                merge(&mut filled, std::mem::take(own));
                *own = filled;
            }
        }
    }
    table.insert("lane_defaults".to_owned(), Value::Table(base));
}

/// The paths from which a lane's key may have been taken, nearest first.
fn inherited_from(path: &[String]) -> Vec<Path> {
    let of_defaults = |rest: &[String]| -> Vec<Path> {
        let mut all = vec![];
        if matches!(rest.first().map(String::as_str), Some("retry" | "status")) {
            all.push(rest.to_vec());
        }
        all
    };
    match path {
        [first, _, rest @ ..] if first == "lanes" && !rest.is_empty() => {
            let mut all = vec![[vec!["lane_defaults".to_owned()], rest.to_vec()].concat()];
            all.extend(of_defaults(rest));
            all
        }
        [first, rest @ ..] if first == "lane_defaults" && !rest.is_empty() => of_defaults(rest),
        _ => vec![],
    }
}

fn fault_path(error: &serde_path_to_error::Error<toml::de::Error>) -> Path {
    let mut path: Path = Vec::new();
    for segment in error.path() {
        match segment {
            Segment::Map { key } => path.push(key.clone()),
            Segment::Enum { .. } | Segment::Seq { .. } | Segment::Unknown => break,
        }
    }
    // A field that is not known is named in the message; the path ends at the section around it.
    if let Some(name) = error.inner().message().strip_prefix("unknown field `").and_then(|m| m.split('`').next())
        && path.last().map(String::as_str) != Some(name)
    {
        path.push(name.to_owned());
    }
    path
}

/// An environment variable says `5` where a text is wanted: takes it as the text that it was. True if that changed it.
fn retype(table: &mut Table, path: &[String]) -> bool {
    let Some(slot) = lookup(table, path) else { return false };
    let text = match slot {
        Value::Integer(n) => n.to_string(),
        Value::Float(n) => n.to_string(),
        Value::Boolean(b) => b.to_string(),
        Value::Datetime(d) => d.to_string(),
        Value::String(_) | Value::Array(_) | Value::Table(_) => return false,
    };
    *slot = Value::String(text);
    true
}

/// Puts the default in place of a faulty value, or takes it out where there is none. False if it isn't there.
fn repair(table: &mut Table, defaults: &Table, path: &[String]) -> bool {
    let mut defaults = defaults.clone();
    let default =
        std::iter::once(path.to_vec()).chain(inherited_from(path)).find_map(|p| lookup(&mut defaults, &p).cloned());
    match (lookup(table, path), default) {
        (Some(slot), Some(default)) if *slot != default => {
            *slot = default;
            true
        }
        (Some(_), _) => {
            let (last, around) = path.split_last().expect("what was looked up has a name");
            let around = if around.is_empty() { Some(&mut *table) } else { table_at(table, around) };
            around.and_then(|t| t.remove(last)).is_some()
        }
        (None, Some(default)) => {
            insert(table, path, default);
            true
        }
        (None, None) => false,
    }
}

fn lookup<'t>(table: &'t mut Table, path: &[String]) -> Option<&'t mut Value> {
    let (last, around) = path.split_last()?;
    let around = if around.is_empty() { Some(table) } else { table_at(table, around) };
    around?.get_mut(last)
}

fn table_at<'t>(table: &'t mut Table, path: &[String]) -> Option<&'t mut Table> {
    path.iter().try_fold(table, |t, key| t.get_mut(key)?.as_table_mut())
}

fn insert(table: &mut Table, path: &[String], value: Value) {
    let Some((last, around)) = path.split_last() else { return };
    let mut at = table;
    for key in around {
        let slot = at.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
        if !slot.is_table() {
            *slot = Value::Table(Table::new());
        }
        at = slot.as_table_mut().expect("made a table just above");
    }
    at.insert(last.clone(), value);
}

fn merge(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(b)), Value::Table(a)) => merge(b, a),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

fn note_lines(table: &DeTable<'_>, path: &mut Path, note: &mut impl FnMut(&[String], usize)) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        note(path, key.span().start);
        if let Some(inner) = value.get_ref().as_table() {
            note_lines(inner, path, note);
        }
        path.pop();
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}
