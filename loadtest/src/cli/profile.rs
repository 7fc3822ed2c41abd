//! The flags that make a profile, alike for all verbs that run one. What a verb does with it stands elsewhere.

use super::{Error, certificate::CertificateFiles};
use crate::run::Profile;
use clap::Args;
use std::{fs, path::PathBuf};

/// All of a profile: for verbs that run one.
#[derive(Debug, Args)]
pub(super) struct ProfileArgs {
    #[command(flatten)]
    course: CourseArgs,
    #[command(flatten)]
    workload: WorkloadArgs,
    /// Executors are asked over TLS, with a certificate that is made for the run and that its dispatchers trust
    #[arg(long)]
    tls: bool,
    #[command(flatten)]
    certificate: CertificateFiles,
    /// private-rabbitmq, embedded, an amqp:// address, or the http:// address of an API [default: embedded]
    #[arg(long)]
    broker: Option<String>,
    /// Dispatchers to start [default: 1]
    #[arg(long)]
    dispatchers: Option<u32>,
    /// Admin address of a dispatcher that runs; then none is started; repeatable
    #[arg(long, value_name = "ADDRESS")]
    external: Vec<String>,
    /// The program to start; without it, the `quebert` beside this program
    #[arg(long)]
    quebert: Option<String>,
    /// Names of queues begin with this [default: quebert-loadtest]
    #[arg(long)]
    prefix: Option<String>,
    /// quorum or classic [default: quorum]
    #[arg(long)]
    queue_type: Option<String>,
    /// A further setting of the dispatchers, KEY=VALUE; repeatable
    #[arg(long)]
    set: Vec<String>,
    /// Requests under way to one executor, of one dispatcher; 0 is as many as there are slots [default: 0]
    #[arg(long)]
    destination_slots: Option<u32>,
    /// Unconfirmed publishes at a time, into RabbitMQ [default: 256]
    #[arg(long)]
    publish_window: Option<u16>,
    /// How long to wait after the plan until nothing is open [default: 60s]
    #[arg(long)]
    settle: Option<String>,
    /// How late the tester may be itself at the 99th percentile [default: 5ms]
    #[arg(long)]
    start_lag_max: Option<String>,
    /// How much later than its expiry an attempt may reach the executor's code [default: 100ms]
    #[arg(long)]
    late_grace: Option<String>,
    /// A run that did not become steady is invalid
    #[arg(long)]
    require_steady: bool,
    /// A demand, such as "wait.p99<500ms", "wait@high.p99<50ms", "lost==0" or "duplicates/tasks<0.1%"; repeatable
    #[arg(long = "threshold", value_name = "DEMAND", num_args = 1..)]
    thresholds: Vec<String>,
    /// A fault, such as "kill dispatcher at 10s restart after 2s", "kill broker at 10s", "cut link 10s..15s",
    /// "stall link of dispatcher 2 10s..15s" or "slow link 10s..15s by 200ms"; repeatable
    #[arg(long = "fault", value_name = "DEED", num_args = 1..)]
    faults: Vec<String>,
}

/// When tasks come and into what, real or computed. A flag wins over the profile's file, and the file over the defaults.
#[derive(Debug, Args)]
pub(super) struct CourseArgs {
    /// A TOML file with the fields of a profile
    #[arg(long)]
    profile: Option<PathBuf>,
    /// When tasks come, such as "poisson 500/s 60s" [default: constant 100/s 10s]
    #[arg(long)]
    arrivals: Option<String>,
    /// A queue, such as "name=high priority=2 slots=64 window=80"; repeatable
    #[arg(long = "queue", value_name = "WORDS")]
    queues: Vec<String>,
    /// Everything random is drawn from this [default: 1]
    #[arg(long)]
    seed: Option<u64>,
    /// Tasks intended before this are left out of the latencies [default: 0s]
    #[arg(long)]
    warm_up: Option<String>,
}

/// What a task asks for: all that a plan of capacity needs to know of it besides its rate.
#[derive(Debug, Args)]
pub(super) struct WorkloadArgs {
    /// Which tasks come, such as "queue=high to=slow weight=3 size=exp:300 ttl=10s delay=uniform:1s,5s"; repeatable
    #[arg(long, value_name = "WORDS")]
    mix: Vec<String>,
    /// An executor, such as "name=slow latency=exp:50ms status=503:3% limit=200/s outage=refuse:10s..15s"; repeatable
    #[arg(long = "executor", value_name = "WORDS")]
    executors: Vec<String>,
    /// Attempts of a task in all; 0 is without limit [default: 20]
    #[arg(long)]
    max_attempts: Option<u32>,
    /// The shortest delay between two attempts [default: 1s]
    #[arg(long)]
    backoff_min: Option<String>,
    /// The longest [default: 1m]
    #[arg(long)]
    backoff_max: Option<String>,
}

