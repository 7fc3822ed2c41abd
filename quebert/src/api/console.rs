//! The web console's files, built into the program. They are public: what they show comes from the API, which asks for a
//! token. No template, no markup made here.

use axum::{
    Router,
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use sha2::{Digest as _, Sha256};

/// Nothing but our own files and our own API; no inline script or style, and no page may show this one in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($path:literal $content_type:ident $name:literal;)*) => {
        /// Path, content type, content.
        const FILES: &[(&str, &str, &[u8])] =
            &[$(($path, $content_type, include_bytes!(concat!("../../console/", $name)))),*];
    };
}

files! {
    "/" HTML "index.html";
    "/console.css" CSS "console.css";
    "/app.js" SCRIPT "app.js";
    "/client.js" SCRIPT "client.js";
    "/console.js" SCRIPT "console.js";
    "/dead.js" SCRIPT "dead.js";
    "/dom.js" SCRIPT "dom.js";
    "/enqueue.js" SCRIPT "enqueue.js";
    "/feed.js" SCRIPT "feed.js";
    "/overview.js" SCRIPT "overview.js";
}

/// A path for each file.
pub(super) fn routes() -> Router {
    FILES.iter().fold(Router::new(), |router, &(path, content_type, content)| {
        let tag = etag(content);
        router.route(path, get(move |headers: HeaderMap| async move { answer(content_type, content, tag, &headers) }))
    })
}

fn answer(content_type: &'static str, content: &'static [u8], tag: HeaderValue, request: &HeaderMap) -> Response {
    const CONTENT_SECURITY_POLICY: HeaderName = header::CONTENT_SECURITY_POLICY;
    let known = request.get_all(header::IF_NONE_MATCH).iter().any(|tags| holds(tags, &tag));
    let mut response =
        if known { StatusCode::NOT_MODIFIED.into_response() } else { (StatusCode::OK, content).into_response() };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::ETAG, tag);
    // Kept, and asked for again each time: a new program must not meet an old console.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn holds(tags: &HeaderValue, tag: &HeaderValue) -> bool {
    let tags = tags.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    tags.into_iter().any(|t| t == b"*" || t.strip_prefix(b"W/").unwrap_or(t) == tag.as_bytes())
}

fn etag(content: &[u8]) -> HeaderValue {
    let hash: String = Sha256::digest(content).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{hash}\"")).expect("hexadecimal digits are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs};

    #[test]
    fn every_file_of_the_console_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/console");
        let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let there: BTreeSet<_> = names.map(|name| name.replace("index.html", "")).collect();
        let served: BTreeSet<_> = FILES.iter().map(|(path, ..)| path.trim_start_matches('/').to_owned()).collect();
        assert_eq!(served, there);
    }
}
