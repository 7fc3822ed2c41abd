//! Distributions, of latencies, sizes and delays alike: read from one small grammar, drawn from with keyed randomness.
//! What the numbers measure (seconds, bytes) is the caller's.
//!
//! `50ms` or `constant:50ms`, `uniform:10ms,90ms`, `exp:50ms` (mean), `lognormal:50ms,400ms` (median, 99th percentile),
//! `pareto:10ms,1.5` (least, shape), `bimodal:50ms,600ms,5%` (mostly, rarely, how rarely), `empirical:FILE` (one value a
//! line).

use crate::{draw::Draw, quantity, quantity::Unclear};
use std::{f64::consts::TAU, path::Path, sync::Arc};

/// The standard normal distribution's 99th percentile.
const Z99: f64 = 2.326_347_874;
/// The most lines of an empirical file.
const LINES_MAX: usize = 10_000_000;

/// A distribution of numbers that are not negative.
#[derive(Debug, Clone, PartialEq)]
pub enum Dist {
    /// Always the same.
    Constant(f64),
    /// Evenly from the first to the second.
    Uniform(f64, f64),
    /// Exponential, with this mean.
    Exponential(f64),
    /// Log-normal: the median, and the standard deviation of the logarithm.
    LogNormal {
        /// Half of the values are below it.
        median: f64,
        /// Of the logarithm.
        sigma: f64,
    },
    /// Pareto (type I).
    Pareto {
        /// The least value.
        least: f64,
        /// The shape; the mean is finite above 1.
        alpha: f64,
    },
    /// Two values.
    Bimodal {
        /// The usual one.
        mostly: f64,
        /// The other one.
        rarely: f64,
        /// How often the other one comes, from 0 to 1.
        share: f64,
    },
    /// One of these, each as likely.
    Empirical(Arc<[f64]>),
}

/// Reads one number with its unit.
pub type Unit = fn(&str) -> Result<f64, Unclear>;

/// A duration, as seconds.
///
/// # Errors
/// When it is none.
pub fn seconds(text: &str) -> Result<f64, Unclear> {
    quantity::duration(text).map(|d| d.as_secs_f64())
}

impl Dist {
    /// A day in seconds: what stands for a mean that is not finite.
    pub const MEAN_MAX: f64 = 86_400.0;

    /// Reads a distribution.
    ///
    /// # Errors
    /// Which part of it is unclear.
    pub fn parse(text: &str, unit: Unit) -> Result<Self, Unclear> {
        let Some((kind, rest)) = text.split_once(':') else { return unit(text).map(Self::Constant) };
        let parts = rest.split(',').collect::<Vec<_>>();
        let shape = |n: usize, form: &str| {
            if parts.len() == n { Ok(()) } else { Err(Unclear::new(format!("{kind}:{form}"), text)) }
        };
        match kind {
            "constant" => shape(1, "VALUE").and_then(|()| unit(parts[0])).map(Self::Constant),
            "uniform" => {
                shape(2, "LEAST,MOST")?;
                let (least, most) = (unit(parts[0])?, unit(parts[1])?);
                if least > most {
                    Err(Unclear::new("the smaller one first", rest))
                } else {
                    Ok(Self::Uniform(least, most))
                }
            }
            "exp" => shape(1, "MEAN").and_then(|()| unit(parts[0])).map(Self::Exponential),
            "lognormal" => {
                shape(2, "MEDIAN,P99")?;
                let (median, p99) = (unit(parts[0])?, unit(parts[1])?);
                if median <= 0.0 || p99 < median {
                    return Err(Unclear::new("a median above 0 and a p99 that is not below it", rest));
                }
                Ok(Self::LogNormal { median, sigma: (p99 / median).ln() / Z99 })
            }
            "pareto" => {
                shape(2, "LEAST,SHAPE")?;
                let alpha = quantity::number(parts[1])?;
                if alpha <= 0.0 {
                    Err(Unclear::new("a shape above 0", parts[1]))
                } else {
                    Ok(Self::Pareto { least: unit(parts[0])?, alpha })
                }
            }
            "bimodal" => {
                shape(3, "MOSTLY,RARELY,SHARE")?;
                Ok(Self::Bimodal {
                    mostly: unit(parts[0])?,
                    rarely: unit(parts[1])?,
                    share: quantity::share(parts[2])?,
                })
            }
            "empirical" => empirical(Path::new(rest), unit),
            _ => Err(Unclear::new("constant, uniform, exp, lognormal, pareto, bimodal or empirical", kind)),
        }
    }

