//! A scenario as promtool's test file. What happens in which scenario is said in `scenarios`.

use quebert_dashboards::{Bundle, rules::Rule};
use std::fmt::Write as _;

/// Series over time, and what fires when.
pub(crate) struct Scenario {
    pub(crate) alert: &'static str,
    /// What happens, in words; the end of the file's name.
    pub(crate) what: &'static str,
    /// In promtool's notation, a value a minute.
    pub(crate) series: Vec<(String, String)>,
    pub(crate) moments: Vec<Moment>,
    dispatcher: bool,
}

/// A minute, and what fires in it.
pub(crate) struct Moment {
    minute: u32,
    pub(crate) firing: Vec<Firing>,
    /// Other alerts that rightly fire as well.
    others: Vec<(&'static str, u32)>,
}

pub(crate) struct Firing {
    labels: Vec<(&'static str, &'static str)>,
    value: &'static str,
}

impl Scenario {
    pub(crate) fn new(alert: &'static str, what: &'static str) -> Self {
        Self { alert, what, series: Vec::new(), moments: Vec::new(), dispatcher: true }
    }

    /// Without the dispatcher that is up in all others.
    pub(crate) fn nobody(self) -> Self {
        Self { dispatcher: false, ..self }
    }

    /// A series. `J` stands for the job, `I` for that and an instance.
    pub(crate) fn series(mut self, name: &str, values: &str) -> Self {
        let name = name.replace("{I", "{job=\"quebert\",instance=\"a:9464\"").replace("{J", "{job=\"quebert\"");
        self.series.push((name, values.to_owned()));
        self
    }

    /// Nothing fires, no other alert either.
    pub(crate) fn silent(mut self, minute: u32) -> Self {
        self.moments.push(Moment { minute, firing: Vec::new(), others: Vec::new() });
        self
    }

    /// The alert does not fire, but this other one does, rightly.
    pub(crate) fn elsewhere(self, minute: u32, alert: &'static str, count: u32) -> Self {
        self.silent(minute).with(alert, count)
    }

    /// The alert fires with these labels besides its own, and with this value as its description writes it.
    pub(crate) fn fires(mut self, minute: u32, labels: &[(&'static str, &'static str)], value: &'static str) -> Self {
        let firing = Firing { labels: labels.to_vec(), value };
        match self.moments.last_mut() {
            Some(last) if last.minute == minute => last.firing.push(firing),
            _ => self.moments.push(Moment { minute, firing: vec![firing], others: Vec::new() }),
        }
        self
    }

    /// So does this one, in the same minute and rightly.
    pub(crate) fn with(mut self, alert: &'static str, count: u32) -> Self {
        self.moments.last_mut().unwrap().others.push((alert, count));
        self
    }

    pub(crate) fn file(&self) -> String {
        format!("{}-{}.yml", self.alert, self.what.replace(' ', "-"))
    }

    pub(crate) fn yaml(&self, bundle: &Bundle) -> String {
        // Without an order of groups promtool has one of its own, which differs from run to run.
        let order = bundle.groups.iter().map(|group| group.name).collect::<Vec<_>>().join(", ");
        let mut text = format!(
            "# Made by dashboards/tests/promtool/scenarios.rs; UPDATE=1 renews it.\nrule_files:\n  - ../quebert-recording.yml\n  \
             - ../quebert-alerts.yml\nevaluation_interval: 1m\ngroup_eval_order: [{order}]\ntests:\n  - name: {}\n    \
             interval: 1m\n    input_series:\n",
            quoted(self.what)
        );
        let up = ("up{job=\"quebert\",instance=\"a:9464\"}".to_owned(), "1x5000".to_owned());
        for (series, values) in self.dispatcher.then_some(&up).into_iter().chain(&self.series) {
            let _ = writeln!(text, "      - series: {}\n        values: {}", quoted(series), quoted(values));
        }
        let _ = writeln!(text, "    alert_rule_test:");
        for moment in &self.moments {
            let _ = writeln!(text, "      - eval_time: {}m\n        alertname: {}", moment.minute, self.alert);
            let _ = writeln!(text, "        exp_alerts:{}", if moment.firing.is_empty() { " []" } else { "" });
            for firing in &moment.firing {
                self.expect(&mut text, firing, bundle);
            }
        }
        let _ = writeln!(text, "    promql_expr_test:");
        for moment in &self.moments {
            let _ = writeln!(text, "      - expr: count by (alertname) (ALERTS{{alertstate=\"firing\"}})");
            let _ = writeln!(text, "        eval_time: {}m", moment.minute);
            let own = (!moment.firing.is_empty()).then(|| (self.alert, u32::try_from(moment.firing.len()).unwrap()));
            let all = own.iter().chain(&moment.others).collect::<Vec<_>>();
            let _ = writeln!(text, "        exp_samples:{}", if all.is_empty() { " []" } else { "" });
            for (alert, count) in all {
                let _ = writeln!(text, "          - labels: '{{alertname=\"{alert}\"}}'\n            value: {count}");
            }
        }
        text
    }

    fn expect(&self, text: &mut String, firing: &Firing, bundle: &Bundle) {
        let rule = bundle.groups.iter().flat_map(|g| &g.rules).find(|rule| self.is_of(rule, firing));
        let rule = rule.unwrap_or_else(|| panic!("no rule {} with {:?}", self.alert, firing.labels));
        let mut labels = firing.labels.iter().map(|(l, v)| (*l, (*v).to_owned())).collect::<Vec<_>>();
        labels.extend(rule.labels.iter().cloned());
        labels.sort();
        labels.dedup();
        let _ = writeln!(text, "          - exp_labels:");
        for (label, value) in &labels {
            let _ = writeln!(text, "              {label}: {}", quoted(value));
        }
        let _ = writeln!(text, "            exp_annotations:");
        for (name, template) in rule.alert().unwrap().annotations() {
            let _ = writeln!(text, "              {name}: {}", quoted(&filled(template, &firing.labels, firing.value)));
        }
    }

    /// Rules of the same name are told apart by their own labels.
    fn is_of(&self, rule: &Rule, firing: &Firing) -> bool {
        let says_so = |(label, value): &(&str, String)| firing.labels.iter().all(|(l, v)| l != label || v == value);
        rule.name() == self.alert && rule.labels.iter().all(says_so)
    }
}

/// A template of Prometheus', filled in. Panics where it asks for a label that the series do not have: those that the rule
/// adds are not known there.
fn filled(template: &str, labels: &[(&str, &str)], value: &str) -> String {
    let mut parts = template.split("{{ ");
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let (inner, rest) = part.split_once(" }}").unwrap();
        match inner.strip_prefix("$labels.") {
            Some(label) => {
                let found = labels.iter().find(|(l, _)| *l == label);
                text.push_str(found.unwrap_or_else(|| panic!("no label {label} for {template:?}")).1);
            }
            None if inner.starts_with("$value") => text.push_str(value),
            None => panic!("what is {inner}?"),
        }
        text.push_str(rest);
    }
    text
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
