//! What a plan promises: rates add up, times never fall, the same seed gives the same plan, and errors tell the place.

use super::*;
use proptest::prelude::*;

fn plan(text: &str, seed: u64) -> Plan {
    let mix = Mix::new(vec![Class::new("load", "main")]).unwrap();
    Plan::new(text.parse().unwrap_or_else(|e| panic!("{text}: {e}")), mix, seed)
}

fn seconds(text: &str) -> Vec<f64> {
    plan(text, 1).map(|arrival| arrival.at.as_secs_f64()).collect()
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = text.parse::<Arrivals>().unwrap_err();
    assert_eq!(error.to_string(), expected, "{text}");
}

#[test]
fn each_form_of_the_grammar_is_read() {
    assert_eq!(seconds("constant 4/s 1s"), [0.0, 0.25, 0.5, 0.75]);
    assert_eq!(seconds("burst 2 at once every 2s 5s"), [0.0, 0.0, 2.0, 2.0, 4.0, 4.0]);
    assert_eq!(seconds("burst 1 1s then pause 3s; burst 1 1s"), [0.0, 4.0]);
    assert_eq!(plan("ramp 0..100/s 10s", 1).count(), 500);
    assert_eq!(plan("sine 50+-50/s period 4s 8s", 1).count(), 400);
    assert_eq!(plan("sine 50±50/s period 4s 8s", 1).count(), 400);
    let names = |text: &str| text.parse::<Arrivals>().unwrap().phases.into_iter().map(|p| p.name).collect::<Vec<_>>();
    assert_eq!(names("steps 1,2/s each 1s"), ["1/s", "2/s"]);
    assert_eq!(names("spike 1->9/s for 1s after 2s"), ["before spike", "spike", "after spike"]);
    assert_eq!(
        names("poisson 1/s 1s as warm then poisson ramp 1..2/s 1s\nburst 1 1s;burst 1 1s"),
        ["warm", "ramp", "burst", "burst 2"]
    );
}

#[test]
fn errors_say_what_is_expected_and_where() {
    refused("constant 5 1s", "arrivals, column 10: expected a rate such as 500/s or 30/m, found \"5\"");
    refused("constant 5/s 1s then wave 1", &format!("arrivals, column 22: expected {KINDS}, found \"wave\""));
    refused("ramp 0..5/s", "arrivals, column 12: expected a duration such as 250ms, 30s or 1m30s, found the end");
    refused("steps 1,2/s 30s", "arrivals, column 13: expected `each`, found \"30s\"");
    refused(
        "sine 5±9/s period 1s 1s",
        "arrivals, column 6: expected a swing that is at most the mean, found \"5±9/s\"",
    );
    refused("constant 5/s 1s 2s", "arrivals, column 17: expected `then`, `;` or the end, found \"2s\"");
    refused(
        "poisson burst 5 1s",
        "arrivals, column 9: expected a rate, or constant, ramp, steps, spike or sine, found \"burst\"",
    );
    refused("closed n=0 1s", "arrivals, column 8: expected n=COUNT, from 1 to 1000000, found \"n=0\"");
    refused(
        "constant 1/s 12h",
        "arrivals, column 1: expected a plan of at most 1000 phases and 11 hours, found \"constant\"",
    );
    refused("constant 1/s 0s", "arrivals, column 14: expected a duration above 0, found \"0s\"");
    refused("", &format!("arrivals, column 1: expected {KINDS}, found the end"));
}

const KINDS: &str = "constant, poisson, ramp, steps, spike, sine, burst, replay, closed or pause";

#[test]
fn random_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() {
    let times = plan("poisson 1000/s 100s", 5).map(|a| a.at.as_secs_f64()).collect::<Vec<_>>();
    assert!((99_000..101_000).contains(&times.len()), "{}", times.len());
    let mut counts = [0_u32; 10_000];
    for time in &times {
        counts[(time * 100.0) as usize] += 1;
    }
    let mean = times.len() as f64 / 1e4;
    let variance = counts.iter().map(|n| (f64::from(*n) - mean).powi(2)).sum::<f64>() / 1e4;
    // Of a Poisson distribution both are the same; the standard error of the ratio is 1.4 % here.
    assert!((variance / mean - 1.0).abs() < 0.07, "{}", variance / mean);
}

#[test]
fn classes_come_by_their_weights() {
    let mix =
        Mix::new(["queue=a weight=3", "queue=b", "queue=c weight=0"].map(|l| Class::parse(l).unwrap()).into()).unwrap();
    assert_eq!(mix.queues(), ["a", "b", "c"]);
    let mut counts = [0; 3];
    for arrival in Plan::new("burst 10000 1s".parse().unwrap(), mix, 2) {
        counts[usize::from(arrival.class)] += 1;
    }
    assert!((7300..7700).contains(&counts[0]) && counts[2] == 0, "{counts:?}");
}

