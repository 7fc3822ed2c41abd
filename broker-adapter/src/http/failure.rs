//! Which class of failure an error of hyper's is. Decides nothing about retries.

use super::connect::ConnectError;
use quebert_dispatcher::outcome::{Failure, FailureKind};
use std::{error::Error, io};

/// Nothing of the request was sent.
pub(super) fn unreached(error: ConnectError) -> Failure {
    Failure { kind: error.kind, detail: error.detail, reached: false }
}

/// The exchange went wrong after the request, or some of it, may have been written.
pub(super) fn of_exchange(error: &hyper::Error) -> Failure {
    let causes = || std::iter::successors(Some(error as &(dyn Error + 'static)), |&e| e.source());
    let io = causes().find_map(|e| e.downcast_ref::<io::Error>());
    let tls = io.and_then(|e| e.get_ref()?.downcast_ref::<rustls::Error>());
    let kind = match (tls, io.map(io::Error::kind)) {
        (Some(_), _) => FailureKind::Tls,
        _ if error.is_parse() => FailureKind::Protocol,
        // What hyper says of chunks that are none.
        (None, Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)) => FailureKind::Protocol,
        _ => FailureKind::ResetBeforeResponse,
    };
    let mut detail = String::new();
    for cause in causes() {
        let text = cause.to_string();
        // Some of hyper's errors repeat their cause.
        if !detail.ends_with(&text) {
            if !detail.is_empty() {
                detail.push_str(": ");
            }
            detail.push_str(&text);
        }
    }
    Failure { kind, detail, reached: !tls.is_some_and(refuses_certificate) }
}

/// With TLS 1.3 a server that wants another client certificate says so only when we believe to be connected. It has
/// not given our request to anybody then.
fn refuses_certificate(error: &rustls::Error) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        error,
        rustls::Error::AlertReceived(
            Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
        )
    )
}
