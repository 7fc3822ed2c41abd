//! The search against systems of known capacity: no run, no time.

use super::*;
use crate::draw::Draw;
use proptest::prelude::*;

const LIMITS: Limits = Limits { start: 50.0, least: 1.0, most: 1e6, tolerance: 0.03 };

/// Every probe with its answer, and what it came to.
fn search(limits: Limits, mut system: impl FnMut(Probe) -> Verdict) -> (Vec<(Probe, Verdict)>, Ended) {
    let mut search = Search::new(limits);
    let mut probes = Vec::new();
    while let Some(probe) = search.next() {
        assert_eq!(search.next(), Some(probe), "asked again, it says the same");
        assert!(probe.rate >= limits.least && probe.rate <= limits.most, "{probe:?}");
        let verdict = system(probe);
        probes.push((probe, verdict));
        assert!(probes.len() < 300, "it ends: {probes:?}");
        search.told(verdict);
    }
    (probes, search.ended().expect("there is no next probe"))
}

fn ideal(capacity: f64) -> impl Fn(Probe) -> Verdict {
    move |probe| if probe.rate <= capacity { Verdict::Kept } else { Verdict::Missed }
}

/// What holds of every search, whatever the system does.
#[track_caller]
fn assert_sound(limits: Limits, probes: &[(Probe, Verdict)], ended: Ended) {
    let Some(rate) = ended.rate_per_s else {
        assert_eq!(ended.reason, Reason::Least);
        let last = probes.last().unwrap();
        assert!(last.0.rate == limits.least && last.1 != Verdict::Kept, "{probes:?}");
        return;
    };
    assert!(probes.contains(&(Probe { rate, times: 3 }, Verdict::Kept)), "a longer probe has confirmed it: {probes:?}");
    match ended.failed_per_s {
        None => assert_eq!((rate, ended.reason), (limits.most, Reason::Most)),
        Some(failed) => {
            assert!(rate < failed && failed <= rate * (1.0 + limits.tolerance), "{ended:?}");
            assert!(probes.iter().any(|(probe, verdict)| probe.rate == failed && *verdict != Verdict::Kept));
        }
    }
}

#[test]
fn an_ideal_system_of_640_a_second_is_found_in_eleven_or_twelve_probes() {
    for start in [25.0, 40.0, 50.0, 60.0] {
        let limits = Limits { start, ..LIMITS };
        let (probes, ended) = search(limits, ideal(640.0));
        assert_sound(limits, &probes, ended);
        assert!((11..=12).contains(&probes.len()), "{} probes from {start}/s: {probes:?}", probes.len());
        let (rate, failed) = (ended.rate_per_s.unwrap(), ended.failed_per_s.unwrap());
        assert!(rate <= 640.0 && 640.0 < failed && failed / rate <= 1.03, "{ended:?}");
        assert_eq!(ended.reason, Reason::Objective);
    }
}

#[test]
fn the_limits_of_the_search_are_told_apart_from_those_of_the_system() {
    let (probes, ended) = search(Limits { most: 130.0, ..LIMITS }, ideal(640.0));
    assert_eq!((ended.rate_per_s, ended.failed_per_s, ended.reason), (Some(130.0), None, Reason::Most));
    assert_eq!(probes.iter().map(|(probe, _)| probe.rate).collect::<Vec<_>>(), [50.0, 100.0, 130.0, 130.0]);
    let (_, ended) = search(LIMITS, ideal(0.5));
    assert_eq!((ended.rate_per_s, ended.reason), (None, Reason::Least));
}

#[test]
fn a_late_tester_is_asked_again_and_then_named() {
    let mut hiccups = 0;
    let (_, ended) = search(LIMITS, |probe| {
        hiccups += 1;
        if hiccups % 3 == 0 { Verdict::Unclear } else { ideal(640.0)(probe) }
    });
    assert!((620.0..=640.0).contains(&ended.rate_per_s.unwrap()), "{ended:?}");
    assert_eq!(ended.reason, Reason::Objective);
    let (probes, ended) = search(LIMITS, |probe| match ideal(640.0)(probe) {
        Verdict::Missed => Verdict::Unclear,
        kept => kept,
    });
    assert_sound(LIMITS, &probes, ended);
    assert_eq!(ended.reason, Reason::Tester);
}