#[test]
fn a_class_tells_which_word_is_unclear() {
    let unclear = |line: &str| Class::parse(line).unwrap_err().to_string();
    assert_eq!(unclear("queue=a ttl=5"), "ttl: a duration such as 250ms, 30s or 1m30s, at \"5\"");
    assert_eq!(unclear("que=a"), "one of queue, to, weight, size, ttl, delay, at \"que=a\"");
    assert!(Mix::new(vec![]).is_err() && Mix::new(vec![Class::parse("weight=0").unwrap()]).is_err());
}

#[test]
fn a_closed_phase_is_a_turn_of_its_own() {
    let mut plan = plan("burst 1 1s then closed n=3 2s then burst 1 1s", 1);
    assert!(plan.arrivals().is_closed() && plan.arrivals().expected().is_none());
    assert!(matches!(plan.turn(), Some(Turn::Open(a)) if a.index == 0));
    let (from, until) = (Duration::from_secs(1), Duration::from_secs(3));
    assert_eq!(plan.turn(), Some(Turn::Closed { phase: 1, clients: 3, from, until }));
    let extra = plan.extra(1, from);
    assert_eq!((extra.index, extra.phase, extra.at), (1, 1, from));
    assert!(matches!(plan.turn(), Some(Turn::Open(a)) if a.index == 2 && a.at == until));
    assert_eq!(plan.turn(), None);
}

/// One phase, with its exact number of tasks.
fn segments() -> impl Strategy<Value = (String, f64)> {
    let rate = 0_u32..200;
    prop_oneof![
        (rate.clone(), 1_u32..20).prop_map(|(r, s)| (format!("constant {r}/s {s}s"), f64::from(r * s))),
        (rate.clone(), rate.clone(), 1_u32..20)
            .prop_map(|(a, b, s)| (format!("ramp {a}..{b}/s {s}s"), f64::from((a + b) * s) / 2.0)),
        (rate.clone(), rate.clone(), 1_u32..9)
            .prop_map(|(a, b, s)| (format!("steps {a},{b}/s each {s}s"), f64::from((a + b) * s))),
        (rate.clone(), rate.clone(), 1_u32..9)
            .prop_map(|(a, b, s)| (format!("spike {a}->{b}/s for {s}s after 3s"), f64::from(6 * a + b * s))),
        (rate.clone(), 1_u32..9)
            .prop_map(|(r, s)| (format!("sine {r}+-{}/s period {s}s {}s", r / 2, 3 * s), f64::from(3 * r * s))),
        (rate, 1_u32..9).prop_map(|(n, s)| (format!("burst {n} at once every {s}s {}s", 2 * s), f64::from(2 * n))),
    ]
}

proptest! {
    #[test]
    fn rates_add_up_and_times_never_fall(parts in prop::collection::vec(segments(), 1..5), seed: u64) {
        let text = parts.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(" then ");
        let exact = parts.iter().map(|(_, n)| n).sum::<f64>();
        let arrivals = text.parse::<Arrivals>().unwrap();
        prop_assert!((arrivals.expected().unwrap() - exact).abs() < 1e-6 * exact.max(1.0));
        let length = arrivals.length();
        let all = plan(&text, seed).collect::<Vec<_>>();
        // Parts of a task are carried over, so only the end of the whole plan rounds.
        prop_assert!((all.len() as f64 - exact).abs() <= 1.0, "{} instead of {exact}: {text}", all.len());
        for (n, pair) in all.windows(2).enumerate() {
            prop_assert!(pair[0].at <= pair[1].at && pair[0].phase <= pair[1].phase, "task {n}: {text}");
        }
        prop_assert!(all.iter().zip(0..).all(|(arrival, n)| arrival.index == n && arrival.at < length));
    }

    #[test]
    fn the_same_seed_gives_the_same_plan(parts in prop::collection::vec(segments(), 1..4), seed: u64) {
        let text = parts.iter().map(|(text, _)| format!("{}{text}", if text.starts_with("burst") { "" } else { "poisson " }));
        let text = text.collect::<Vec<_>>().join("; ").replace("poisson constant", "poisson");
        prop_assert!(plan(&text, seed).eq(plan(&text, seed)), "{text}");
        let exact = parts.iter().map(|(_, n)| n).sum::<f64>();
        // Six standard deviations of a Poisson distribution, and the end.
        prop_assert!((plan(&text, seed).count() as f64 - exact).abs() <= 6.0 * exact.sqrt() + 2.0, "{text}");
    }
}
