//! A ledger on disk: a line of JSON with all but the records, then the records, 32 bytes each. It can be judged again, and
//! looked through by other programs. It is written whole, and never added to.

use super::{
    Book, Counts, Rules,
    extra::{Extra, Fault},
    judge::{Case, Findings, Verdict},
    record::{Record, Records},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _},
    path::Path,
};

/// What the first line begins with.
const FORMAT: &str = "quebert-loadtest ledger 1";
/// The longest first line: a million requests too many are in it.
const HEADER_MAX: u64 = 256 << 20;

/// A ledger that was read.
#[derive(Debug)]
pub struct LedgerFile {
    header: Header,
    records: Records,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: String,
    prefix: String,
    tasks: u64,
    rules: Rules,
    counts: Counts,
    extras: Vec<Extra>,
    faults: Vec<Fault>,
    found: Findings,
}

/// Why a ledger can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerFileError {
    /// The file system says no, or the file is shorter than it says.
    #[error("read the ledger")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("this is no ledger, or one of another version")]
    Format,
    /// Its first line is broken.
    #[error("the ledger's first line")]
    Header(#[from] serde_json::Error),
}

impl Book {
    /// Writes it.
    ///
    /// # Errors
    /// When the file system says no.
    pub fn save(&self, path: &Path, found: &Findings) -> io::Result<()> {
        let pages = self.pages();
        let header = Header {
            format: FORMAT.to_owned(),
            prefix: self.prefix().to_owned(),
            tasks: pages.records.len(),
            rules: self.rules().clone(),
            counts: pages.counts,
            extras: pages.extras.clone(),
            faults: pages.faults.clone(),
            found: found.clone(),
        };
        let mut out = BufWriter::new(File::create(path)?);
        serde_json::to_writer(&mut out, &header)?;
        out.write_all(b"\n")?;
        for record in pages.records.iter() {
            out.write_all(&record.to_bytes())?;
        }
        out.flush()
    }
}

impl LedgerFile {
    /// Reads one.
    ///
    /// # Errors
    /// When it can't be read, or is none.
    pub fn open(path: &Path) -> Result<Self, LedgerFileError> {
        let mut input = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        input.by_ref().take(HEADER_MAX).read_until(b'\n', &mut line)?;
        let start = format!("{{\"format\":\"{FORMAT}\"");
        if !line.starts_with(start.as_bytes()) {
            return Err(LedgerFileError::Format);
        }
        let header = serde_json::from_slice::<Header>(&line)?;
        let mut records = Records::default();
        let mut bytes = [0; Record::BYTES];
        for _ in 0..header.tasks {
            input.read_exact(&mut bytes)?;
            let record = Record::from_bytes(&bytes);
            if usize::from(record.class) >= header.rules.queue_of.len() {
                return Err(LedgerFileError::Format);
            }
            records.push(record);
        }
        Ok(Self { header, records })
    }

    /// Judges it again.
    pub fn judge(&self) -> Verdict {
        let Header { rules, counts, extras, faults, found, prefix, .. } = &self.header;
        Case { rules, counts, extras, faults, found, prefix }.judge(self.records.iter())
    }
}
