//! The command that does a run again: the fields of its profile that are not the defaults, as flags, quoted for a shell. What a
//! report leaves out (a broker's password) the reader must fill in.

use crate::run::Profile;

/// `quebert-loadtest run ...`, a flag a line.
pub fn command(profile: &Profile) -> String {
    let mut lines = vec!["quebert-loadtest run".to_owned()];
    for (flag, value) in flags(profile) {
        lines.push(if value.is_empty() { format!("--{flag}") } else { format!("--{flag}={}", quoted(&value)) });
    }
    lines.join(" \\\n    ")
}

/// Flags and values in the order of the profile's fields; a flag without value is a switch.
fn flags(profile: &Profile) -> Vec<(&'static str, String)> {
    // A field that is added to a profile must be added here: nothing is left to `..`.
    let Profile {
        arrivals,
        mix,
        executors,
        tls,
        tls_cert,
        tls_key,
        queues,
        broker,
        dispatchers,
        external,
        quebert,
        prefix,
        queue_type,
        set,
        max_attempts,
        backoff_min,
        backoff_max,
        destination_slots,
        publish_window,
        seed,
        warm_up,
        settle,
        start_lag_max,
        late_grace,
        require_steady,
        thresholds,
        faults,
    } = profile;
    let usual = Profile::default();
    let mut flags = Vec::new();
    let mut one = |flag: &'static str, value: String, usual: String| {
        if value != usual {
            flags.push((flag, value));
        }
    };
    // The plan and the seed are what a run is: they are told even where they are the defaults.
    one("arrivals", arrivals.clone(), String::new());
    one("seed", seed.to_string(), String::new());
    one("broker", broker.clone(), usual.broker);
    one("dispatchers", dispatchers.to_string(), usual.dispatchers.to_string());
    one("quebert", quebert.clone().unwrap_or_default(), String::new());
    one("tls-cert", tls_cert.clone().unwrap_or_default(), String::new());
    one("tls-key", tls_key.clone().unwrap_or_default(), String::new());
    one("prefix", prefix.clone(), usual.prefix);
    one("queue-type", queue_type.clone(), usual.queue_type);
    one("max-attempts", max_attempts.to_string(), usual.max_attempts.to_string());
    one("backoff-min", backoff_min.clone(), usual.backoff_min);
    one("backoff-max", backoff_max.clone(), usual.backoff_max);
    one("destination-slots", destination_slots.to_string(), usual.destination_slots.to_string());
    one("publish-window", publish_window.to_string(), usual.publish_window.to_string());
    one("warm-up", warm_up.clone(), usual.warm_up);
    one("settle", settle.clone(), usual.settle);
    one("start-lag-max", start_lag_max.clone(), usual.start_lag_max);
    one("late-grace", late_grace.clone(), usual.late_grace);
    let many = [
        ("queue", queues),
        ("mix", mix),
        ("executor", executors),
        ("external", external),
        ("set", set),
        ("threshold", thresholds),
        ("fault", faults),
    ];
    flags.extend(many.into_iter().flat_map(|(flag, values)| values.iter().map(move |value| (flag, value.clone()))));
    if *tls {
        flags.push(("tls", String::new()));
    }
    if *require_steady {
        flags.push(("require-steady", String::new()));
    }
    flags
}

/// For a POSIX shell: as it is if nothing in it means anything to one.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,%@+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_unusual_is_told_and_quoted() {
        let profile = Profile {
            mix: vec!["queue=a to=it's".into(), "queue=b".into()],
            thresholds: vec!["wait.p99<500ms".into()],
            require_steady: true,
            ..Profile::default()
        };
        let wanted = "quebert-loadtest run \\\n    --arrivals='constant 100/s 10s' \\\n    --seed=1 \\\n    \
            --mix='queue=a to=it'\\''s' \\\n    --mix=queue=b \\\n    --threshold='wait.p99<500ms' \\\n    --require-steady";
        assert_eq!(command(&profile), wanted);
    }
}
