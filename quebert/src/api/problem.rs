//! Errors of the API, after RFC 9457: each kind has a stable code, a status and a title. What went wrong inside is
//! logged where it happened, not told here.

use super::types::{FieldError, Problem};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use quebert_broker_adapter::admin::AdminError;
use quebert_dispatcher::ports::broker::PublishError;
use std::time::Duration;

/// The media type of problems.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// How long to wait for a broker that is away or full.
const BROKER_RETRY_AFTER: Duration = Duration::from_secs(2);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:ident, $title:literal;)*) => {
        /// The kinds of problem. Codes are stable: one is never renamed, nor used for something else.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code, for programs.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status that it comes with.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// The same words for every problem of this code.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// A query, a path or a header makes no sense.
    InvalidRequest = "invalid_request", BAD_REQUEST, "The request makes no sense";
    /// The body is no JSON.
    InvalidJson = "invalid_json", BAD_REQUEST, "The body is not JSON";
    /// The body is JSON, but not what this request takes.
    InvalidBody = "invalid_body", UNPROCESSABLE_ENTITY, "The body is not what this request takes";
    /// The body is JSON, but no task.
    InvalidTask = "invalid_task", UNPROCESSABLE_ENTITY, "The body is not a task";
    /// A task names a queue that there is none of.
    UnknownQueue = "unknown_queue", UNPROCESSABLE_ENTITY, "The task names a queue that does not exist";
    /// Body or batch are over a limit.
    TooLarge = "too_large", PAYLOAD_TOO_LARGE, "The request is larger than allowed";
    /// The body's content type is not taken.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The content type is not supported";
    /// The body did not come in time.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "The body did not arrive in time";
    /// No token, or one that is not known.
    Unauthorized = "unauthorized", UNAUTHORIZED, "A valid token is needed";
    /// The token lacks the role.
    Forbidden = "forbidden", FORBIDDEN, "The token does not allow this";
    /// Without tokens: the Host is no loopback name.
    UntrustedHost = "untrusted_host", FORBIDDEN, "The Host header is not a name of this machine";
    /// Without tokens: a page of another site asks.
    CrossSite = "cross_site", FORBIDDEN, "Requests of other sites are refused";
    /// Nothing has this path.
    NotFound = "not_found", NOT_FOUND, "There is nothing here";
    /// The path takes other methods.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The method is not allowed here";
    /// No such queue.
    QueueNotFound = "queue_not_found", NOT_FOUND, "There is no such queue";
    /// The task waits nowhere.
    TaskNotFound = "task_not_found", NOT_FOUND, "The task is not waiting anywhere";
    /// This dispatcher does not hold it, and the broker can't look for it.
    TaskNotHeld = "task_not_held", NOT_FOUND, "This dispatcher does not hold the task";
    /// No such dead letter.
    DeadLetterNotFound = "dead_letter_not_found", NOT_FOUND, "There is no such dead letter";
    /// The queue that a dead letter came from is not there, or not known.
    NoWayBack = "no_way_back", CONFLICT, "There is no queue to return to";
    /// No such operation, or it has been forgotten.
    OperationNotFound = "operation_not_found", NOT_FOUND, "There is no such operation";
    /// An attempt is under way, or the task is being settled.
    UnderWay = "under_way", CONFLICT, "An attempt is under way";
    /// The task has been given up: it is a dead letter.
    DeadLetter = "dead_letter", CONFLICT, "The task is a dead letter";
    /// The key came before, with another request.
    IdempotencyConflict = "idempotency_conflict", UNPROCESSABLE_ENTITY, "The Idempotency-Key was used for another request";
    /// The key's first request is still open.
    IdempotencyUnderWay = "idempotency_under_way", CONFLICT, "The first request with this Idempotency-Key is under way";
    /// Too many at a time.
    Busy = "busy", TOO_MANY_REQUESTS, "Too many of these are under way";
    /// This broker can't do that.
    NotSupported = "not_supported", NOT_IMPLEMENTED, "This broker cannot do that";
    /// There is no connection to the broker. Nothing was stored.
    BrokerUnavailable = "broker_unavailable", SERVICE_UNAVAILABLE, "The broker is not available";
    /// The broker takes no publishes for now. Nothing was stored.
    BrokerBlocked = "broker_blocked", SERVICE_UNAVAILABLE, "The broker accepts nothing at the moment";
    /// The broker refused it: the queue is at its limit, or the broker is in trouble. Nothing was stored.
    QueueFull = "queue_full", SERVICE_UNAVAILABLE, "The broker refused to store it";
    /// The broker has not confirmed: it may be stored or not.
    Unconfirmed = "unconfirmed", SERVICE_UNAVAILABLE, "It is not known whether it was stored";
    /// A bug.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something went wrong inside";
}

/// An error on its way to whoever asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    code: Code,
    detail: String,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
}

impl Fault {
    /// `detail` says for people what is wrong in this case; it must hold no secret.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after = matches!(code.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
            || code == Code::IdempotencyUnderWay;
        let retry_after = retry_after.then_some(BROKER_RETRY_AFTER);
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after }
    }

    /// With what is wrong with each field.
    #[must_use]
    pub fn fields(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// Its kind.
    pub fn code(&self) -> Code {
        self.code
    }

    /// As it is told.
    pub fn into_problem(self) -> Problem {
        Problem {
            kind: format!("https://quebert.dev/problems/{}", self.code.text()),
            title: self.code.title().to_owned(),
            status: self.code.status().as_u16(),
            code: self.code.text().to_owned(),
            detail: self.detail,
            errors: self.errors,
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let (code, retry_after) = (self.code, self.retry_after);
        let body = serde_json::to_vec(&self.into_problem()).expect("a problem is plain data");
        let mut response = (code.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(after) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"quebert\""));
        }
        response
    }
}

impl From<AdminError> for Fault {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Publish(error) => error.into(),
            AdminError::NoSuchPlace(_) => Self::new(Code::QueueNotFound, error.to_string()),
            AdminError::Unavailable(_) => Self::new(Code::BrokerUnavailable, error.to_string()),
            AdminError::Refused(_) => Self::new(Code::QueueFull, error.to_string()),
            AdminError::Unsupported(_) => Self::new(Code::NotSupported, error.to_string()),
            _ => Self::new(Code::Internal, error.to_string()),
        }
    }
}

impl From<PublishError> for Fault {
    fn from(error: PublishError) -> Self {
        match error {
            // The queue of a lane is not there: whoever operates this has to make it, and then it works.
            PublishError::Returned(_) => Self::new(Code::BrokerUnavailable, error.to_string()),
            PublishError::Refused(_) => Self::new(Code::QueueFull, error.to_string()),
            PublishError::Unfit(_) => Self::new(Code::TooLarge, format!("{error}; nothing was stored")),
            PublishError::NotConnected(_) => Self::new(Code::BrokerUnavailable, error.to_string()),
            PublishError::Unknown(_) => Self::new(
                Code::Unconfirmed,
                format!("{error}; sending it again with the same Idempotency-Key or the same id is safe"),
            ),
            _ => Self::new(Code::Internal, error.to_string()),
        }
    }
}
