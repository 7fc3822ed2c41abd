//! Plans for workloads whose answer is known, or must be in order with each other.

use super::*;
use crate::report::{Validity, fixture};

fn question(rate: f64, executor: &str, slo: &str) -> Question {
    Question {
        profile: Profile { executors: vec![executor.into()], ..Profile::default() },
        rate,
        slo: slo.parse().unwrap(),
        timing: Timing { broker_rtt_us: 1_000, attempt_extra_us: 0, confirm_us: 0 },
        dispatchers_max: 3,
        busy_max: 0.9,
        spare: false,
        outage: Duration::from_secs(600),
        tasks: 2_000,
        measured: None,
    }
}

#[test]
fn a_plan_holds_what_is_demanded_with_the_fewest_slots() {
    let question = question(100.0, "latency=exp:50ms", "wait.p99<100ms");
    let plan = plan(&question).unwrap();
    let best = plan.recommended.unwrap();
    assert!((plan.busy_slots - 5.0).abs() < 0.1, "{}", plan.busy_slots);
    // Erlang C: eight slots keep 99 % below 93 ms, seven have 129 ms.
    assert_eq!((best.dispatchers, best.holds), (1, true));
    assert!((7..=9).contains(&best.slots), "{best:?}");
    assert_eq!(best.prefetch, best.slots + 2);
    assert!(best.slo_low_s <= best.slo_s && best.slo_s <= best.slo_high_s && best.slo_high_s <= 0.1, "{best:?}");
    assert!(best.erlang_s < 0.14 && (best.erlang_s - best.allen_cunneen_s).abs() < 0.02, "{best:?}");
    let names = plan.limits.iter().map(|limit| &*limit.name).collect::<Vec<_>>();
    assert_eq!(names, ["slots", "prefetch"]);
    let shown = text(&plan);
    assert!(
        shown.starts_with("Plan for 100/s, p99 wait <= 100 ms, 0.0 % of the attempts fail, 20 attempts (not"),
        "{shown}"
    );
    assert!(shown.contains("10 min executor outage: backlog 60 000, drained in"), "{shown}");
}

#[test]
fn a_spare_dispatcher_costs_slots_and_holds_when_one_is_lost() {
    let without = question(100.0, "latency=50ms status=503:10%", "wait.p99<100ms");
    let with = Question { spare: true, ..without.clone() };
    let (without, with) = (plan(&without).unwrap(), plan(&with).unwrap());
    let (one, two) = (without.recommended.unwrap(), with.recommended.unwrap());
    assert!(!one.survives_loss && two.survives_loss && two.dispatchers > 1, "{one:?} {two:?}");
    assert!(two.slots_in_all() > one.slots_in_all() && two.loss_s.is_some_and(|s| s <= 0.1), "{one:?} {two:?}");
    assert!((without.attempts_per_s - 111.0).abs() < 2.0, "{}", without.attempts_per_s);
    // By the rule slots + 2, and room for the ten a second that wait for three quarters of one.
    assert!(one.prefetch >= one.slots + 9, "{one:?}");
}

#[test]
fn what_nothing_fulfils_is_not_recommended_and_said_so() {
    let question = question(50.0, "latency=100ms workers=4", "wait.p99<100ms");
    let plan = plan(&question).unwrap();
    assert_eq!(plan.recommended, None);
    assert!(text(&plan).contains("nothing fulfils the demand"), "{}", text(&plan));
}