    /// One value; the same for the same draw.
    pub fn sample(&self, draw: Draw) -> f64 {
        let u = draw.unit();
        match self {
            Self::Constant(value) => *value,
            Self::Uniform(least, most) => least + u * (most - least),
            // 1 - u is never 0.
            Self::Exponential(mean) => -mean * (1.0 - u).ln(),
            Self::LogNormal { median, sigma } => median * (sigma * normal(u, draw.of("angle").unit())).exp(),
            Self::Pareto { least, alpha } => least * (1.0 - u).powf(-1.0 / alpha),
            Self::Bimodal { mostly, rarely, share } => {
                if u < *share {
                    *rarely
                } else {
                    *mostly
                }
            }
            Self::Empirical(values) => values[(u * values.len() as f64) as usize],
        }
    }

    /// The mean; infinite for a Pareto distribution of shape 1 or less.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::Uniform(least, most) => (least + most) / 2.0,
            Self::Exponential(mean) => *mean,
            Self::LogNormal { median, sigma } => median * (sigma * sigma / 2.0).exp(),
            Self::Pareto { alpha, .. } if *alpha <= 1.0 => f64::INFINITY,
            Self::Pareto { least, alpha } => alpha * least / (alpha - 1.0),
            Self::Bimodal { mostly, rarely, share } => mostly + share * (rarely - mostly),
            Self::Empirical(values) => values.iter().sum::<f64>() / values.len() as f64,
        }
    }
}

/// Box and Muller's transform of two even numbers.
fn normal(u: f64, v: f64) -> f64 {
    (-2.0 * (1.0 - u).ln()).sqrt() * (TAU * v).cos()
}

fn empirical(path: &Path, unit: Unit) -> Result<Dist, Unclear> {
    let shown = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|e| Unclear::new(format!("a file that can be read ({e})"), &*shown))?;
    let mut values = Vec::new();
    for (line, n) in text.lines().map(str::trim).zip(1..) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if values.len() == LINES_MAX {
            return Err(Unclear::new(format!("at most {LINES_MAX} values"), shown));
        }
        values.push(unit(line).map_err(|e| Unclear::new(format!("line {n}: {}", e.what), e.at))?);
    }
    if values.is_empty() {
        Err(Unclear::new("a file with at least one value", shown))
    } else {
        Ok(Dist::Empirical(values.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn mean_is(text: &str, tolerance: f64) {
        let dist = Dist::parse(text, seconds).unwrap();
        let draw = Draw::new(3).of("dist");
        let n = 200_000;
        let sampled = (0..n).map(|key| dist.sample(draw.at(key))).sum::<f64>() / n as f64;
        assert!((sampled / dist.mean() - 1.0).abs() < tolerance, "{text}: {sampled} instead of {}", dist.mean());
    }

    #[test]
    fn samples_have_the_mean_that_is_told() {
        for text in ["50ms", "uniform:10ms,90ms", "exp:50ms", "bimodal:50ms,600ms,5%"] {
            mean_is(text, 0.01);
        }
        mean_is("lognormal:50ms,400ms", 0.02);
        mean_is("pareto:10ms,3", 0.02);
    }

    #[test]
    fn a_lognormal_one_has_its_99th_percentile() {
        let dist = Dist::parse("lognormal:50ms,400ms", seconds).unwrap();
        let above = (0..100_000).filter(|key| dist.sample(Draw::new(1).at(*key)) > 0.4).count();
        assert!((900..1100).contains(&above), "{above} of 100,000 above the p99");
    }

    #[test]
    fn what_is_unclear_is_refused() {
        for text in
            ["exp:", "exp:1s,2s", "uniform:2s,1s", "lognormal:1s", "gauss:1s", "pareto:1s,0", "bimodal:1s,2s,200%"]
        {
            assert!(Dist::parse(text, seconds).is_err(), "{text}");
        }
        let missing = Dist::parse("empirical:/nowhere/at/all", seconds).unwrap_err();
        assert!(missing.what.starts_with("a file that can be read"), "{missing}");
    }
}
