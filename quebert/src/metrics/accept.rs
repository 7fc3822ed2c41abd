//! Which text format a scraper gets, by its `Accept` header (RFC 9110, section 12.5.1). Nobody is refused: who accepts
//! neither gets the classic one.

use quebert_metrics::Format;

/// OpenMetrics is for who names it and wants it no less than the classic format.
pub fn format(accept: Option<&str>) -> Format {
    let Some(accept) = accept else { return Format::Classic };
    let ranges: Vec<Range<'_>> = accept.split(',').filter_map(Range::parse).collect();
    let quality = |kind, version| {
        let fitting = ranges.iter().filter(|range| range.kind == kind && range.takes(version));
        fitting.map(|range| range.thousandths).max()
    };
    let open = quality("application/openmetrics-text", "1.0.0").unwrap_or(0);
    let any = || ["text/*", "*/*"].iter().find_map(|kind| quality(kind, "0.0.4")).unwrap_or(0);
    let classic = quality("text/plain", "0.0.4").unwrap_or_else(any);
    if open > 0 && open >= classic { Format::OpenMetrics } else { Format::Classic }
}

/// One media range with what it says of its version and its weight.
struct Range<'a> {
    kind: &'a str,
    version: Option<&'a str>,
    thousandths: u16,
}

impl<'a> Range<'a> {
    /// A weight that can't be read counts as none given: 1.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let mut range = Self { kind: parts.next().filter(|kind| !kind.is_empty())?, version: None, thousandths: 1000 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim() {
                "version" => range.version = Some(value),
                "q" | "Q" => {
                    let weight = value.parse::<f32>().ok().filter(|q| (0.0..=1.0).contains(q));
                    range.thousandths = weight.map_or(1000, |q| (q * 1000.0) as u16);
                }
                _ => {}
            }
        }
        Some(range)
    }

    fn takes(&self, version: &str) -> bool {
        self.version.is_none_or(|wanted| wanted == version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &str, expect: Format) {
        assert_eq!(format(Some(accept)), expect, "{accept}");
    }

    #[test]
    fn openmetrics_is_for_who_names_it() {
        // Prometheus 2.42 and 3.
        check(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Format::OpenMetrics,
        );
        check(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.2",
            Format::OpenMetrics,
        );
        check("application/openmetrics-text; version=\"1.0.0\"", Format::OpenMetrics);
        check("application/openmetrics-text", Format::OpenMetrics);
    }

    #[test]
    fn all_others_get_what_everybody_reads() {
        assert_eq!(format(None), Format::Classic);
        for accept in [
            "",
            "*/*",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.5",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.5,*/*",
            "application/json",
            ";;q=,,",
        ] {
            check(accept, Format::Classic);
        }
    }
}