#[test]
fn processors_ask_for_dispatchers_and_are_a_limit() {
    let measured = Measured {
        started_at_ms: 0,
        timing: Timing::default(),
        cpu_per_attempt_s: 0.01,
        rss_bytes: 10 << 20,
        errors: vec![ModelError { figure: "wait p99".into(), measured_s: 0.1, model_s: 0.106 }],
        doubts: Vec::new(),
        embedded: true,
    };
    let question = Question { measured: Some(measured), ..question(100.0, "latency=10ms", "done.p99<1s") };
    let plan = plan(&question).unwrap();
    let best = plan.recommended.unwrap();
    assert_eq!((best.loss_s, best.survives_loss), (None, false), "one dispatcher of one slot is full");
    // A core's worth of work, of which each dispatcher is to have 70 % at most.
    assert_eq!(best.dispatchers, 2);
    assert!(
        plan.limits.iter().any(|limit| limit.name == "dispatcher CPU" && limit.tasks_per_s == 200.0),
        "{:?}",
        plan.limits
    );
    assert!(plan.assumptions.iter().any(|text| text.contains("several dispatchers need RabbitMQ")), "{plan:?}");
    assert_eq!(plan.resources.unwrap().cores_per_dispatcher, Some(0.5));
    assert!(
        text(&plan)
            .contains("calibrated by the run of 1970-01-01T00:00:00.000Z; error of the model on it: wait p99 +6 %"),
        "{}",
        text(&plan)
    );
}

#[test]
fn a_plan_is_for_the_busiest_phase_and_tells_what_speaks_against_its_run() {
    let mut report = fixture();
    report.profile.executors = vec!["latency=10ms".into()];
    report.attempt_mean_us = Some(12_000.0);
    report.environment.broker = "embedded".into();
    let latency = report.latency["wait"].clone();
    report.latency.insert("confirm_uncorrected".into(), latency);
    report.phases[0].offered_per_s = 400.0;
    assert_eq!(busiest(&report), 400.0);
    report.phases.clear();
    assert_eq!(busiest(&report), 100.0);
    // The fixture waited for 20 ms where an idle system has next to no wait.
    let measured = Measured::new(&report).unwrap();
    assert!(measured.embedded && measured.doubts.len() == 1, "{measured:?}");
    assert!(measured.doubts[0].starts_with("wait p99 was 20.0 ms in the run, and "), "{measured:?}");
    report.validity = Validity { valid: false, reasons: vec!["the tester was late".into()], ..Validity::default() };
    report.verdict.ok = false;
    report.profile.faults = vec!["kill dispatcher at 1s restart after 1s".into()];
    let measured = Measured::new(&report).unwrap();
    let told = [
        "the run is invalid: the tester was late",
        "the run broke a promise",
        "the run had 1 faults, and the model knows nothing of them",
    ];
    assert_eq!(measured.doubts[..3], told);
    let question = Question { measured: Some(measured), ..question(10.0, "latency=10ms", "done.p99<1s") };
    let text = text(&plan(&question).unwrap());
    assert!(text.contains("NOT TO BE TRUSTED      the run is invalid: the tester was late\n"), "{text}");
    assert!(markdown(&plan(&question).unwrap()).starts_with("## Plan for 10/s, p99 done"));
    assert!(text.contains("the machine adds       0 us to an attempt"), "{text}");
}

#[test]
fn what_is_no_plan_is_refused() {
    let two = Profile { mix: vec!["queue=a".into(), "queue=b".into()], ..Profile::default() };
    let good = question(1.0, "latency=1ms", "wait.p99<1s");
    assert!(matches!(plan(&Question { profile: two, ..good.clone() }), Err(PlanError::Queues(2))));
    assert!(matches!(plan(&Question { rate: 0.0, ..good }), Err(PlanError::Rate)));
}

#[test]
fn the_drain_of_an_outage_is_as_the_formula_says() {
    // 20 a second for 60 s, none of them done from 5 s to 25 s: 400 are left, and 20 of 40 a second are spare.
    let executor = "latency=98.5ms outage=refuse:5s..25s";
    let profile = Profile {
        arrivals: "constant 20/s 60s".into(),
        executors: vec![executor.into()],
        queues: vec!["name=load slots=4".into()],
        backoff_max: "1s".into(),
        ..Profile::default()
    };
    let mut outcome = crate::simulate::model(&Config::try_from(profile).unwrap(), &Timing::default()).unwrap();
    let expected = formula::drain_s(400.0, 20.0, 40.0).unwrap();
    let seconds = outcome.figures.seconds();
    let drained = (25..60).find(|s| seconds[*s].held.is_some_and(|held| held < 20)).unwrap() as f64 - 25.0;
    assert!((drained / expected - 1.0).abs() < 0.25, "{drained} s and not {expected} s");
}
