//! Axes: from values to places on a plot, linear or logarithmic, and where their ticks stand. What is outside of an axis is
//! put at its end, so a place is always on the plot.

/// One axis of a plot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    log: bool,
    from: f64,
    until: f64,
    /// The places of both ends.
    place: (f64, f64),
}

impl Axis {
    /// From 0 to this at least, and up to the next tick.
    pub(super) fn linear(most: f64, place: (f64, f64)) -> Self {
        let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        let step = step(most);
        Self { log: false, from: 0.0, until: (most / step).ceil() * step, place }
    }

    /// From 0 to exactly this: time, which ends where it ends.
    pub(super) fn exact(most: f64, place: (f64, f64)) -> Self {
        let until = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        Self { log: false, from: 0.0, until, place }
    }

    /// The least decade parts (1, 2, 5) that hold both values, which are taken as at least 1.
    pub(super) fn log(least: f64, most: f64, place: (f64, f64)) -> Self {
        let sane = |value: f64| if value.is_finite() { value.clamp(1.0, 1e15) } else { 1.0 };
        let (least, most) = (sane(least.min(most)), sane(most.max(least)));
        let from = parts(least, least).filter(|part| *part <= least).last().unwrap_or(1.0);
        let until = parts(most, most).find(|part| *part >= most && *part > from).unwrap_or(from * 10.0);
        Self { log: true, from, until, place }
    }

    /// The place of a value.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = if value.is_nan() { self.from } else { value.clamp(self.from, self.until) };
        let share = if self.log {
            (value / self.from).ln() / (self.until / self.from).ln()
        } else {
            (value - self.from) / (self.until - self.from)
        };
        self.place.0 + share * (self.place.1 - self.place.0)
    }

    /// Where ticks stand.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if !self.log {
            let step = step(self.until - self.from);
            let n = ((self.until - self.from) / step + 1e-9).floor() as u32;
            return (0..=n).map(|i| self.from + f64::from(i) * step).collect();
        }
        let all = parts(self.from, self.until).filter(|part| (self.from..=self.until * 1.001).contains(part));
        let all = all.collect::<Vec<_>>();
        // Ten lines are readable; where there are more, the decades alone are told.
        if all.len() <= 10 { all } else { all.into_iter().filter(|tick| is_decade(*tick)).collect() }
    }
}

/// 1, 2 or 5 times a power of ten, so that there are four to nine steps to `most`.
fn step(most: f64) -> f64 {
    let power = 10_f64.powf((most / 4.0).log10().floor());
    [5.0, 2.0].into_iter().map(|times| times * power).find(|step| most / step >= 4.0).unwrap_or(power)
}

/// 1, 2 and 5 in the decades from that of `least` to the one after that of `most`.
fn parts(least: f64, most: f64) -> impl Iterator<Item = f64> {
    let (from, until) = (least.log10().floor() as i32 - 1, most.log10().floor() as i32 + 1);
    (from..=until).flat_map(|power| [1.0, 2.0, 5.0].map(|part| part * 10_f64.powi(power))).filter(|part| *part >= 1.0)
}

fn is_decade(value: f64) -> bool {
    let log = value.log10();
    (log - log.round()).abs() < 1e-6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_ends_with_a_tick() {
        let axis = Axis::linear(730.0, (0.0, 100.0));
        assert_eq!(axis.ticks(), [0.0, 200.0, 400.0, 600.0, 800.0]);
        assert_eq!((axis.at(0.0), axis.at(400.0), axis.at(9000.0)), (0.0, 50.0, 100.0));
    }

    #[test]
    fn a_logarithmic_axis_holds_both_values_between_round_ones() {
        let axis = Axis::log(1_300.0, 41_000.0, (100.0, 0.0));
        assert_eq!(axis.ticks(), [1e3, 2e3, 5e3, 1e4, 2e4, 5e4]);
        assert_eq!((axis.at(1_000.0), axis.at(50_000.0), axis.at(1.0)), (100.0, 0.0, 100.0));
        assert_eq!(Axis::log(1.0, 1e8, (0.0, 1.0)).ticks().len(), 9);
    }

    #[test]
    fn every_value_has_a_finite_place() {
        let values = [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300];
        for a in values {
            for axis in [Axis::linear(a, (0.0, 10.0)), Axis::exact(a, (0.0, 10.0)), Axis::log(a, a, (0.0, 10.0))] {
                assert!(axis.ticks().len() < 30 && axis.ticks().iter().all(|tick| tick.is_finite()), "{axis:?}");
                for b in values {
                    assert!((0.0..=10.0).contains(&axis.at(b)), "{b} on {axis:?}");
                }
            }
        }
    }
}
