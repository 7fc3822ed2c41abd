//! A profile, checked: after that, nothing in it can be wrong. It touches no system.

use super::Profile;
use crate::{
    arrivals::{Arrivals, Class, GrammarError, Mix},
    chaos::{Deed, FaultSpec},
    figures::Layout,
    fleet::ExecutorSpec,
    ledger::{QueueRule, Rules},
    quantity::{self, Unclear},
    report::Threshold,
    target::{BrokerSpec, QueueSpec, RetrySpec, TargetSpec},
};
use std::{path::PathBuf, time::Duration};

/// How much earlier than due a retry may be: two processes read a clock of milliseconds, each rounding it its own way.
const EARLY_GRACE: Duration = Duration::from_millis(2);
/// The dispatchers' default of `retry.retry_after_max`.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// The dispatchers' default of `status.permanent`.
const PERMANENT: [u16; 2] = [410, 501];

/// How old queues of RabbitMQ must be to be relied on (docs/rabbitmq.md).
const YOUTH: Duration = Duration::from_secs(5);

/// Of one machine.
const DISPATCHERS_MAX: u32 = 64;

/// What is wrong with a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The plan.
    #[error(transparent)]
    Arrivals(#[from] GrammarError),
    /// One of the lines or values.
    #[error("{field}: {unclear}")]
    Field {
        /// The profile's field.
        field: &'static str,
        /// What is wrong.
        unclear: Unclear,
    },
    /// Something that contradicts something else.
    #[error("{0}")]
    Contradiction(String),
}

/// A checked profile.
#[derive(Debug, Clone)]
pub struct Config {
    /// When tasks come.
    pub arrivals: Arrivals,
    /// Which tasks come.
    pub mix: Mix,
    /// The executors.
    pub executors: Vec<ExecutorSpec>,
    /// The system under test.
    pub target: TargetSpec,
    /// What requests are judged by.
    pub rules: Rules,
    /// Tasks intended before this are left out of the latencies.
    pub warm_up: Duration,
    /// How long to wait after the plan.
    pub settle: Duration,
    /// How late the tester may be itself.
    pub start_lag_max: Duration,
    /// Demands on the report.
    pub thresholds: Vec<Threshold>,
    /// What is done to the system.
    pub faults: Vec<FaultSpec>,
    /// As it was typed.
    pub profile: Profile,
}

fn field<T>(field: &'static str, value: Result<T, Unclear>) -> Result<T, ConfigError> {
    value.map_err(|unclear| ConfigError::Field { field, unclear })
}

fn lines<T>(
    name: &'static str,
    lines: &[String],
    parse: impl Fn(&str) -> Result<T, Unclear>,
) -> Result<Vec<T>, ConfigError> {
    lines.iter().map(|line| field(name, parse(line))).collect()
}

impl TryFrom<Profile> for Config {
    type Error = ConfigError;

    fn try_from(profile: Profile) -> Result<Self, ConfigError> {
        let arrivals = profile.arrivals.parse::<Arrivals>()?;
        let mut executors = lines("executors", &profile.executors, str::parse)?;
        if executors.is_empty() {
            executors.push(ExecutorSpec::new("main"));
        }
        let mut classes = lines("mix", &profile.mix, Class::parse)?;
        let mut queues = lines("queues", &profile.queues, QueueSpec::parse)?;
        if classes.is_empty() {
            let names = queues.iter().map(|queue| queue.name.clone()).collect::<Vec<_>>();
            let names = if names.is_empty() { vec!["load".to_owned()] } else { names };
            classes.extend(names.iter().map(|queue| Class::new(queue, &executors[0].name)));
        }
        let mix = field("mix", Mix::new(classes))?;
        for name in mix.queues() {
            if !queues.iter().any(|queue| queue.name == name) {
                queues.push(field("mix", QueueSpec::parse(&format!("name={name}")))?);
            }
        }
        check(&arrivals, &mix, &executors, &queues)?;
        let faults = lines("faults", &profile.faults, str::parse::<FaultSpec>)?;
        let mut target = target(&profile, queues)?;
        check_faults(&faults, &target, arrivals.length())?;
        target.links = faults.iter().any(|fault| matches!(fault.deed, Deed::Link(..)));
        let late_grace = field("late_grace", quantity::duration(&profile.late_grace))?;
        Ok(Self {
            rules: rules(&profile, &target, &mix, late_grace),
            arrivals,
            mix,
            executors,
            target,
            warm_up: field("warm_up", quantity::duration(&profile.warm_up))?,
            settle: field("settle", quantity::duration(&profile.settle))?,
            start_lag_max: field("start_lag_max", quantity::duration(&profile.start_lag_max))?,
            thresholds: lines("thresholds", &profile.thresholds, str::parse)?,
            faults,
            profile,
        })
    }
}

