//! Files that the tester wrote, read again: a run or a sweep, of this version of the schema or an older one.

use super::{Report, SCHEMA_VERSION, SWEEP_SCHEMA_VERSION, Sweep};
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
    #[error("its schema has version {version}, and this program knows versions up to {known}")]
    Newer {
        /// Its version.
        version: u64,
        /// The newest that is known.
        known: u32,
    },
}

impl FromStr for Document {
    type Err = DocumentError;

    fn from_str(text: &str) -> Result<Self, DocumentError> {
        let value = serde_json::from_str::<serde_json::Value>(text).map_err(DocumentError::Json)?;
        let version = value.get("schema_version").and_then(serde_json::Value::as_u64).unwrap_or(0);
        // A sweep has points, and a run none.
        let is_sweep = value.get("points").is_some();
        let known = if is_sweep { SWEEP_SCHEMA_VERSION } else { SCHEMA_VERSION };
        if version > known.into() {
            return Err(DocumentError::Newer { version, known });
        }
        let document = if is_sweep {
            serde_json::from_value(value).map(Self::Sweep)
        } else {
            serde_json::from_value(value).map(Self::Run)
        };
        document.map_err(DocumentError::Json)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{report, sweep},
        *,
    };
    use serde_json::{Value, json};

    fn value() -> Value {
        serde_json::to_value(report()).unwrap()
    }

    fn sweep_value() -> Value {
        serde_json::to_value(sweep()).unwrap()
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
    fn what_is_newer_and_what_is_none_of_ours_are_refused() {
        for (mut newer, known) in [(value(), SCHEMA_VERSION), (sweep_value(), SWEEP_SCHEMA_VERSION)] {
            newer["schema_version"] = json!(known + 1);
            let refused = read(&newer).unwrap_err();
            assert!(
                matches!(refused, DocumentError::Newer { version, known: k } if (version, k) == (u64::from(known) + 1, known))
            );
        }
        for text in ["", "[]", "{}", "{\"points\": []}"] {
            assert!(matches!(text.parse::<Document>(), Err(DocumentError::Json(_))), "{text}");
        }
    }

    #[test]
    fn a_sweep_is_told_by_its_points_and_one_of_the_second_version_is_still_read() {
        assert_eq!(read(&sweep_value()).unwrap(), Document::Sweep(Box::new(sweep())));
        let mut old = sweep_value();
        old["schema_version"] = json!(2);
        old.as_object_mut().unwrap().remove("scaling").unwrap();
        for point in old["points"].as_array_mut().unwrap() {
            for field in ["dispatchers", "slots", "window", "saturated"] {
                point.as_object_mut().unwrap().remove(field).unwrap();
            }
        }
        let Document::Sweep(read) = read(&old).unwrap() else { panic!("it is a sweep") };
        assert_eq!((read.points.len(), &read.scaling, read.points[0].slots), (sweep().points.len(), &Vec::new(), None));
    }
}
