//! A document of each kind, held against the schema of its kind, and the schemas against those that are kept.

use super::*;
use crate::{
    figures::Kind,
    ledger::{Judged, Verdict},
    plan::{Measured, Question},
    report::{Report, Sweep, SweepPoint, fixture, sweep_fixture},
    run::{Config, Profile},
    search::{Drain, Ended, FindMax, ProbeView, Reason},
    simulate::{Engine, Simulation, Timing, rows},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{fmt::Debug, time::Duration};

/// What is wrong with a document by its schema.
fn faults(of: Written, document: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(&of.schema()).unwrap();
    validator.iter_errors(document).map(|fault| format!("{}: {fault}", fault.instance_path())).collect()
}

/// It fits its schema, is read as it was written, and doesn't fit any more once what stands at `spoilt` is nonsense, or its
/// version is gone.
#[track_caller]
fn fits<T: Serialize + DeserializeOwned + PartialEq + Debug>(of: Written, document: &T, spoilt: &[&str]) {
    let json = serde_json::to_value(document).unwrap();
    assert_eq!(faults(of, &json), Vec::<String>::new());
    let version = json["schema_version"].as_u64();
    assert_eq!(version, Some(of.version().into()), "the version of a {}", of.name());
    assert_eq!(&serde_json::from_value::<T>(json.clone()).unwrap(), document);
    for pointer in spoilt {
        let mut other = json.clone();
        *other.pointer_mut(pointer).unwrap_or_else(|| panic!("there is no {pointer} in {json:#}")) = "nonsense".into();
        assert_ne!(faults(of, &other), Vec::<String>::new(), "{pointer}");
    }
    let mut other = json;
    other.as_object_mut().unwrap().remove("schema_version");
    assert_eq!(faults(of, &other).len(), 1);
}

#[test]
fn a_report_fits_its_schema() {
    fits(Written::Report, &fixture(), &["/verdict/lost", "/seconds/0/offered", "/latency/wait/p99_us"]);
}

#[test]
fn a_sweep_fits_its_schema() {
    let mut sweep = sweep_fixture();
    assert!(sweep.scaling[0].law.is_some(), "the fixture has everything");
    // Digits of a curve may be lost in JSON.
    let json = serde_json::to_string(&sweep).unwrap();
    sweep.scaling = serde_json::from_str::<Sweep>(&json).unwrap().scaling;
    fits(Written::Sweep, &sweep, &["/scaling/0/law/alpha/low", "/points/0/slots", "/demands"]);
}

#[test]
fn a_search_fits_its_schema() {
    let Report { version, started_at_ms, environment, profile, bottlenecks, .. } = fixture();
    let probe =
        |point: SweepPoint, verdict| ProbeView { plan_s: 20.0, confirms: true, verdict, why: "so".into(), point };
    let points = sweep_fixture().points.into_iter();
    let found = FindMax {
        schema_version: Written::FindMax.version(),
        version,
        started_at_ms,
        environment,
        profile,
        slo: vec!["wait.p99<1s".into()],
        ended: Ended { rate_per_s: Some(62.0), failed_per_s: None, reason: Reason::Tester },
        bottlenecks,
        probes: points.map(|point| probe(point, search::Verdict::Unclear)).collect(),
        summary: "62.0/s".into(),
        exit_code: 3,
    };
    let spoilt = [
        "/reason",
        "/rate_per_s",
        "/failed_per_s",
        "/probes/0/verdict",
        "/probes/0/offered_per_s",
        "/bottlenecks/0/share",
    ];
    fits(Written::FindMax, &found, &spoilt);
}

#[test]
fn a_drain_fits_its_schema() {
    let drain = Drain {
        schema_version: Written::Drain.version(),
        backlog: 3000,
        rate_per_s: 20.0,
        drained_s: None,
        drain_per_s: 130.6,
        capacity_per_s: Some(160.0),
        predicted_s: Some(21.4),
        off: None,
        report: fixture(),
        exit_code: 1,
    };
    fits(Written::Drain, &drain, &["/drained_s", "/report/verdict/ok", "/predicted_s"]);
}

fn question(executor: &str) -> Question {
    Question {
        profile: Profile { executors: vec![executor.into()], ..Profile::default() },
        rate: 20.0,
        slo: "wait.p99<100ms".parse().unwrap(),
        timing: Timing::default(),
        dispatchers_max: 2,
        busy_max: 0.8,
        spare: true,
        outage: Duration::from_secs(60),
        tasks: 1_000,
        measured: None,
    }
}

#[test]
fn a_plan_fits_its_schema_with_everything_and_with_next_to_nothing() {
    let mut report = fixture();
    report.attempt_mean_us = Some(12_000.0);
    report.latency.insert("confirm_uncorrected".into(), report.latency["wait"].clone());
    let measured = Measured::new(&report).unwrap();
    let whole = plan::plan(&Question { measured: Some(measured), ..question("latency=20ms status=503:3%") }).unwrap();
    fits(
        Written::Plan,
        &whole,
        &["/recommended/slots", "/calibrated/rss_bytes", "/outage/backlog", "/limits/0/tasks_per_s"],
    );
    let none = plan::plan(&question("latency=200ms workers=1")).unwrap();
    assert_eq!(none.recommended, None);
    fits(Written::Plan, &none, &["/demand/work_s"]);
}

/// JSON has no infinity: a limit that is none must not become a `null` that nobody reads again.
#[test]
fn a_plan_for_executors_that_take_no_time_fits_its_schema() {
    let timing = Timing { broker_rtt_us: 0, attempt_extra_us: 0, confirm_us: 0 };
    let plan = plan::plan(&Question { timing, ..question("latency=0ms workers=1") }).unwrap();
    fits(Written::Plan, &plan, &["/busy_slots"]);
}

#[test]
fn simulations_of_either_kind_fit_their_schema() {
    let profile = Profile {
        arrivals: "poisson 20/s 3s".into(),
        executors: vec!["latency=exp:20ms".into()],
        ..Profile::default()
    };
    let configs = [Config::try_from(profile.clone()).unwrap()];
    let timing = Timing::default();
    let both = [Engine::Dispatcher, Engine::Model].map(|engine| rows(&configs, &timing, engine).unwrap());
    let simulation = Simulation::new(profile, timing, both.concat());
    let spoilt = ["/rows/0/ends/dead", "/rows/1/engine", "/rows/0/promises_kept", "/timing/confirm_us"];
    fits(Written::Simulate, &simulation, &spoilt);
    // Of a plan without tasks there are no figures, and no `null` either where there must be a number.
    let nothing = Profile { arrivals: "pause 1s".into(), ..simulation.profile };
    let rows = rows(&[Config::try_from(nothing.clone()).unwrap()], &timing, Engine::Model).unwrap();
    fits(Written::Simulate, &Simulation::new(nothing, timing, rows), &["/rows/0/busy"]);
}

#[test]
fn a_comparison_fits_its_schema_with_and_without_an_interval() {
    let compare =
        |runs: usize| compare::compare(&vec![fixture(); runs], &vec![fixture(); runs], Kind::Wait, 0.1, false);
    let (few, many) = (compare(1).unwrap(), compare(4).unwrap());
    assert!(few.p99.interval.is_none() && many.p99.interval.is_some());
    fits(Written::Compare, &few, &["/p99/answer", "/p99/before_us/0"]);
    fits(Written::Compare, &many, &["/answer", "/p99/interval/1", "/shape/usual", "/figures/0/before"]);
}

#[test]
fn a_verdict_alone_fits_its_schema() {
    let finding = ledger::Finding { name: "lost".into(), found: 0.0, ok: true, note: "of 8".into() };
    let verdict = Verdict { ok: true, findings: vec![finding], ..Verdict::default() };
    fits(Written::Verify, &Judged::from(verdict), &["/lost", "/findings/0/ok"]);
}

/// Made anew by `UPDATE_SCHEMA=1 cargo test -p quebert-loadtest --lib schema`.
#[test]
fn the_schemas_that_are_kept_are_the_ones_that_are_meant() {
    let folder = format!("{}/schema", env!("CARGO_MANIFEST_DIR"));
    for of in Written::ALL {
        let (path, name) = (format!("{folder}/{}.schema.json", of.name()), of.name());
        let text = format!("{:#}\n", of.schema());
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text, "the schema of {name} has changed: is it still version {}?", of.version());
    }
    let files = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(files, Written::ALL.len(), "a schema is kept of which nobody knows");
}