impl Config {
    /// What there are figures of.
    pub(crate) fn layout(&self) -> Layout {
        let ends = self.arrivals.phases.iter().scan(Duration::ZERO, |end, phase| {
            *end += phase.length;
            Some(*end)
        });
        Layout { queues: self.rules.queues.len(), phases: ends.collect(), warm_up: self.warm_up }
    }
}

fn check(arrivals: &Arrivals, mix: &Mix, executors: &[ExecutorSpec], queues: &[QueueSpec]) -> Result<(), ConfigError> {
    let says = |text: String| Err(ConfigError::Contradiction(text));
    let twice =
        |names: Vec<&str>| (1..names.len()).find(|i| names[..*i].contains(&names[*i])).map(|i| names[i].to_owned());
    if let Some(name) = twice(executors.iter().map(|executor| &*executor.name).collect()) {
        return says(format!("two executors are named {name:?}"));
    }
    if let Some(name) = twice(queues.iter().map(|queue| &*queue.name).collect()) {
        return says(format!("two queues are named {name:?}"));
    }
    for class in mix.classes() {
        if !executors.iter().any(|executor| executor.name == class.to) {
            return says(format!("mix: there is no executor named {:?}", class.to));
        }
        // A client of a closed phase waits for an end, and nobody tells the tester of a task that expires unseen.
        if arrivals.is_closed() && class.ttl.is_some() {
            return says("mix: a closed phase and a time to live don't go together".to_owned());
        }
    }
    Ok(())
}

fn target(profile: &Profile, queues: Vec<QueueSpec>) -> Result<TargetSpec, ConfigError> {
    let broker = match profile.broker.as_str() {
        "private-rabbitmq" => BrokerSpec::PrivateRabbit,
        "embedded" => BrokerSpec::Embedded,
        url if url.starts_with("amqp://") || url.starts_with("amqps://") => BrokerSpec::Rabbit(url.to_owned()),
        url if url.starts_with("http://") => BrokerSpec::Api(url.to_owned()),
        other => {
            let unclear =
                Unclear::new("private-rabbitmq, embedded, an amqp:// address or the http:// address of an API", other);
            return Err(ConfigError::Field { field: "broker", unclear });
        }
    };
    let says = |text: &str| Err(ConfigError::Contradiction(text.to_owned()));
    let external = !profile.external.is_empty();
    match (profile.tls, &profile.tls_cert, &profile.tls_key) {
        (true, None, None) if external => {
            return says(
                "tls: dispatchers that run can't trust a certificate that is made for this run; give one whose authority is \
                 in their http.ca_file, by tls_cert and tls_key (`quebert-loadtest certificate` makes both)",
            );
        }
        (_, None, None) => {}
        (true, Some(_), Some(_)) if external => {}
        (true, Some(_), Some(_)) => {
            return says(
                "tls_cert: dispatchers that are started here trust what is made for the run: tls alone is enough",
            );
        }
        _ => return says("tls_cert and tls_key go together, and with tls"),
    }
    match &broker {
        BrokerSpec::Embedded if external => {
            return says("an embedded broker that runs is named by the address of its API");
        }
        BrokerSpec::Embedded if profile.dispatchers != 1 => {
            return says("an embedded broker has exactly one dispatcher");
        }
        BrokerSpec::PrivateRabbit if external => {
            return says("dispatchers that run know nothing of a private RabbitMQ");
        }
        BrokerSpec::Api(_) if profile.external.len() != 1 => {
            return says("an API that runs needs its dispatcher's admin address, as the one external");
        }
        _ if !external && !(1..=DISPATCHERS_MAX).contains(&profile.dispatchers) => return says("1 to 64 dispatchers"),
        _ => {}
    }
    if !matches!(&*profile.queue_type, "quorum" | "classic") {
        return says("queue_type: quorum or classic");
    }
    if !(1..=1000).contains(&profile.publish_window) {
        return says("publish_window: 1 to 1000");
    }
    if let Some(setting) = profile.set.iter().find(|setting| setting.starts_with("retry.")) {
        return says(&format!(
            "set: requests are judged by {setting:?}; use max_attempts, backoff_min and backoff_max"
        ));
    }
    let slots = queues.iter().map(|queue| queue.slots).sum::<u32>();
    Ok(TargetSpec {
        broker,
        dispatchers: if external { 0 } else { profile.dispatchers },
        external: profile.external.clone(),
        program: profile.quebert.as_ref().map_or_else(beside_us, PathBuf::from),
        prefix: profile.prefix.clone(),
        queue_type: profile.queue_type.clone(),
        queues,
        retry: RetrySpec {
            max_attempts: profile.max_attempts,
            backoff_min: field("backoff_min", quantity::duration(&profile.backoff_min))?,
            backoff_max: field("backoff_max", quantity::duration(&profile.backoff_max))?,
        },
        destination_slots: if profile.destination_slots == 0 { slots } else { profile.destination_slots },
        settings: profile.set.clone(),
        publish_window: profile.publish_window,
        links: false,
        ca_pem: None,
    })
}

