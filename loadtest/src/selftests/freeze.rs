//! The demonstration that wrk2 is known for: a system that stops for 1.4 s. Uncorrected percentiles don't show it.

use super::fake::{Mutation, Trial};
use crate::figures::Kind;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_freeze_shows_in_the_corrected_percentiles_alone() {
    // A client that waits for each answer before it sends the next, which is how the uncorrected ones come about.
    let trial = Trial { arrivals: "constant 100/s 60s", window: 1, ..Trial::default() };
    let frozen = Duration::from_secs(20)..Duration::from_millis(21_400);
    let (book, verdict) = trial.run(Mutation { frozen: Some(frozen), ..Mutation::default() }).await;
    assert!(verdict.ok, "{:#?}", verdict.findings);
    let p99 = |kind| book.figures(|figures| figures.total().get(kind).quantile(0.99));
    // 140 of 6,000 tasks came in those 1.4 s; the 60th worst of them waited for 0.8 s.
    let corrected = p99(Kind::Done);
    assert!((700..900).contains(&corrected.as_millis()), "{corrected:?}");
    assert!(p99(Kind::Wait) > Duration::from_millis(700));
    let uncorrected = p99(Kind::DoneUncorrected);
    assert!(uncorrected < Duration::from_millis(5), "{uncorrected:?}");
    assert!(corrected > 150 * uncorrected, "{corrected:?} and {uncorrected:?}");
    // The tester itself says that it was kept from publishing.
    assert!(p99(Kind::StartLag) > Duration::from_millis(700));
    let second = book.figures(|figures| figures.seconds()[21].clone());
    assert!(second.wait_max_us > 1_300_000 && second.offered == 100, "{second:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_freeze_both_agree() {
    let trial = Trial { arrivals: "constant 100/s 60s", window: 1, ..Trial::default() };
    let (book, _) = trial.run(Mutation::default()).await;
    let p99 = |kind| book.figures(|figures| figures.total().get(kind).quantile(0.99));
    assert!(p99(Kind::Done) < Duration::from_millis(5) && p99(Kind::StartLag) < Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn the_pace_is_the_plans() {
    let trial = Trial { arrivals: "steps 100,1000,5000/s each 2s", ..Trial::default() };
    let (book, verdict) = trial.run(Mutation::default()).await;
    assert_eq!(verdict.published, 12_200);
    let offered = book.figures(|figures| figures.seconds()[..6].iter().map(|s| s.published).collect::<Vec<_>>());
    let near = |got: u32, wanted: u32| got.abs_diff(wanted) <= wanted / 100 + 2;
    assert!(
        offered.iter().zip([100, 100, 1000, 1000, 5000, 5000]).all(|(got, wanted)| near(*got, wanted)),
        "{offered:?}"
    );
}
