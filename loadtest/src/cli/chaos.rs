//! `chaos`: a run with faults. Those that are named, or else one of each kind that the system allows, spread over the plan.

use super::{Error, run};
use crate::{arrivals::Arrivals, run::Profile};
use std::time::Duration;

/// The plan, if none is asked for: long enough for RabbitMQ to come back between two faults.
const ARRIVALS: [(&str, &str); 2] = [("embedded", "constant 100/s 30s"), ("private-rabbitmq", "constant 100/s 2m")];

pub(super) fn chaos(args: run::RunArgs) -> Result<u8, Error> {
    let plain = Profile::default();
    let (mut profile, output) = args.read()?;
    if profile.arrivals == plain.arrivals
        && let Some((_, arrivals)) = ARRIVALS.iter().find(|(broker, _)| *broker == profile.broker)
    {
        (*arrivals).clone_into(&mut profile.arrivals);
    }
    if profile.faults.is_empty() {
        profile.faults = faults(&profile)?;
    }
    run::execute(profile, output)
}

/// One of each kind.
fn faults(profile: &Profile) -> Result<Vec<String>, Error> {
    let length = profile.arrivals.parse::<Arrivals>().map_err(|e| Error::Usage(e.to_string()))?.length();
    let at = |share: f64| length.mul_f64(share).max(Duration::from_secs(1));
    let told = |share: f64| format!("{}ms", at(share).as_millis());
    let kill = |what: &str, share: f64| format!("kill {what} at {} restart after {}", told(share), told(0.02));
    let link =
        |how: &str, from: f64, until: f64, more: &str| format!("{how} link {}..{}{more}", told(from), told(until));
    match &*profile.broker {
        _ if !profile.external.is_empty() => {
            Err(Error::Usage("dispatchers that were not started here are not killed: no fault is possible".to_owned()))
        }
        "embedded" => Ok(vec![kill("dispatcher", 0.3), kill("broker", 0.6)]),
        "private-rabbitmq" => Ok(vec![
            kill("dispatcher", 0.1),
            link("slow", 0.25, 0.35, " by 200ms"),
            link("cut", 0.4, 0.5, ""),
            link("stall", 0.55, 0.6, ""),
            kill("broker", 0.7),
        ]),
        url if url.starts_with("amqp://") => Ok(vec![
            kill("dispatcher", 0.2),
            link("slow", 0.35, 0.45, " by 200ms"),
            link("cut", 0.5, 0.6, ""),
            link("stall", 0.7, 0.8, ""),
        ]),
        other => Err(Error::Usage(format!("nothing can be done to {other}: it was not started here"))),
    }
}
