//! What is demanded of a plan: a percentile of a latency below a limit. It looks at no report.

use crate::{
    figures::Kind,
    quantity::{self, Span, Unclear},
};
use std::{fmt, str::FromStr, time::Duration};

/// A demand such as `wait.p99<500ms`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slo {
    /// `wait` or `done`.
    pub kind: Kind,
    /// From 0 to 1.
    pub share: f64,
    /// It must be below this.
    pub limit: Duration,
}

impl FromStr for Slo {
    type Err = Unclear;

    fn from_str(text: &str) -> Result<Self, Unclear> {
        let wanted = || Unclear::new("a demand such as wait.p99<500ms or done.p95<2s", text);
        let (figure, limit) = text.split_once('<').ok_or_else(wanted)?;
        let (kind, percentile) = figure.trim().split_once(".p").ok_or_else(wanted)?;
        let kind = Kind::named(kind).filter(|kind| matches!(kind, Kind::Wait | Kind::Done)).ok_or_else(wanted)?;
        let percent = quantity::number(percentile).map_err(|_| wanted())?;
        let limit = quantity::duration(limit.trim_start_matches('=').trim())?;
        if !(1.0..100.0).contains(&percent) || limit.is_zero() {
            return Err(wanted());
        }
        Ok(Self { kind, share: percent / 100.0, limit })
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded, so that 0.999 * 100 is shown as it was typed.
        let percent = (self.share * 1e6).round() / 1e4;
        write!(f, "p{percent} {} <= {}", self.kind.name(), Span(self.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_is_read_and_shown() {
        let slo = "wait.p99.9<500ms".parse::<Slo>().unwrap();
        assert_eq!(slo.to_string(), "p99.9 wait <= 500 ms");
        assert_eq!("done.p95<=2s".parse::<Slo>().unwrap().limit, Duration::from_secs(2));
        for text in ["wait<1s", "wait.p100<1s", "confirm.p99<1s", "wait.p99<0s", "wait.p99>1s"] {
            assert!(text.parse::<Slo>().is_err(), "{text}");
        }
    }
}
