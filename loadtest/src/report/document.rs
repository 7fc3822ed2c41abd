//! Files that the tester wrote, read again: a run or a sweep, of this version of the schema or an older one.

use super::{Report, SCHEMA_VERSION, Sweep};
use std::str::FromStr;

/// What is in a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// One run.
    Run(Box<Report>),
    /// A sweep.
    Sweep(Box<Sweep>),
}

/// Why a file is not understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// It is none of ours.
    #[error("it is no report of quebert-loadtest")]
    Json(#[source] serde_json::Error),
    /// It is newer than this program.
    #[error("its schema has version {0}, and this program knows versions up to {SCHEMA_VERSION}")]
    Newer(u64),
}

impl FromStr for Document {
    type Err = DocumentError;

    fn from_str(text: &str) -> Result<Self, DocumentError> {
        let value = serde_json::from_str::<serde_json::Value>(text).map_err(DocumentError::Json)?;
        let version = value.get("schema_version").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if version > SCHEMA_VERSION.into() {
            return Err(DocumentError::Newer(version));
        }
        // A sweep has points, and a run none.
        let document = if value.get("points").is_some() {
            serde_json::from_value(value).map(Self::Sweep)
        } else {
            serde_json::from_value(value).map(Self::Run)
        };
        document.map_err(DocumentError::Json)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::report, *};
    use serde_json::{Value, json};

    fn value() -> Value {
        serde_json::to_value(report()).unwrap()
    }

    fn read(value: &Value) -> Result<Document, DocumentError> {
        value.to_string().parse()
    }

    #[test]
    fn a_report_of_the_first_version_is_still_read() {
        let mut old = value();
        old["schema_version"] = json!(1);
        let mut leave_out = |part: &str, fields: &[&str]| {
            for element in old[part].as_array_mut().unwrap() {
                fields.iter().for_each(|field| drop(element.as_object_mut().unwrap().remove(*field).unwrap()));
            }
        };
        leave_out("seconds", &["in_flight", "slots"]);
        leave_out("processes", &["looks_s"]);
        let wanted = Report { schema_version: 1, ..report() };
        assert_eq!(read(&old).unwrap(), Document::Run(Box::new(wanted)));
    }

    #[test]
    fn a_newer_report_and_what_is_none_are_refused() {
        let mut newer = value();
        newer["schema_version"] = json!(SCHEMA_VERSION + 1);
        assert!(matches!(read(&newer), Err(DocumentError::Newer(version)) if version == u64::from(SCHEMA_VERSION) + 1));
        for text in ["", "[]", "{}", "{\"points\": []}"] {
            assert!(matches!(text.parse::<Document>(), Err(DocumentError::Json(_))), "{text}");
        }
    }

    #[test]
    fn a_sweep_is_told_by_its_points() {
        let report = report();
        let sweep = Sweep {
            schema_version: SCHEMA_VERSION,
            version: report.version,
            started_at_ms: 1,
            environment: report.environment,
            profile: report.profile,
            demands: Vec::new(),
            points: Vec::new(),
            notes: Vec::new(),
        };
        assert_eq!(read(&serde_json::to_value(&sweep).unwrap()).unwrap(), Document::Sweep(Box::new(sweep)));
    }
}
