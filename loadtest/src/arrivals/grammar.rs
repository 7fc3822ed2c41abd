//! The text of a plan becomes its phases. An error says what was expected and where. Files of `replay` are read here;
//! nothing else is.

use super::{Arrivals, Curve, PLAN_MAX, Pace, Phase, replay};
use crate::quantity::{self, Unclear};
use std::{path::Path, time::Duration};

/// Around a spike, if nothing is said.
const SPIKE_MARGIN: Duration = Duration::from_secs(10);
/// The most phases of one plan.
const PHASES_MAX: usize = 1000;

/// What is wrong with the text of a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("arrivals, column {column}: expected {expected}, found {found}")]
pub struct GrammarError {
    /// Where, in characters from 1.
    pub column: usize,
    /// What could stand there.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

pub(super) fn parse(text: &str) -> Result<Arrivals, GrammarError> {
    let mut reader = Reader { words: split(text), next: 0, end: text.chars().count() + 1 };
    let mut phases = Vec::new();
    while !reader.at_end() {
        if reader.separator() {
            continue;
        }
        let start = reader.next;
        let found = segment(&mut reader)?;
        phases.extend(found);
        if !reader.at_end() && !reader.separator() {
            return Err(reader.expected("`then`, `;` or the end"));
        }
        if phases.len() > PHASES_MAX || phases.iter().map(|p: &Phase| p.length).sum::<Duration>() > PLAN_MAX {
            reader.next = start;
            return Err(reader.expected("a plan of at most 1000 phases and 11 hours"));
        }
    }
    if phases.is_empty() {
        return Err(reader.expected(KINDS));
    }
    number(&mut phases);
    Ok(Arrivals { phases })
}

const KINDS: &str = "constant, poisson, ramp, steps, spike, sine, burst, replay, closed or pause";

/// Phases of the same name get a number behind it, so that reports can tell them apart.
fn number(phases: &mut [Phase]) {
    for i in 1..phases.len() {
        let same = |n: &str, all: &[Phase]| all.iter().any(|p| p.name == n);
        let name = phases[i].name.clone();
        let mut n = 2;
        while same(&phases[i].name, &phases[..i]) {
            phases[i].name = format!("{name} {n}");
            n += 1;
        }
    }
}

fn segment(reader: &mut Reader<'_>) -> Result<Vec<Phase>, GrammarError> {
    let random = reader.take("poisson");
    let bare = random && reader.peek().is_some_and(|word| word.contains('/'));
    let kind = if bare { "constant" } else { reader.word(KINDS)? };
    let rate_of = |curve, length| phase(kind, length, Pace::Rate { curve, random });
    let mut phases = match kind {
        "constant" => {
            let rate = reader.read(quantity::rate)?;
            let length = reader.length()?;
            vec![phase(
                if random { "poisson" } else { kind },
                length,
                Pace::Rate { curve: Curve::Constant(rate), random },
            )]
        }
        "ramp" => {
            let (from, to) = reader.read(|word| pair(word, ".."))?;
            vec![rate_of(Curve::Ramp(from, to), reader.length()?)]
        }
        "steps" => {
            let rates = reader.read(rates)?;
            reader.keyword("each")?;
            let each = reader.length()?;
            let step = |rate: f64| Phase { name: format!("{rate}/s"), ..rate_of(Curve::Constant(rate), each) };
            rates.into_iter().map(step).collect()
        }
        "spike" => spike(reader, random)?,
        "sine" => {
            let (mean, swing) = reader.read(swing)?;
            reader.keyword("period")?;
            let period = reader.length()?.as_secs_f64();
            vec![rate_of(Curve::Sine { mean, swing, period }, reader.length()?)]
        }
        _ if random => {
            reader.next -= 1;
            return Err(reader.expected("a rate, or constant, ramp, steps, spike or sine"));
        }
        "burst" => burst(reader)?,
        "replay" => {
            let (rows, length) = reader.read(|word| replay::read(Path::new(word)))?;
            vec![phase(kind, length, Pace::Replay(rows))]
        }
        "closed" => {
            let clients = reader.read(|word| {
                let wanted = || Unclear::new("n=COUNT, from 1 to 1000000", word);
                let n = quantity::count(word.strip_prefix("n=").ok_or_else(wanted)?)?;
                u32::try_from(n).ok().filter(|n| (1..=1_000_000).contains(n)).ok_or_else(wanted)
            })?;
            vec![phase(kind, reader.length()?, Pace::Closed { clients })]
        }
        "pause" => vec![phase(kind, reader.length()?, Pace::Burst(0))],
        _ => {
            reader.next -= 1;
            return Err(reader.expected(KINDS));
        }
    };
    if reader.take("as") {
        let name = reader.word("a name")?;
        for phase in &mut phases {
            phase.name = name.to_owned();
        }
    }
    Ok(phases)
}

fn spike(reader: &mut Reader<'_>, random: bool) -> Result<Vec<Phase>, GrammarError> {
    let (base, top) = reader.read(|word| pair(word, "->"))?;
    reader.keyword("for")?;
    let length = reader.length()?;
    let margin = if reader.take("after") { reader.length()? } else { SPIKE_MARGIN };
    let of = |name, length, rate| phase(name, length, Pace::Rate { curve: Curve::Constant(rate), random });
    Ok(vec![of("before spike", margin, base), of("spike", length, top), of("after spike", margin, base)])
}

fn burst(reader: &mut Reader<'_>) -> Result<Vec<Phase>, GrammarError> {
    let n = reader.read(quantity::count)?;
    if reader.take("at") {
        reader.keyword("once")?;
    }
    let every = if reader.take("every") { Some(reader.length()?) } else { None };
    let mut left = reader.length()?;
    let mut phases = Vec::new();
    while !left.is_zero() && phases.len() <= PHASES_MAX {
        let length = every.map_or(left, |every| every.min(left));
        left -= length;
        phases.push(phase("burst", length, Pace::Burst(n)));
    }
    Ok(phases)
}

fn phase(name: &str, length: Duration, pace: Pace) -> Phase {
    Phase { name: name.to_owned(), length, pace }
}

/// `0..2000/s`: the unit stands once.
fn pair(word: &str, between: &str) -> Result<(f64, f64), Unclear> {
    let wanted = || Unclear::new(format!("two rates such as 100{between}2000/s"), word);
    let (from, to) = word.split_once(between).ok_or_else(wanted)?;
    let to_rate = quantity::rate(to).map_err(|_| wanted())?;
    let (_, unit) = to.split_once('/').ok_or_else(wanted)?;
    let from_rate = quantity::rate(&format!("{from}/{unit}")).map_err(|_| wanted())?;
    Ok((from_rate, to_rate))
}

/// `500±400/s`
fn swing(word: &str) -> Result<(f64, f64), Unclear> {
    let between = if word.contains('±') { "±" } else { "+-" };
    let (mean, swing) =
        pair(word, between).map_err(|_| Unclear::new("a rate and its swing such as 500+-400/s", word))?;
    if swing > mean { Err(Unclear::new("a swing that is at most the mean", word)) } else { Ok((mean, swing)) }
}

/// `100,200,400/s`
fn rates(word: &str) -> Result<Vec<f64>, Unclear> {
    let wanted = || Unclear::new("rates such as 100,200,400/s", word);
    let (figures, unit) = word.split_once('/').ok_or_else(wanted)?;
    let rates = figures.split(',').map(|figure| quantity::rate(&format!("{figure}/{unit}")).map_err(|_| wanted()));
    rates.collect()
}

struct Word<'a> {
    text: &'a str,
    column: usize,
}