/// A field takes a value that was given.
fn set<T: Clone>(field: &mut T, value: &Option<T>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}

/// A field takes lines, if any was given.
fn lines(field: &mut Vec<String>, values: &[String]) {
    if !values.is_empty() {
        *field = values.to_vec();
    }
}

impl CourseArgs {
    /// The profile of the file, or the default one, with these flags.
    pub(super) fn read(&self) -> Result<Profile, Error> {
        let mut profile = match &self.profile {
            None => Profile::default(),
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|e| Error::Read(path.clone(), e))?;
                toml::from_str(&text).map_err(|e| Error::Usage(format!("{}: {e}", path.display())))?
            }
        };
        set(&mut profile.arrivals, &self.arrivals);
        lines(&mut profile.queues, &self.queues);
        set(&mut profile.seed, &self.seed);
        set(&mut profile.warm_up, &self.warm_up);
        Ok(profile)
    }
}

impl WorkloadArgs {
    /// Puts these flags into a profile.
    pub(super) fn apply(&self, profile: &mut Profile) {
        lines(&mut profile.mix, &self.mix);
        lines(&mut profile.executors, &self.executors);
        set(&mut profile.max_attempts, &self.max_attempts);
        set(&mut profile.backoff_min, &self.backoff_min);
        set(&mut profile.backoff_max, &self.backoff_max);
    }
}

impl ProfileArgs {
    /// What is asked for.
    pub(super) fn read(self) -> Result<Profile, Error> {
        let mut profile = self.course.read()?;
        self.workload.apply(&mut profile);
        set(&mut profile.broker, &self.broker);
        set(&mut profile.dispatchers, &self.dispatchers);
        lines(&mut profile.external, &self.external);
        profile.quebert = self.quebert.or(profile.quebert);
        set(&mut profile.prefix, &self.prefix);
        set(&mut profile.queue_type, &self.queue_type);
        lines(&mut profile.set, &self.set);
        set(&mut profile.destination_slots, &self.destination_slots);
        set(&mut profile.publish_window, &self.publish_window);
        set(&mut profile.settle, &self.settle);
        set(&mut profile.start_lag_max, &self.start_lag_max);
        set(&mut profile.late_grace, &self.late_grace);
        profile.require_steady |= self.require_steady;
        profile.tls |= self.tls;
        profile.tls_cert = self.certificate.tls_cert.or(profile.tls_cert);
        profile.tls_key = self.certificate.tls_key.or(profile.tls_key);
        lines(&mut profile.thresholds, &self.thresholds);
        lines(&mut profile.faults, &self.faults);
        Ok(profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::Cli, report::command};
    use clap::Parser as _;

    /// What a shell makes of a command that is quoted with single quotes alone.
    fn words(command: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        let mut letters = command.chars().peekable();
        while let Some(letter) = letters.next() {
            let last = words.last_mut().expect("there is always a last word");
            match letter {
                '\'' => quoted = !quoted,
                '\\' if !quoted => last.extend(letters.next().filter(|letter| *letter != '\n')),
                ' ' if !quoted && last.is_empty() => {}
                ' ' if !quoted => words.push(String::new()),
                letter => last.push(letter),
            }
        }
        words
    }

    #[test]
    fn the_command_of_a_report_asks_for_the_same_profile() {
        let text = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let every_field = Profile {
            arrivals: "poisson 5/s 1s".into(),
            mix: text(&["queue=it's weight=2", "queue=b"]),
            executors: text(&["latency=exp:5ms"]),
            tls: true,
            tls_cert: Some("my certificate.pem".into()),
            tls_key: Some("key.pem".into()),
            queues: text(&["name=a slots=2", "name=b"]),
            broker: "amqp://me:$HOME@host/".into(),
            dispatchers: 3,
            external: text(&["http://a:1", "http://b:1"]),
            quebert: Some("./quebert \\ here".into()),
            prefix: "p".into(),
            queue_type: "classic".into(),
            set: text(&["http.guard.deny=[\"x\"]", "-a=b"]),
            max_attempts: 7,
            backoff_min: "2s".into(),
            backoff_max: "3s".into(),
            destination_slots: 9,
            publish_window: 11,
            seed: 12,
            warm_up: "4s".into(),
            settle: "5s".into(),
            start_lag_max: "6ms".into(),
            late_grace: "7ms".into(),
            require_steady: true,
            thresholds: text(&["wait.p99<500ms", "lost==0"]),
            faults: text(&["kill dispatcher at 1s restart after 2s"]),
        };
        for wanted in [Profile::default(), every_field] {
            let cli = Cli::try_parse_from(words(&command(&wanted))).unwrap_or_else(|e| panic!("{e}"));
            let crate::cli::Command::Run(args) = cli.command else { panic!("it is no run") };
            assert_eq!(args.read().unwrap().0, wanted);
        }
    }
}
