//! Spans as OTLP wants them: the JSON form of `ExportTraceServiceRequest`.
//!
//! Ids are hexadecimal, 64-bit numbers are texts, enumerations are numbers:
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.

use omnivox_auth::secret::hex;
use omnivox_hub::traces::Context;
use serde_json::{Value as Json, json};

use super::span::{Record, Value};

/// The body of a request to the collector.
pub(super) fn request(resource: &[(String, String)], spans: &[Record]) -> Vec<u8> {
    let resource: Vec<Json> = resource.iter().map(|(key, value)| attribute(key, json!({ "stringValue": value }))).collect();
    let spans: Vec<Json> = spans.iter().map(span).collect();
    let scope = json!({ "name": "omnivox", "version": env!("CARGO_PKG_VERSION") });
    let scope_spans = json!([{ "scope": scope, "spans": spans }]);
    json!({ "resourceSpans": [{ "resource": { "attributes": resource }, "scopeSpans": scope_spans }] }).to_string().into_bytes()
}

fn span(record: &Record) -> Json {
    let attributes: Vec<Json> = record.attributes.iter().map(|(key, value)| attribute(key, any(value))).collect();
    let mut span = json!({
        "traceId": hex(&record.context.trace),
        "spanId": hex(&record.context.span),
        "flags": 1,
        "name": record.name,
        "kind": record.kind as u8,
        "startTimeUnixNano": record.start_unix_ns.to_string(),
        "endTimeUnixNano": record.end_unix_ns.to_string(),
        "attributes": attributes,
    });
    if let Some(parent) = &record.parent {
        span["parentSpanId"] = hex(parent).into();
    }
    if let Some(state) = &record.context.state {
        span["traceState"] = (&**state).into();
    }
    if !record.links.is_empty() {
        span["links"] = record.links.iter().map(link).collect();
    }
    if let Some(error) = &record.error {
        span["status"] = json!({ "code": ERROR, "message": error });
    }
    span
}

fn link(to: &Context) -> Json {
    let mut link = json!({ "traceId": hex(&to.trace), "spanId": hex(&to.span), "flags": 1 });
    if let Some(state) = &to.state {
        link["traceState"] = (&**state).into();
    }
    link
}

/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

fn attribute(key: &str, value: Json) -> Json {
    json!({ "key": key, "value": value })
}

fn any(value: &Value) -> Json {
    match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::Flag(flag) => json!({ "boolValue": flag }),
    }
}

/// How many spans the collector says it did not take.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    let Ok(answer) = serde_json::from_slice::<Json>(answer) else { return 0 };
    let count = &answer["partialSuccess"]["rejectedSpans"];
    count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0)
}
