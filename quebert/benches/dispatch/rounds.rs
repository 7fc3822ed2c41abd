//! CPU seconds: each contestant in turn, round after round, so that whatever else the machine does meets all alike.
//! Ratios are taken within a round.

use crate::{
    Contestant, Fault, Options, peers,
    run::Orders,
    world::{World, myself},
};
use std::collections::BTreeMap;

/// What one run of a contestant cost.
struct Cost {
    tasks_per_second: f64,
    /// CPU seconds per 10,000 tasks: its own, the broker's, the stub's.
    own: f64,
    broker: f64,
    stub: f64,
}

pub(crate) async fn measure(world: &World, options: &Options) -> Result<(), Fault> {
    let mut rounds: Vec<BTreeMap<Contestant, Cost>> = Vec::new();
    for round in 1..=options.rounds {
        let mut costs = BTreeMap::new();
        for contestant in &options.contestants {
            eprintln!("round {round} of {}: {contestant}", options.rounds);
            costs.insert(*contestant, cost(world, options, *contestant).await?);
        }
        rounds.push(costs);
    }
    println!(
        "\nCPU seconds per 10,000 tasks, median [min..max] of {} rounds of {} tasks; {:?} queue, window {}",
        options.rounds, options.tasks, options.queue, options.window
    );
    println!(
        "{:8} {:>18} {:>8} {:>18} {:>8} {:>18} {:>9}",
        "", "own", "x batch", "broker", "x batch", "stub", "tasks/s"
    );
    for contestant in &options.contestants {
        let each = |value: fn(&Cost) -> f64| rounds.iter().map(|costs| value(&costs[contestant])).collect::<Vec<_>>();
        let ratio = |value: fn(&Cost) -> f64| {
            let of_round = |costs: &BTreeMap<Contestant, Cost>| {
                Some(value(&costs[contestant]) / value(costs.get(&Contestant::Batch)?))
            };
            spread(rounds.iter().filter_map(of_round).collect()).map_or(f64::NAN, |(median, ..)| median)
        };
        println!(
            "{contestant:8} {:>18} {:>8.2} {:>18} {:>8.2} {:>18} {:>9.0}",
            shown(each(|cost| cost.own)),
            ratio(|cost| cost.own),
            shown(each(|cost| cost.broker)),
            ratio(|cost| cost.broker),
            shown(each(|cost| cost.stub)),
            spread(each(|cost| cost.tasks_per_second)).map_or(f64::NAN, |(median, ..)| median),
        );
    }
    Ok(())
}

async fn cost(world: &World, options: &Options, contestant: Contestant) -> Result<Cost, Fault> {
    let tasks = contestant.share_of(options.tasks);
    let warm_up = tasks / 10;
    let queue = world.queue().await?;
    let url = format!("{}/task", world.executor());
    let urls = (0..tasks + warm_up).map(|_| url.clone());
    if contestant == Contestant::Celery {
        queue.fill_celery(urls).await?;
    } else {
        queue.fill(urls).await?;
    }
    let orders = Orders {
        warm_up,
        tasks,
        others: vec![world.broker_pid(), world.stub_pid()],
        ..world.orders(options, contestant, &queue)
    };
    let output = match peers::command(&orders)? {
        Some(mut rival) => rival.output().await?,
        None => tokio::process::Command::from(myself()?).args(orders.arguments()).output().await?,
    };
    queue.delete().await?;
    let text = String::from_utf8(output.stdout)?;
    // Celery prints a banner first.
    let line = text.lines().next_back().unwrap_or_default();
    let numbers: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [wall, own, broker, stub] = numbers[..] else {
        return Err(format!("{contestant} failed: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
    };
    let per = 10_000.0 / tasks as f64;
    let tasks_per_second = tasks as f64 / wall;
    Ok(Cost { tasks_per_second, own: own * per, broker: broker * per, stub: stub * per })
}

fn shown(values: Vec<f64>) -> String {
    spread(values).map_or_else(String::new, |(median, min, max)| format!("{median:.3} [{min:.2}..{max:.2}]"))
}

/// Median, smallest, largest.
fn spread(mut values: Vec<f64>) -> Option<(f64, f64, f64)> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median =
        if values.len() % 2 == 1 { *values.get(middle)? } else { (values.get(middle)? + values[middle - 1]) / 2.0 };
    Some((median, *values.first()?, *values.last()?))
}
