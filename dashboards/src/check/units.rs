//! Grafana's names of units, as far as these dashboards need any. Not all of its list: what isn't here is either wrong or
//! new, and then it is looked up once.

/// From Grafana's value formats.
pub(super) const UNITS: [&str; 7] = ["none", "short", "percentunit", "s", "bytes", "ops", "reqps"];
