//! The embedded broker on a disk that loses power at any operation: what was confirmed is there, once, and nothing else.
//!
//! Each seed is one history of several lives on one disk, which loses power in each of them. `QUEBERT_LONG=1` makes it
//! 20,000 losses of power. `QUEBERT_SEED=n` runs one seed, again and again, since the broker writes in a thread of its own
//! and so the same seed draws the same plan but not always the same groups of commits. What a real disk full or damaged
//! files do is not looked at here (embedded_damage.rs).

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

mod audit;
mod full;
mod ledger;
mod life;
mod requests;

use audit::audit;
use ledger::Ledger;
use life::{Counts, Life};
use quebert_broker_adapter::embedded::{
    OpenError,
    simulation::{Disk, Loss, PowerCut, SECTOR},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

/// Losses of power in each history.
const LIVES: usize = 6;

/// What histories came to.
#[derive(Debug, Default)]
struct Tally {
    crashes: u64,
    /// Of these, while the store was being opened.
    at_opening: u64,
    /// Of these, while requests were under way.
    under_way: u64,
    /// Orderly ends before the power went.
    orderly: u64,
    /// Stores that were cut off before they had been opened once.
    unborn: u64,
    /// Messages there, over all audits.
    found: u64,
    counts: Counts,
    wrong: Vec<String>,
}

#[test]
fn every_confirmed_task_survives_every_loss_of_power_once_and_nothing_else_appears() {
    let crashes = if std::env::var_os("QUEBERT_LONG").is_some_and(|long| long == "1") { 20_000 } else { 1_000 };
    let start = Instant::now();
    let tally = match std::env::var("QUEBERT_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            println!("{:?}", run(|n| (n < 100).then_some(seed), |_| {}));
            return;
        }
        Err(_) => run(|n| (n * (LIVES as u64) < crashes).then_some(n), |_| {}),
    };
    println!("{tally:?} in {:.1?}", start.elapsed());
    // A test in which nothing happens would pass, too.
    let Tally { crashes: c, at_opening, under_way, orderly, found, counts, .. } = tally;
    let Counts { confirmed, unanswered, delivered, acked, moved, repeated, swept } = counts;
    assert!(at_opening > c / 50 && under_way > c / 5 && orderly > c / 50, "the power goes at all kinds of moments");
    for (what, n) in [("confirmed", confirmed), ("delivered", delivered), ("acked", acked), ("found", found)] {
        assert!(n > c, "fewer {what} than losses of power: {n}");
    }
    for (what, n) in [("unanswered", unanswered), ("moved", moved), ("repeated", repeated), ("swept", swept)] {
        assert!(n > c / 5, "hardly any {what}: {n}");
    }
}

#[test]
fn a_disk_that_lies_about_syncing_is_found_out() {
    let lying = |disk: &Disk| disk.lies(0.5, 1);
    let caught = (0..40).find(|seed| !history(*seed, &lying).wrong.is_empty());
    assert!(caught.is_some(), "confirmed tasks were lost, and the judge saw nothing in 40 histories");
}

/// Runs one seed after the other, on two threads, and panics at the first that goes wrong.
fn run(seed: impl Fn(u64) -> Option<u64> + Sync, prepare: impl Fn(&Disk) + Sync) -> Tally {
    let next = AtomicU64::new(0);
    let worker = || {
        let mut all = Tally::default();
        while let Some(seed) = seed(next.fetch_add(1, Ordering::Relaxed)) {
            let tally = history(seed, &prepare);
            let count = tally.wrong.len();
            assert!(
                tally.wrong.is_empty(),
                "seed {seed}: {count} wrong, the first of them:\n{}\nagain: QUEBERT_SEED={seed} cargo test -p \
                 quebert-broker-adapter --test embedded_power every_confirmed -- --nocapture",
                tally.wrong.iter().take(10).cloned().collect::<Vec<_>>().join("\n")
            );
            all.add(&tally);
        }
        all
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(worker);
        let mut all = worker();
        match other.join() {
            Ok(tally) => all.add(&tally),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        all
    })
}

/// Some lives of a broker, one after the other, on one disk.
fn history(seed: u64, prepare: &dyn Fn(&Disk)) -> Tally {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut ledger = Ledger::default();
    let mut tally = Tally::default();
    let mut disk = Disk::new();
    let mut born = false;
    for _ in 0..LIVES {
        prepare(&disk);
        if rng.random_bool(0.8) {
            let at = if rng.random_bool(0.2) { rng.random_range(1..60) } else { rng.random_range(60..400) };
            disk.dies_after(at);
        }
        // A thread of the runtime would find its broker gone.
        let opened = runtime.block_on(one_life(&disk, &mut ledger, &mut rng, &mut tally));
        if let Err(error) = &opened
            && !disk.is_dead()
        {
            tally.wrong.push(format!("does not open: {error}"));
        }
        born |= opened.is_ok();
        tally.at_opening += u64::from(opened.is_err());
        tally.crashes += 1;
        let loss = [Loss::All, Loss::None, Loss::Torn, Loss::Torn, Loss::Dropped, Loss::Tail][rng.random_range(0..6)];
        disk = disk.after(PowerCut { loss, sector: SECTOR }, &mut rng);
        match runtime.block_on(audit(&disk, &mut ledger)) {
            Ok(()) => born = true,
            // Nothing was ever confirmed in it, and it is known to be no store; a file would not have its name yet.
            Err(OpenError::Damaged { .. }) if !born => {
                tally.unborn += 1;
                disk = Disk::new();
            }
            Err(error) => tally.wrong.push(format!("after a loss of power of kind {loss:?} it does not open: {error}")),
        }
        tally.found += ledger.alive() as u64;
        tally.wrong.append(&mut ledger.wrong);
        if !tally.wrong.is_empty() {
            break;
        }
    }
    tally
}

async fn one_life(disk: &Disk, ledger: &mut Ledger, rng: &mut StdRng, tally: &mut Tally) -> Result<(), OpenError> {
    let bursts = rng.random_range(1..25);
    let orderly = rng.random_bool(0.2);
    let mut life = Life::begin(disk, ledger, rng)?;
    life.live(bursts).await;
    tally.under_way += u64::from(disk.is_dead());
    if orderly {
        life.stop().await;
        tally.orderly += u64::from(!disk.is_dead());
    }
    // Before the broker is dropped: a drop may write, and power that is gone doesn't.
    disk.kill();
    tally.counts.add(&life.counts);
    drop(life);
    Ok(())
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.at_opening += other.at_opening;
        self.under_way += other.under_way;
        self.orderly += other.orderly;
        self.unborn += other.unborn;
        self.found += other.found;
        self.counts.add(&other.counts);
    }
}
