//! Which executor fails or is slow? Everything by destination, that is by scheme, host and port.

use super::{R, S, SD, and, buckets, common, destinations, quantile, rate};
use crate::{
    board::Board,
    panel::{Panel, Teach},
    settings::Settings,
};

pub(super) fn board(settings: &Settings) -> Board {
    let mut variables = common(settings);
    variables.push(destinations());
    let errors = format!(
        "{} / ({} > 0)",
        rate("destination", "quebert_dispatch_attempts_total", &and(SD, r#"outcome!="2xx""#)),
        rate("destination", "quebert_dispatch_attempts_total", SD)
    );
    let panels = vec![
        Panel::lines("Attempts", "reqps", Teach {
            shows: "requests to each destination a second.",
            healthy: "what the tasks ask for.",
            act: "0 where it should not be: its tasks are put off, see In flight and limit, or none come in.",
        })
        .query("{{destination}}", rate("destination", "quebert_dispatch_attempts_total", SD)),
        Panel::lines("Error ratio", "percentunit", Teach {
            shows: "the share of attempts that did not end in 2xx.",
            healthy: "near 0.",
            act: "Outcomes says of which kind. One destination at 1 is dead; all at once means a fault on this side.",
        })
        .share()
        .worse_above(settings.thresholds.destination_errors / 5.0, settings.thresholds.destination_errors)
        .query("{{destination}}", errors),
        Panel::lines("Attempt duration, p99", "s", Teach {
            shows: "99 of 100 attempts took no longer.",
            healthy: "flat, well below attempt_timeout.",
            act: "a rise with the number in flight: the executor has reached its limit; lower destinations.slots_of.",
        })
        .exemplars("{{destination}}", quantile(0.99, "destination", "quebert_dispatch_duration_seconds", SD)),
        Panel::lines("Outcomes", "reqps", Teach {
            shows: "attempts a second by destination and outcome.",
            healthy: "2xx, and little else.",
            act: "connect, dns, tls: it can't be reached. reset, protocol: it breaks off. timeout: too slow. 429: it asks \
                  for less. 4xx: the request is wrong. 5xx: its own logs.",
        })
        .size(24, 8)
        .stacked()
        .query("{{destination}} {{outcome}}", rate("destination, outcome", "quebert_dispatch_attempts_total", SD)),
        Panel::heatmap("Attempt duration", "s", Teach {
            shows: "how many attempts took how long. Points are single tasks: their id leads to the logs.",
            healthy: "one dark band.",
            act: "a band at attempt_timeout: requests without an answer. Two bands: caches, or two kinds of tasks.",
        })
        .size(12, 8)
        .exemplars("{{le}}", buckets("quebert_dispatch_duration_seconds", SD)),
        Panel::lines("Mean duration by success", "s", Teach {
            shows: "how long attempts took on average: ok is 2xx, error is all else.",
            healthy: "errors no slower than successes.",
            act: "slow errors are timeouts, which hold slots: a shorter attempt_timeout sets them free.",
        })
        .size(12, 8)
        .query(
            "{{destination}} {{outcome}}",
            format!(
                "{} / ({} > 0)",
                rate("destination, outcome", "quebert_dispatch_duration_seconds_sum", SD),
                rate("destination, outcome", "quebert_dispatch_duration_seconds_count", SD)
            ),
        ),
        Panel::lines("In flight and limit", "short", Teach {
            shows: "requests under way to each destination, and the most that may be.",
            healthy: "below the limit.",
            act: "at the limit: its tasks are put off while others go on. Raise destinations.slots, if it can take more.",
        })
        .size(12, 8)
        .query("{{destination}} in flight", format!("sum by (destination) (quebert_destination_in_flight{{{SD}}})"))
        .query("{{destination}} limit", format!("sum by (destination) (quebert_destination_concurrency_limit{{{SD}}})")),
        Panel::states("Distrusted", Teach {
            shows: "destinations that have gone silent: each keeps one slot in queues that others use, too.",
            healthy: "no.",
            act: "the next answer of any kind ends it by itself. For long: it is dead or cut off, see Outcomes.",
        })
        .means(&[("0", "no", "green"), ("1", "distrusted", "red")])
        .size(12, 8)
        .query("{{destination}}", format!("max by (destination) (quebert_destination_circuit_open{{{SD}}})")),
        Panel::lines("Destinations without a label", "short", Teach {
            shows: "events of destinations beyond metrics.max_destinations; they are counted as _other.",
            healthy: "0.",
            act: "raise metrics.max_destinations if you want to see them; each costs some 50 series a dispatcher.",
        })
        .size(24, 6)
        .query("{{label}}", format!("sum by (label) (increase(quebert_metrics_label_overflow_total{{{S}}}{R}))")),
    ];
    Board {
        name: "destination",
        title: "Quebert / Destination",
        about: "Which executor fails or is slow? A destination is an executor's scheme, host and port.",
        variables,
        panels,
    }
}