/// Whether what is to be done can be done, and undone.
fn check_faults(faults: &[FaultSpec], target: &TargetSpec, plan: Duration) -> Result<(), ConfigError> {
    for (n, fault) in faults.iter().enumerate() {
        let says = |text: &str| Err(ConfigError::Contradiction(format!("faults: {fault}: {text}")));
        if !target.external.is_empty() {
            return says("nothing is done to dispatchers that were not started here");
        }
        // An embedded broker and its dispatcher are the same process.
        let one = target.broker == BrokerSpec::Embedded;
        if let Some(other) = faults[..n].iter().find(|other| fault.meets(other) || one && fault.overlaps(other)) {
            return says(&format!("would undo {other}"));
        }
        if fault.from >= plan {
            return says("comes after the end of the plan");
        }
        let broker_is_killed = match fault.deed {
            Deed::KillDispatcher(index) | Deed::Link(Some(index), _) if index >= target.dispatchers as usize => {
                return says("there is no such dispatcher");
            }
            Deed::KillDispatcher(_) => target.broker == BrokerSpec::Embedded,
            Deed::KillBroker => true,
            Deed::Link(..) => match &target.broker {
                BrokerSpec::PrivateRabbit => false,
                // The name in the broker's certificate would not be the link's.
                BrokerSpec::Rabbit(url) if url.starts_with("amqp://") => false,
                _ => return says("there is no link to RabbitMQ that could be laid in clear"),
            },
        };
        match target.broker {
            _ if broker_is_killed && !fault.ends() => return says("a broker must come back: add `restart after`"),
            BrokerSpec::Rabbit(_) if broker_is_killed => return says("this broker was not started here"),
            BrokerSpec::PrivateRabbit if broker_is_killed && fault.from < YOUTH => {
                return says("RabbitMQ may lose queues that it made a few seconds before it is killed: not before 5 s");
            }
            _ => {}
        }
    }
    Ok(())
}

/// The `quebert` in the folder of this program, or else the one that the system finds.
fn beside_us() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("quebert")));
    beside.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from("quebert"))
}

