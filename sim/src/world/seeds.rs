//! What the environment says of a check: which seeds, which network, which case to run again. It is read once, at the
//! beginning, so no run depends on it.

use super::World;
use crate::net::Kind;
use std::path::PathBuf;

const SEEDS: &str = "QUEBERT_SIM_SEEDS";
const WORLD: &str = "QUEBERT_SIM_WORLD";
/// The file of a case that is run instead of all seeds.
pub(super) const CASE: &str = "QUEBERT_SIM_CASE";
/// The most seeds that one variable names: a day's work.
const SEEDS_MAX: u64 = 10_000_000;

impl World {
    /// With what the environment says instead of what the builder was told.
    pub(super) fn with_environment(mut self, read: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let read = |name| read(name).filter(|text| !text.trim().is_empty());
        if let Some(text) = read(SEEDS) {
            self.seeds = seeds(&text).ok_or_else(|| format!("{SEEDS}={text}: not a seed, 1..=500, or 3,9"))?;
        }
        if let Some(text) = read(WORLD) {
            self.kind = kind(&text).ok_or_else(|| format!("{WORLD}={text}: not fast or turmoil"))?;
        }
        if let Some(text) = read(CASE) {
            self.replay = Some(PathBuf::from(text));
        }
        Ok(self)
    }
}

/// The name of a kind of network in the environment.
pub(super) const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Fast => "fast",
        Kind::Turmoil => "turmoil",
    }
}

fn kind(text: &str) -> Option<Kind> {
    [Kind::Fast, Kind::Turmoil].into_iter().find(|kind| kind_name(*kind) == text.trim())
}

/// `7`, `1..500`, `1..=500`, `3,9`, and all of it together.
fn seeds(text: &str) -> Option<Vec<u64>> {
    let mut seeds = Vec::new();
    for part in text.split(',').map(str::trim) {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let (from, to) = match part.split_once("..") {
            None => (number(part)?, number(part)?.checked_add(1)?),
            Some((from, to)) => match to.strip_prefix('=') {
                Some(to) => (number(from)?, number(to)?.checked_add(1)?),
                None => (number(from)?, number(to)?),
            },
        };
        if to.checked_sub(from)? > SEEDS_MAX {
            return None;
        }
        seeds.extend(from..to);
    }
    Some(seeds).filter(|seeds| !seeds.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_numbers_ranges_and_lists() {
        for (text, expect) in [
            ("7", Some(vec![7])),
            ("3..6", Some(vec![3, 4, 5])),
            ("3..=5", Some(vec![3, 4, 5])),
            (" 9, 1..=2 ", Some(vec![9, 1, 2])),
            ("", None),
            ("5..5", None),
            ("6..=2", None),
            ("x", None),
            ("1..=99999999999", None),
            ("18446744073709551615", None),
        ] {
            assert_eq!(seeds(text), expect, "{text:?}");
        }
    }

    #[test]
    fn the_environment_goes_over_the_builder() {
        let read = |name: &str| match name {
            SEEDS => Some("4".to_owned()),
            WORLD => Some("turmoil".to_owned()),
            _ => Some(" ".to_owned()),
        };
        let world = World::builder().seeds(1..=9).build().with_environment(read).expect("it is well said");
        assert_eq!((world.seeds, world.kind, world.replay), (vec![4], Kind::Turmoil, None));
        let wrong = |name: &str| (name == WORLD).then(|| "real".to_owned());
        assert!(World::builder().build().with_environment(wrong).is_err_and(|error| error.contains("real")));
    }
}
