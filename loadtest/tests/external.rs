//! The tester beside a dispatcher that ran before it, over TLS: the program as somebody starts it, with a certificate that was
//! made first.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

mod common;

use common::quebert;
use quebert_loadtest::report::Report;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A process that ends with its guard.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A folder likewise.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("quebert-loadtest-external-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// With the addresses of its admin server and its API.
fn dispatcher(folder: &Folder, ca: &str) -> (Program, String, String) {
    let config = folder.path("quebert.toml");
    let text = format!(
        "[broker]\nurl = \"embedded:{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[api]\nlisten = \"127.0.0.1:0\"\n\
         [retry]\nmax_attempts = 20\nbackoff_min = \"1s\"\nbackoff_max = \"1m\"\n[http]\nca_file = {ca:?}\n\
         [http.guard]\nallow = [\"127.0.0.1\"]\n[metrics]\ndepth_interval = \"1s\"\n[log]\nformat = \"json\"\n[lanes.load]\n",
        folder.path("data"),
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(quebert());
    command.args(["run", "--config", &config]).current_dir(&folder.0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut program = Program(command.spawn().unwrap());
    let mut lines = BufReader::new(program.0.stderr.take().unwrap()).lines();
    let (mut admin, mut api) = (None, None);
    let mut seen = Vec::new();
    while admin.is_none() || api.is_none() {
        let line = lines.next().unwrap_or_else(|| panic!("it ended: {seen:#?}")).unwrap();
        let json = serde_json::from_str::<serde_json::Value>(&line).unwrap_or_default();
        let address = json["address"].as_str().map(str::to_owned);
        match json["message"].as_str() {
            Some("admin server listens") => admin = address,
            Some("API listens") => api = address,
            _ => {}
        }
        seen.push(line);
    }
    // It must never wait for somebody to read what it logs.
    std::thread::spawn(move || lines.for_each(drop));
    (program, format!("http://{}", admin.unwrap()), format!("http://{}", api.unwrap()))
}

fn tester(arguments: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_quebert-loadtest")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

#[test]
fn dispatchers_that_run_reach_executors_whose_certificate_they_trust_and_the_others_are_told_of() {
    let folder = Folder::new();
    let made = ["trusted", "strange"].map(|name| {
        let path = folder.path(name);
        let (code, told, _) = tester(&["certificate", &path]);
        assert!(code == 0 && told.contains(&format!("[http] ca_file = \"{path}/ca.pem\"")), "{code}: {told}");
        assert_eq!(fs::metadata(Path::new(&path).join("key.pem")).unwrap().permissions().mode() & 0o777, 0o600);
        let (code, _, told) = tester(&["certificate", &path]);
        assert!(code == 4 && told.contains("ca.pem: File exists"), "it would have been lost: {code}: {told}");
        path
    });
    let (_program, admin, api) = dispatcher(&folder, &format!("{}/ca.pem", made[0]));
    let json = folder.path("report.json");
    let run = |certificate: &str, more: &[&str]| {
        let certificate =
            [format!("--tls-cert={certificate}/certificate.pem"), format!("--tls-key={certificate}/key.pem")];
        let at = [format!("--broker={api}"), format!("--external={admin}"), format!("--json={json}")];
        let mut words = vec!["run", "--tls", "--executor=latency=2ms", "--quiet"];
        words.extend(certificate.iter().chain(&at).map(String::as_str).chain(more.iter().copied()));
        let (code, shown, told) = tester(&words);
        let report = fs::read_to_string(&json).map(|text| serde_json::from_str::<Report>(&text).unwrap());
        drop(fs::remove_file(&json));
        (code, shown + &told, report)
    };
    let (code, told, report) = run(&made[0], &["--arrivals=constant 40/s 2s", "--settle=5m"]);
    let verdict = report.unwrap().verdict;
    // A busy machine makes it invalid; what became of the tasks it does not touch.
    assert!(matches!(code, 0 | 3) && verdict.ok, "{code}: {told}");
    assert_eq!((verdict.confirmed, verdict.succeeded), (80, 80), "{told}");

    // A key of another certificate: nothing is run.
    let swapped = folder.path("swapped");
    fs::create_dir_all(&swapped).unwrap();
    for (from, file) in [(&made[0], "certificate.pem"), (&made[1], "key.pem")] {
        fs::copy(format!("{from}/{file}"), format!("{swapped}/{file}")).unwrap();
    }
    let (code, told, report) = run(&swapped, &[]);
    assert!(code == 4 && told.contains("use the executors' certificate with their key") && report.is_err(), "{told}");

    // An authority that the dispatcher does not know: nothing arrives, and the reason is told.
    let (code, told, report) = run(&made[1], &["--arrivals=constant 20/s 1s", "--settle=2s"]);
    let report = report.unwrap();
    assert_eq!((report.verdict.confirmed, report.verdict.executed), (20, 0), "{code}: {told}");
    let warnings = &report.validity.warnings;
    assert!(warnings.iter().any(|words| words.contains("in the dispatchers' http.ca_file?")), "{warnings:?}");
}