fn rules(profile: &Profile, target: &TargetSpec, mix: &Mix, late_grace: Duration) -> Rules {
    let ours = target.external.is_empty();
    let names = mix.queues();
    let of = |name: &&str| {
        let spec = target.queues.iter().find(|queue| queue.name == **name).expect("every queue of the mix has a spec");
        let slots = ours.then(|| spec.slots.saturating_mul(target.dispatchers));
        QueueRule { name: spec.name.clone(), priority: spec.priority, slots }
    };
    let queue_of = |class: &Class| names.iter().position(|name| *name == class.queue).expect("it is from the same mix");
    Rules {
        max_attempts: (profile.max_attempts > 0).then_some(profile.max_attempts),
        backoff_min: target.retry.backoff_min,
        retry_after_max: RETRY_AFTER_MAX,
        permanent: PERMANENT.to_vec(),
        early_grace: EARLY_GRACE,
        late_grace,
        queues: names.iter().map(of).collect(),
        queue_of: mix.classes().iter().map(queue_of).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Profile), words: &str) {
        let mut profile = Profile::default();
        change(&mut profile);
        let error = Config::try_from(profile).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    }

    #[test]
    fn the_default_profile_is_right_and_a_queue_of_the_mix_gets_a_spec() {
        let config = Config::try_from(Profile::default()).unwrap();
        assert_eq!((config.target.queues.len(), config.rules.queues[0].slots), (1, Some(64)));
        let mix = ["queue=b weight=2", "queue=a"].map(str::to_owned).to_vec();
        let queues = vec!["name=a priority=3 slots=2".to_owned()];
        let profile = Profile { mix, queues, broker: "private-rabbitmq".into(), dispatchers: 3, ..Profile::default() };
        let config = Config::try_from(profile).unwrap();
        let rules = config.rules.queues.iter().map(|rule| (&*rule.name, rule.priority, rule.slots)).collect::<Vec<_>>();
        assert_eq!(rules, [("b", 0, Some(192)), ("a", 3, Some(6))]);
        assert_eq!(config.rules.queue_of, [0, 1]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        refused(|p| p.arrivals = "often".into(), "arrivals, column 1");
        refused(|p| p.mix = vec!["to=nobody".into()], "no executor named \"nobody\"");
        refused(|p| p.executors = vec!["latency=5".into()], "executors: latency: a duration");
        refused(|p| p.executors = vec!["name=a".into(), "name=a".into()], "two executors are named \"a\"");
        refused(|p| p.thresholds = vec!["waits<5".into()], "thresholds: one of tasks");
        refused(|p| p.broker = "kafka".into(), "broker: private-rabbitmq, embedded");
        refused(|p| p.dispatchers = 2, "exactly one dispatcher");
        refused(|p| p.set = vec!["retry.backoff_min=1s".into()], "requests are judged by");
        refused(|p| p.faults = vec!["kill executor".into()], "faults: kill dispatcher, kill broker");
        let running = || vec!["http://a:1".to_owned()];
        refused(|p| (p.tls, p.external) = (true, running()), "can't trust a certificate that is made for this run");
        refused(|p| (p.tls_cert, p.external) = (Some("a".into()), running()), "go together, and with tls");
        let given = |p: &mut Profile| (p.tls_cert, p.tls_key) = (Some("a".into()), Some("b".into()));
        refused(given, "go together, and with tls");
        let ours = |p: &mut Profile| {
            given(p);
            p.tls = true;
        };
        refused(ours, "tls alone is enough");
        refused(|p| (p.arrivals, p.mix) = ("closed n=1 1s".into(), vec!["ttl=1s".into()]), "don't go together");
    }

    #[test]
    fn faults_that_cannot_be_done_or_undone_are_refused() {
        let with = |broker: &str, faults: &[&str], words: &str| {
            refused(
                |p| {
                    (p.broker, p.faults) = (broker.into(), faults.iter().map(|fault| (*fault).to_owned()).collect());
                },
                words,
            );
        };
        with("embedded", &["kill dispatcher at 1s"], "must come back");
        with("embedded", &["cut link 1s..2s"], "no link");
        with("embedded", &["kill dispatcher 2 at 1s"], "no such dispatcher");
        with("embedded", &["kill dispatcher at 11s restart after 1s"], "after the end of the plan");
        let both = ["kill dispatcher at 1s restart after 2s", "kill broker at 2s restart after 2s"];
        with("embedded", &both, "would undo");
        with("private-rabbitmq", &["kill broker at 1s restart after 1s"], "not before 5 s");
        with("private-rabbitmq", &["cut link 1s..3s", "slow link 2s..4s by 1ms"], "would undo");
        with("amqp://host/", &["kill broker at 6s restart after 1s"], "not started here");
        with("amqps://host/", &["cut link 1s..3s"], "in clear");
        let faults = vec!["cut link 1s..3s".into(), "kill broker at 6s restart after 1s".into()];
        let profile = Profile { broker: "private-rabbitmq".into(), faults, ..Profile::default() };
        assert!(Config::try_from(profile).unwrap().target.links);
    }
}
