//! The alerts: of the objectives (multi-window burn rates), and of everything whose cause can be named. What to do about
//! each stands in its runbook, not here.

use super::{Alert, Group, Rule, RuleKind, recording::Scope};
use crate::settings::{Settings, number};

/// Factor of the budget, long window, short window, severity and hold. With a budget for 30 days, 14.4 times burns 2 % of
/// it in an hour, 6 times 5 % in six hours, 3 times 10 % in a day, once 10 % in three days (the SRE workbook's chapter on
/// alerting). The short window ends the alert soon after the burning has ended.
pub const BURNS: [(f64, &str, &str, &str, &str); 4] = [
    (14.4, "1h", "5m", "page", "2m"),
    (6.0, "6h", "30m", "page", "15m"),
    (3.0, "1d", "2h", "ticket", "1h"),
    (1.0, "3d", "6h", "ticket", "3h"),
];

/// All alerts.
pub fn group(settings: &Settings) -> Group {
    let maker = Maker { settings, s: Scope::new(settings) };
    let mut rules = maker.burns();
    rules.extend(maker.away());
    rules.extend(maker.queues());
    rules.extend(maker.tasks());
    rules.extend(maker.inside());
    Group { name: "quebert-alerts", interval: None, rules }
}

struct Maker<'a> {
    settings: &'a Settings,
    s: Scope,
}

/// How bad it is: somebody is woken, somebody looks within days, or it is just said.
const PAGE: &str = "page";
const TICKET: &str = "ticket";
const INFO: &str = "info";

/// Retries that an attempt came before: hooks and overload put tasks off without any.
pub(crate) const AFTER_ATTEMPT: &str = r#"reason!~"hook|overload""#;

