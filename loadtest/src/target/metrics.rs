//! What a dispatcher says at /metrics: the Prometheus text format, as far as Quebert writes it. It keeps no history.

use std::collections::BTreeMap;

/// Values by series, as they stand in the text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    series: BTreeMap<String, f64>,
}

impl Metrics {
    /// Reads what it understands, and leaves out the rest.
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            (!line.starts_with('#')).then_some((series.to_owned(), value.parse().ok()?))
        };
        Self { series: text.lines().filter_map(line).collect() }
    }

    /// Whether there is anything.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The sum of a metric over all label sets that have all of these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name).filter(|(series, _)| has(series, labels)).map(|(_, value)| value).sum()
    }

    /// The values of a metric by one of its labels; values of the same label are added up.
    pub fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut values = BTreeMap::new();
        for (series, value) in self.of(name) {
            if let Some(key) = label_of(series, label) {
                *values.entry(key.to_owned()).or_insert(0.0) += value;
            }
        }
        values
    }

    /// The bound of the bucket that holds a quantile of a histogram's values since `before`; `None` without any.
    pub fn quantile(&self, name: &str, share: f64, before: Option<&Self>) -> Option<f64> {
        let bucket = format!("{name}_bucket");
        let mut bounds = self.by(&bucket, "le");
        if let Some(before) = before {
            for (le, value) in before.by(&bucket, "le") {
                *bounds.entry(le).or_insert(0.0) -= value;
            }
        }
        let bound = |le: &str| if le == "+Inf" { Some(f64::INFINITY) } else { le.parse().ok() };
        let mut bounds = bounds.iter().filter_map(|(le, n)| Some((bound(le)?, *n))).collect::<Vec<_>>();
        bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all = bounds.last().map(|(_, n)| *n).filter(|n| *n > 0.0)?;
        bounds.iter().find(|(_, n)| *n >= all * share).map(|(le, _)| *le)
    }

    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let from_name = self.series.range(name.to_owned()..).take_while(move |(series, _)| series.starts_with(name));
        let is_it = move |series: &str| matches!(series.as_bytes().get(name.len()), None | Some(b'{'));
        from_name.filter(move |(series, _)| is_it(series)).map(|(series, value)| (series.as_str(), *value))
    }
}

fn has(series: &str, labels: &[(&str, &str)]) -> bool {
    labels.iter().all(|(name, value)| label_of(series, name) == Some(value))
}

/// Labels of ours have no quotes in them.
fn label_of<'a>(series: &'a str, label: &str) -> Option<&'a str> {
    let (_, labels) = series.split_once('{')?;
    let parts = labels.trim_end_matches('}').split("\",");
    let pairs = parts.filter_map(|part| part.trim_end_matches('"').split_once("=\""));
    pairs.into_iter().find(|(name, _)| *name == label).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a_total Things.\n# TYPE a_total counter\na_total{queue=\"high\",result=\"ok\"} 3\n\
        a_total{queue=\"low\",result=\"ok\"} 4\na_total{queue=\"low\",result=\"bad\"} 5\na_total_more 9\nup 1\n\
        h_bucket{le=\"0.1\"} 90\nh_bucket{le=\"1\"} 99\nh_bucket{le=\"+Inf\"} 100\n";

    #[test]
    fn sums_are_of_the_labels_that_are_asked_for() {
        let metrics = Metrics::parse(TEXT);
        assert_eq!(metrics.sum("a_total", &[]), 12.0);
        assert_eq!(metrics.sum("a_total", &[("result", "ok")]), 7.0);
        assert_eq!(metrics.sum("a_total", &[("queue", "low"), ("result", "ok")]), 4.0);
        assert_eq!((metrics.sum("up", &[]), metrics.sum("down", &[])), (1.0, 0.0));
        assert_eq!(metrics.by("a_total", "queue"), [("high".to_owned(), 3.0), ("low".to_owned(), 9.0)].into());
    }

    #[test]
    fn quantiles_are_bounds_of_buckets() {
        let metrics = Metrics::parse(TEXT);
        assert_eq!(metrics.quantile("h", 0.9, None), Some(0.1));
        assert_eq!(metrics.quantile("h", 0.95, None), Some(1.0));
        assert_eq!(metrics.quantile("h", 0.999, None), Some(f64::INFINITY));
        assert_eq!(metrics.quantile("h", 0.5, Some(&metrics)), None);
        assert_eq!(metrics.quantile("g", 0.5, None), None);
    }
}