struct Reader<'a> {
    words: Vec<Word<'a>>,
    next: usize,
    /// The column behind the text.
    end: usize,
}

/// `;` and line ends are words of their own.
fn split(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut push = |from: Option<(usize, usize)>, to: usize| {
        if let Some((byte, column)) = from {
            words.push(Word { text: &text[byte..to], column });
        }
    };
    for (column, (byte, c)) in text.char_indices().enumerate() {
        if c.is_whitespace() || c == ';' {
            push(start.take(), byte);
            if c == ';' || c == '\n' {
                push(Some((byte, column + 1)), byte + 1);
            }
        } else if start.is_none() {
            start = Some((byte, column + 1));
        }
    }
    push(start, text.len());
    words
}

impl<'a> Reader<'a> {
    fn at_end(&self) -> bool {
        self.next == self.words.len()
    }

    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).map(|word| word.text)
    }

    fn take(&mut self, keyword: &str) -> bool {
        let is_it = self.peek() == Some(keyword);
        self.next += usize::from(is_it);
        is_it
    }

    fn separator(&mut self) -> bool {
        self.take("then") || self.take(";") || self.take("\n")
    }

    fn word(&mut self, expected: &str) -> Result<&'a str, GrammarError> {
        let word = self.peek().filter(|word| !matches!(*word, ";" | "\n" | "then"));
        let word = word.ok_or_else(|| self.expected(expected))?;
        self.next += 1;
        Ok(word)
    }

    fn keyword(&mut self, keyword: &str) -> Result<(), GrammarError> {
        if self.take(keyword) { Ok(()) } else { Err(self.expected(&format!("`{keyword}`"))) }
    }

    fn read<T>(&mut self, read: impl FnOnce(&'a str) -> Result<T, Unclear>) -> Result<T, GrammarError> {
        let word = self.peek().unwrap_or_default();
        let value = read(word).map_err(|unclear| self.expected(&unclear.what))?;
        self.next += 1;
        Ok(value)
    }

    /// A duration that is not 0.
    fn length(&mut self) -> Result<Duration, GrammarError> {
        self.read(|word| match quantity::duration(word)? {
            Duration::ZERO => Err(Unclear::new("a duration above 0", word)),
            length => Ok(length),
        })
    }

    fn expected(&self, expected: &str) -> GrammarError {
        let word = self.words.get(self.next);
        let found = match word.map(|word| word.text) {
            None => "the end".to_owned(),
            Some("\n") => "the end of the line".to_owned(),
            Some(text) => format!("{text:?}"),
        };
        GrammarError { column: word.map_or(self.end, |word| word.column), expected: expected.to_owned(), found }
    }
}