#[test]
fn a_winner_by_luck_does_not_last() {
    // Short probes see 640 a second, long ones only 500.
    let (probes, ended) = search(LIMITS, |probe| ideal(if probe.times > 1 { 500.0 } else { 640.0 })(probe));
    assert_sound(LIMITS, &probes, ended);
    let (rate, failed) = (ended.rate_per_s.unwrap(), ended.failed_per_s.unwrap());
    assert!(rate <= 500.0 && 500.0 < failed, "{ended:?}");
    assert!(probes.len() < 20, "{} probes", probes.len());
}

proptest! {
    #[test]
    fn an_ideal_system_is_found_within_the_tolerance(
        capacity in 2.0..500_000.0_f64, start in 1.0..5_000.0_f64, percent in 1..20_u32,
    ) {
        let limits = Limits { start, tolerance: f64::from(percent) / 100.0, ..LIMITS };
        let (probes, ended) = search(limits, ideal(capacity));
        assert_sound(limits, &probes, ended);
        let rate = ended.rate_per_s.unwrap();
        prop_assert!(rate <= capacity && capacity <= rate * (1.0 + limits.tolerance), "{ended:?} of {capacity}");
        // Doublings or halvings, bisections of a factor of two, and the confirmation.
        let doublings = (capacity / start).log2().abs().ceil() + 2.0;
        let bisections = (2_f64.ln() / limits.tolerance.ln_1p()).log2().ceil().max(0.0) + 1.0;
        prop_assert!(probes.len() as f64 <= doublings + bisections + 1.0, "{} probes", probes.len());
    }

    #[test]
    fn a_noisy_system_is_found_nearly(capacity in 20.0..10_000.0_f64, seed: u64) {
        // Within 5 % of its capacity a probe may go either way.
        let draw = Draw::new(seed);
        let mut n = 0;
        let (probes, ended) = search(LIMITS, |probe| {
            n += 1;
            let luck = draw.at(n).unit() - 0.5;
            ideal(capacity * (1.0 + 0.1 * luck))(probe)
        });
        assert_sound(LIMITS, &probes, ended);
        let rate = ended.rate_per_s.unwrap();
        prop_assert!(rate <= capacity * 1.05, "{ended:?} of {capacity}");
        prop_assert!(rate >= capacity * 0.75, "{ended:?} of {capacity}");
    }

    #[test]
    fn whatever_a_system_does_the_search_ends_with_what_it_saw(seed: u64, unclear in 0.0..0.5_f64, kept in 0.0..1.0_f64) {
        // Neither monotonic nor the same twice.
        let limits = Limits { most: 5_000.0, ..LIMITS };
        let draw = Draw::new(seed);
        let mut n = 0;
        let (probes, ended) = search(limits, |_| {
            n += 1;
            match (draw.at(n).unit() < unclear, draw.at(n).of("kept").unit() < kept) {
                (true, _) => Verdict::Unclear,
                (false, true) => Verdict::Kept,
                (false, false) => Verdict::Missed,
            }
        });
        assert_sound(limits, &probes, ended);
    }

    #[test]
    fn a_gap_below_the_limit_is_never_reported_as_kept(from in 60.0..300.0_f64, width in 1.1..3.0_f64) {
        // It fails in a band, and works again above it.
        let fails = |rate: f64| rate > 640.0 || (from..from * width).contains(&rate);
        let (probes, ended) = search(LIMITS, |probe| if fails(probe.rate) { Verdict::Missed } else { Verdict::Kept });
        assert_sound(LIMITS, &probes, ended);
        prop_assert!(!fails(ended.rate_per_s.unwrap()));
    }
}