impl Maker<'_> {
    fn burns(&self) -> Vec<Rule> {
        let o = &self.settings.objectives;
        let (succeed, in_time) = (number(o.delivery_percent), number(o.wait_percent));
        let seconds = number(o.wait_seconds);
        // A rule's own labels can't be named in its annotations: only the series' are known there.
        let delivery = BURNS.map(|burn| {
            let (factor, long) = (number(burn.0), burn.1);
            self.burn(burn, "QuebertDeliveryBudgetBurn", "delivery", o.delivery_budget()).told(
                &format!("Tasks of {{{{ $labels.queue }}}} fail {factor} times as fast as the objective allows"),
                &format!(
                    "{{{{ $value | humanizePercentage }}}} of the tasks that ended in the last {long} were dead-lettered \
                     or expired; the objective is that {succeed} % succeed."
                ),
            )
        });
        let wait = BURNS.map(|burn| {
            let (factor, long) = (number(burn.0), burn.1);
            self.burn(burn, "QuebertWaitBudgetBurn", "wait", o.wait_budget()).told(
                &format!("Tasks of {{{{ $labels.queue }}}} wait too long, {factor} times as often as the objective allows"),
                &format!(
                    "{{{{ $value | humanizePercentage }}}} of the tasks of the last {long} waited more than {seconds} s \
                     for their first attempt; the objective is that {in_time} % don't."
                ),
            )
        });
        delivery.into_iter().chain(wait).map(|draft| self.finish(draft)).collect()
    }

    fn burn(
        &self,
        burn: (f64, &'static str, &str, &'static str, &'static str),
        name: &'static str,
        slo: &str,
        budget: f64,
    ) -> Draft {
        let (factor, long, short, severity, hold) = burn;
        let ratio = |window: &str| self.s.queue(&format!("queue:quebert_slo_{slo}_errors:ratio_rate{window}"), "");
        let limit = number(factor * budget);
        let ended = self.s.queue("quebert_settlements_total", r#"result=~"succeeded|dead_lettered|expired""#);
        let enough = match number(self.settings.thresholds.burn_tasks_min).as_str() {
            "0" => String::new(),
            least => format!("\nand\nsum by (job, queue) (increase({ended}[{long}])) > {least}"),
        };
        let expr = format!("{} > {limit}\nand\n{} > {limit}{enough}", ratio(long), ratio(short));
        let mut draft = Draft::new(name, severity, hold, expr).board("overview");
        draft.labels.extend([("long", long.to_owned()), ("short", short.to_owned()), ("factor", number(factor))]);
        draft
    }

    /// A dispatcher, or its broker, is not there.
    fn away(&self) -> Vec<Rule> {
        let is = |metric: &str, value: &str| format!("{} == {value}", self.s.any(metric, ""));
        let starts = format!("changes({}[15m])", self.s.any("process_start_time_seconds", ""));
        let drafts = [
            Draft::new("QuebertDown", PAGE, "2m", is("up", "0")).told(
                "Dispatcher {{ $labels.instance }} does not answer",
                "Prometheus gets no metrics from {{ $labels.instance }} of job {{ $labels.job }}.",
            ),
            Draft::new("QuebertAbsent", PAGE, "5m", format!("absent({})", self.s.any("up", "")))
                .told("There is no dispatcher", "Prometheus has no target at all whose job is one of Quebert's."),
            Draft::new("QuebertRestarting", TICKET, "0s", format!("{starts} > {}", self.limit(|t| t.restarts))).told(
                "Dispatcher {{ $labels.instance }} starts again and again",
                "{{ $labels.instance }} was started {{ $value }} times in 15 minutes.",
            ),
            Draft::new("QuebertBrokerDisconnected", PAGE, "1m", is("quebert_broker_connected", "0")).told(
                "Dispatcher {{ $labels.instance }} has no broker",
                "{{ $labels.instance }} has no session with its broker and takes no tasks.",
            ),
            Draft::new("QuebertBrokerBlocked", PAGE, "5m", is("quebert_broker_blocked", "1")).told(
                "The broker takes no publishes from {{ $labels.instance }}",
                "The broker has blocked {{ $labels.instance }}: no retry and no dead letter can be stored.",
            ),
        ];
        drafts.into_iter().map(|draft| self.finish(draft.board("runtime"))).collect()
    }

    /// A queue is not worked off as it should.
    fn queues(&self) -> Vec<Rule> {
        let ready = self.s.queue("queue:quebert_ready:max", "");
        let settled = self.s.queue("quebert_settlements_total", "");
        let used = self.s.queue("queue:quebert_concurrency:utilization", "");
        let drain = self.s.queue("queue:quebert_drain:seconds", "");
        // Without a session nothing is open, and nobody knows who consumes: that is QuebertBrokerDisconnected's to say, once.
        let connected = format!("and on (job, instance)\n{} == 1", self.s.any("quebert_broker_connected", ""));
        let closed = format!("{} == 0\n{connected}", self.s.queue("quebert_queue_open", ""));
        let lone =
            format!("max by (job, queue) (\n{}\n{connected}\n) == 0", self.s.queue("quebert_queue_consumers", ""));
        let stalled = format!("{ready} > 0\nand\nsum by (job, queue) (rate({settled}[5m])) == 0");
        let saturated = format!("{used} > {}\nand\n{ready} > 0", self.limit(|t| t.utilization));
        let drafts = [
            Draft::new("QuebertQueueStalled", PAGE, "5m", stalled).told(
                "Queue {{ $labels.queue }} stands still",
                "{{ $value }} tasks wait in {{ $labels.queue }}, and for 5 minutes none was settled.",
            ),
            Draft::new("QuebertNoConsumers", PAGE, "2m", lone).told(
                "Nobody takes from queue {{ $labels.queue }}",
                "The broker says that {{ $labels.queue }} has no consumer.",
            ),
            Draft::new("QuebertQueueNotOpen", TICKET, "15m", closed).told(
                "{{ $labels.instance }} does not take from queue {{ $labels.queue }}",
                "For 15 minutes {{ $labels.instance }} has had a session, but not {{ $labels.queue }} open: paused, or refused.",
            ),
            Draft::new("QuebertBacklogSlowToDrain", TICKET, "10m", format!("{drain} > {}", self.limit(|t| t.drain_seconds)))
                .told(
                    "The backlog of queue {{ $labels.queue }} takes long",
                    "At the present pace what waits in {{ $labels.queue }} takes {{ $value | humanizeDuration }}.",
                ),
            Draft::new("QuebertSaturated", TICKET, "15m", saturated).told(
                "Queue {{ $labels.queue }} has no free slots",
                "{{ $value | humanizePercentage }} of the slots of {{ $labels.queue }} are in use, and tasks wait.",
            ),
        ];
        drafts.into_iter().map(|draft| self.finish(draft.board("queue"))).collect()
    }

    /// Tasks fail, or nobody knows of them.
    fn tasks(&self) -> Vec<Rule> {
        let errors = self.s.any("destination:quebert_dispatch_errors:ratio_rate5m", "");
        let attempts = self.s.any("destination_outcome:quebert_dispatch_attempts:rate5m", "");
        let rare = 0.1;
        let failing = format!(
            "{errors} > {}\nand\nsum by (job, destination) ({attempts}) > {}",
            self.limit(|t| t.destination_errors),
            number(rare)
        );
        let silent = self.s.any("quebert_destination_circuit_open", "");
        let silent = format!("max by (job, destination) ({silent}) == 1");
        let dead = self.s.queue("quebert_dead_lettered_total", "");
        let per_queue =
            |metric: &str, of: &str| format!("sum by (job, queue) (rate({}[10m]))", self.s.queue(metric, of));
        let storm = format!(
            "{}\n/\n({} > 0)\n> {}",
            per_queue("quebert_retries_scheduled_total", AFTER_ATTEMPT),
            per_queue("quebert_dispatch_attempts_total", ""),
            self.limit(|t| t.retries)
        );
        let each = |metric: &str| format!("sum by (job, instance, queue) ({})", self.s.queue(metric, ""));
        let leak = format!(
            "abs(\n  {}\n  - {}\n  - {}\n  - {}\n) > {}",
            each("quebert_deliveries_total"),
            each("quebert_settlements_total"),
            each("quebert_tasks_in_flight"),
            each("quebert_tasks_buffered"),
            self.limit(|t| t.unaccounted)
        );
        let refused = self.s.any("quebert_publish_confirms_total", r#"result!~"ack|not_connected""#);
        let refused = format!("sum by (job, instance, purpose, result) (increase({refused}[10m])) > 0");
        let drafts = [
            Draft::new("QuebertDestinationFailing", TICKET, "10m", failing).board("destination").told(
                "Destination {{ $labels.destination }} fails",
                "{{ $value | humanizePercentage }} of the attempts at {{ $labels.destination }} fail.",
            ),
            Draft::new("QuebertCircuitOpen", TICKET, "10m", silent).board("destination").told(
                "Destination {{ $labels.destination }} is silent",
                "For 10 minutes {{ $labels.destination }} has given no answer, and is held to one slot.",
            ),
            Draft::new("QuebertDeadLetters", TICKET, "0s", format!("sum by (job, queue, reason) (increase({dead}[15m])) > 0"))
                .board("retries")
                .told(
                    "Tasks of {{ $labels.queue }} were given up: {{ $labels.reason }}",
                    "About {{ $value | humanize }} tasks of {{ $labels.queue }} became dead letters in 15 minutes.",
                ),
            Draft::new("QuebertRetryStorm", TICKET, "10m", storm).board("retries").told(
                "Most attempts of queue {{ $labels.queue }} end in a retry",
                "{{ $value | humanizePercentage }} of the attempts of {{ $labels.queue }} are followed by another one.",
            ),
            Draft::new("QuebertPublishNotConfirmed", TICKET, "0s", refused).board("retries").told(
                "The broker does not confirm: {{ $labels.result }}",
                "{{ $labels.instance }} published for {{ $labels.purpose }}, and the broker's answer was \
                 {{ $labels.result }}.",
            ),
            Draft::new("QuebertAccountingLeak", TICKET, "15m", leak).board("runtime").told(
                "Deliveries of {{ $labels.queue }} are unaccounted for",
                "{{ $labels.instance }} took {{ $value }} deliveries of {{ $labels.queue }} that it neither settled nor holds.",
            ),
        ];
        drafts.into_iter().map(|draft| self.finish(draft)).collect()
    }

    /// A dispatcher itself is not well.
    fn inside(&self) -> Vec<Rule> {
        let p99 =
            |bucket: String, by: &str| format!("histogram_quantile(0.99, sum by ({by}, le) (rate({bucket}[10m])))");
        let late = p99(self.s.queue("quebert_schedule_lag_seconds_bucket", ""), "job, queue");
        let slow = p99(self.s.any("quebert_runtime_timer_lag_seconds_bucket", ""), "job, instance");
        let files = format!(
            "{}\n/\n{}\n> {}",
            self.s.any("process_open_fds", ""),
            self.s.any("process_max_fds", ""),
            self.limit(|t| t.files)
        );
        let reloads = self.s.any("quebert_config_reloads_total", r#"result="error""#);
        let hooks = self.s.any("quebert_hook_errors_total", "");
        let overflow = self.s.any("quebert_metrics_label_overflow_total", "");
        let lag = format!("{late} > {}", self.limit(|t| t.schedule_lag_seconds));
        let timers = format!("{slow} > {}", self.limit(|t| t.timer_lag_seconds));
        let drafts = [
            Draft::new("QuebertScheduleLag", TICKET, "10m", lag).board("queue").told(
                "Attempts of {{ $labels.queue }} start late",
                "One attempt in a hundred of {{ $labels.queue }} starts {{ $value | humanizeDuration }} after it is due.",
            ),
            Draft::new("QuebertRuntimeLag", TICKET, "10m", timers).told(
                "Dispatcher {{ $labels.instance }} is slow",
                "One timer in a hundred of {{ $labels.instance }} fires {{ $value | humanizeDuration }} late.",
            ),
            Draft::new("QuebertHookErrors", TICKET, "0s", format!("sum by (job, hook, phase) (increase({hooks}[15m])) > 0"))
                .told(
                    "Mediator {{ $labels.hook }} fails",
                    "{{ $labels.hook }} failed or took too long about {{ $value | humanize }} times in 15 minutes \
                     ({{ $labels.phase }}).",
                ),
            Draft::new("QuebertConfigReloadFailed", TICKET, "0s", format!("increase({reloads}[15m]) > 0")).told(
                "{{ $labels.instance }} could not read its config",
                "A reload of {{ $labels.instance }} failed; it goes on with the config that it had.",
            ),
            Draft::new("QuebertFilesNearLimit", TICKET, "10m", files).told(
                "Dispatcher {{ $labels.instance }} runs out of file descriptors",
                "{{ $labels.instance }} uses {{ $value | humanizePercentage }} of the file descriptors that it may have.",
            ),
            Draft::new("QuebertLabelOverflow", INFO, "0s", format!("increase({overflow}[1h]) > 0")).told(
                "{{ $labels.instance }} has more values of {{ $labels.label }} than it may show",
                "The rest is counted as _other; metrics.max_destinations says how many have a label of their own.",
            ),
        ];
        drafts.into_iter().map(|draft| self.finish(draft)).collect()
    }

    fn limit(&self, of: impl Fn(&crate::settings::Thresholds) -> f64) -> String {
        number(of(&self.settings.thresholds))
    }

    fn finish(&self, draft: Draft) -> Rule {
        let Draft { name, hold, expr, labels, board, summary, description } = draft;
        // Only what the alert's own labels say can be handed on.
        let queue = if description.contains("$labels.queue") || summary.contains("$labels.queue") {
            "?var-queue={{ $labels.queue }}"
        } else if summary.contains("$labels.destination") {
            "?var-destination={{ $labels.destination }}"
        } else {
            ""
        };
        let alert = Alert {
            name,
            hold,
            summary,
            description,
            runbook: format!("{}{name}.md", self.settings.runbooks),
            dashboard: format!("{}/d/quebert-{board}{queue}", self.settings.grafana.trim_end_matches('/')),
        };
        Rule { kind: RuleKind::Alert(alert), expr, labels }
    }
}

struct Draft {
    name: &'static str,
    hold: &'static str,
    expr: String,
    labels: Vec<(&'static str, String)>,
    board: &'static str,
    summary: String,
    description: String,
}

impl Draft {
    fn new(name: &'static str, severity: &str, hold: &'static str, expr: String) -> Self {
        let labels = vec![("severity", severity.to_owned())];
        Self { name, hold, expr, labels, board: "runtime", summary: String::new(), description: String::new() }
    }

    fn board(self, board: &'static str) -> Self {
        Self { board, ..self }
    }

    fn told(self, summary: &str, description: &str) -> Self {
        Self { summary: summary.to_owned(), description: description.to_owned(), ..self }
    }
}
