//! The API's description, OpenAPI 3.1: what handlers say of themselves, and what is the same for all of them.

use super::{
    auth::Need,
    types::{EventView, FieldError, Problem},
};
use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Method, header};
use serde_json::{Map, Value, json};
use utoipa::{
    ToSchema,
    openapi::{ContactBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder},
};

/// Serves the description, at `/v1/openapi.json`.
pub(super) fn routes(document: OpenApi) -> Router {
    let text = Bytes::from(serde_json::to_vec(&finished(document)).expect("a description is plain data"));
    let answer = move || async move { ([(header::CONTENT_TYPE, "application/json")], text) };
    Router::new().route("/v1/openapi.json", get(answer))
}

/// What the description begins with.
pub(super) fn head() -> OpenApi {
    let license = LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("Quebert")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("HTTP push task queues. Errors are problems (RFC 9457); docs/api.md explains their codes."))
        .license(Some(license))
        .contact(Some(ContactBuilder::new().url(Some(env!("CARGO_PKG_REPOSITORY"))).build()))
        .build();
    OpenApiBuilder::new().info(info).build()
}

/// The whole description: what handlers can't say of themselves is added.
pub(super) fn finished(document: OpenApi) -> Value {
    let mut document = serde_json::to_value(document).expect("a description is plain data");
    let schemas = entry(entry(&mut document, "components"), "schemas");
    let schemas = schemas.as_object_mut().expect("made as an object");
    add_envelope(schemas);
    add::<Problem>(schemas);
    add::<FieldError>(schemas);
    add::<EventView>(schemas);
    entry(&mut document, "components")["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer", "description": "A token of `api.tokens` in the config."},
    });
    let paths = entry(&mut document, "paths").as_object_mut().expect("made as an object");
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().expect("a path item is an object") {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a path item's keys are methods");
            complete(operation, Need::of(&method, path));
        }
    }
    document
}

/// Says what the gate and the server answer before a handler is asked.
fn complete(operation: &mut Value, need: Need) {
    let has_body = operation.get("requestBody").is_some();
    let mut answers = vec![("400", "The request makes no sense"), ("500", "A bug")];
    if need == Need::Nothing {
        operation["security"] = json!([]);
    } else {
        operation["security"] = json!([{"bearer": []}]);
        answers.push(("401", "A valid token is needed"));
        answers
            .push(("403", "The token does not allow this; or without tokens, a strange Host or another site's page"));
        answers.push(("503", "The broker is away, blocked or full; see Retry-After"));
    }
    if has_body {
        operation["requestBody"]["required"] = true.into();
        answers.push(("408", "The body did not arrive in time"));
        answers.push(("413", "The request is larger than allowed"));
        answers.push(("415", "The content type is not supported"));
        answers.push(("422", "The body is not what this request takes"));
    }
    if let Some(role) = need.role() {
        let text = operation["description"].as_str().unwrap_or_default();
        operation["description"] = format!("{text}\n\nNeeds the role `{role}`.").trim_start().into();
    }
    let responses = entry(operation, "responses").as_object_mut().expect("made as an object");
    for (status, description) in answers {
        responses.entry(status).or_insert_with(|| json!({"description": description}));
    }
    for (status, response) in responses {
        if status.starts_with(['4', '5']) {
            let schema = json!({"$ref": "#/components/schemas/Problem"});
            response["content"] = json!({"application/problem+json": {"schema": schema}});
        }
        if status == "503" || status == "429" {
            response["headers"] = json!({"Retry-After": {
                "description": "Seconds to wait.", "required": true, "schema": {"type": "integer", "minimum": 1},
            }});
        }
    }
}

fn add<T: ToSchema>(schemas: &mut Map<String, Value>) {
    let schema = serde_json::to_value(T::schema()).expect("a schema is plain data");
    schemas.entry(T::name()).or_insert(schema);
}

/// The wire's schema of a task, with its parts moved to where OpenAPI keeps them.
fn add_envelope(schemas: &mut Map<String, Value>) {
    let mut envelope = quebert_wire::envelope_schema();
    let object = envelope.as_object_mut().expect("a schema is an object");
    object.remove("$schema");
    // The rest of the type's documentation is for readers of Rust.
    if let Some(Value::String(text)) = object.get_mut("description") {
        text.truncate(text.find("\n\n").unwrap_or(text.len()));
    }
    let parts = object.remove("$defs").unwrap_or_default();
    relocate(&mut envelope);
    schemas.insert("Envelope".to_owned(), envelope);
    for (name, mut part) in parts.as_object().cloned().unwrap_or_default() {
        relocate(&mut part);
        schemas.insert(name, part);
    }
}

fn relocate(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(target) if key == "$ref" => {
                        *target = target.replace("#/$defs/", "#/components/schemas/");
                    }
                    value => relocate(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(relocate),
        _ => {}
    }
}

fn entry<'v>(value: &'v mut Value, key: &str) -> &'v mut Value {
    let object = value.as_object_mut().expect("only objects are gone into");
    object.entry(key).or_insert_with(|| json!({}))
}
