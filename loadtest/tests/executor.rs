//! The executors alone, from the command line, over TLS: who trusts the authority that they tell is served, and nobody else.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::Arc,
};

/// The program, which ends with its guard.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn client(trusted: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    CertificateDer::pem_slice_iter(trusted).for_each(|ca| roots.add(ca.unwrap()).unwrap());
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn get(address: &str, client: Arc<ClientConfig>) -> std::io::Result<String> {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TcpStream::connect(address)?;
    let mut line = rustls::StreamOwned::new(rustls::ClientConnection::new(client, name).unwrap(), stream);
    line.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    line.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Where the first executor listens.
fn address(program: &mut Program) -> String {
    let mut line = String::new();
    BufReader::new(program.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line.trim().strip_prefix("slow https://").unwrap().to_owned()
}

#[test]
fn executors_alone_can_be_who_they_were_at_their_last_start() {
    let folder = std::env::temp_dir().join(format!("quebert-loadtest-certificate-{}", std::process::id()));
    let tester = || Command::new(env!("CARGO_BIN_EXE_quebert-loadtest"));
    let made = tester().arg("certificate").arg(&folder).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let ca = std::fs::read(folder.join("ca.pem")).unwrap();
    for _ in 0..2 {
        let mut command = tester();
        command.args(["executor", "--executor=name=slow latency=1ms status=418:100%", "--tls", "--tls-cert"]);
        command.arg(folder.join("certificate.pem")).arg("--tls-key").arg(folder.join("key.pem"));
        let mut program = Program(command.stdout(Stdio::piped()).spawn().unwrap());
        assert!(get(&address(&mut program), client(&ca)).unwrap().starts_with("HTTP/1.1 418"));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn executors_alone_serve_https_to_those_who_trust_the_authority_that_they_wrote() {
    let file = std::env::temp_dir().join(format!("quebert-loadtest-ca-{}.pem", std::process::id()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_quebert-loadtest"));
    command.args(["executor", "--executor=name=slow latency=1ms status=418:100%", "--tls"]);
    let told = command.output().unwrap();
    assert_eq!(told.status.code(), Some(4), "nobody could trust it: {told:?}");
    let program = command.arg("--ca").arg(&file).stdout(Stdio::piped()).spawn().unwrap();
    let mut program = Program(program);
    let address = address(&mut program);
    let ca = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(!String::from_utf8(ca.clone()).unwrap().contains("PRIVATE"), "the key stays where it is");
    assert!(get(&address, client(&ca)).unwrap().starts_with("HTTP/1.1 418"));
    let refused = get(&address, client(&[])).unwrap_err().to_string();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
}
