//! Reads what a scraper would: samples of the classic text format, by name. Lines that can't be read are left out.

use std::collections::BTreeMap;

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

/// The samples of one dispatcher at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Samples(BTreeMap<String, Vec<Sample>>);

impl Samples {
    pub(super) fn read(text: &str) -> Self {
        let mut all: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, sample)) = sample(line) {
                all.entry(name.to_owned()).or_default().push(sample);
            }
        }
        Self(all)
    }

    /// All samples of a name.
    pub(super) fn of(&self, name: &str) -> &[Sample] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The sum of those that `fits` takes.
    pub(super) fn sum(&self, name: &str, fits: impl Fn(&Sample) -> bool) -> f64 {
        self.of(name).iter().filter(|sample| fits(sample)).map(|sample| sample.value).sum()
    }
}

impl Sample {
    /// A label's value; a label that is not there is empty.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

fn sample(line: &str) -> Option<(&str, Sample)> {
    let name_end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(name_end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name, Sample { labels, value }))
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, after) = quoted_value(quoted)?;
        labels.insert(name.to_owned(), value);
        rest = after;
    }
}

/// A value up to its closing quote, and what follows that.
fn quoted_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_their_labels() {
        let samples = Samples::read(
            "# HELP a b\na{x=\"1\",y=\"q\\\"\\\\\\n}\"} 2.5\na{x=\"2\"} +Inf 1700000000\nplain 7\nbroken{x=\"\nalso broken\n",
        );
        assert_eq!(samples.of("a").len(), 2);
        assert_eq!(samples.of("a")[0].label("y"), "q\"\\\n}");
        assert_eq!(samples.sum("a", |s| s.label("x") == "1"), 2.5);
        assert_eq!(samples.of("a")[1].value, f64::INFINITY);
        assert_eq!(samples.sum("plain", |_| true), 7.0);
        assert_eq!(samples.of("broken"), []);
    }
}
