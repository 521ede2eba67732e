//! The environment variables that every program with OpenTelemetry understands, as far as they mean a setting of `[traces]`.
//!
//! They lie between the defaults and the file: whatever is said of `[traces]` itself wins. `OTEL_SDK_DISABLED=true` lets them all be.
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>

/// The key of `[traces]`, the text for it, and the variable that it comes from.
pub(super) type Convention = (&'static str, String, &'static str);

/// What the environment says in OpenTelemetry's own words.
pub(super) fn conventions(environment: &[(String, String)]) -> Vec<Convention> {
    let said = |name: &str| environment.iter().find(|(known, text)| known == name && !text.trim().is_empty()).map(|(_, text)| text.trim());
    let is = |name: &str, word: &str| said(name).is_some_and(|text| text.eq_ignore_ascii_case(word));
    // gRPC is another protocol on another port; whoever asks for it means no exporter that we have.
    let protocol = said("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| said("OTEL_EXPORTER_OTLP_PROTOCOL"));
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") || protocol == Some("grpc") {
        return Vec::new();
    }
    let mut conventions: Vec<Convention> = Vec::new();
    if let Some(endpoint) = said(TRACES_ENDPOINT) {
        conventions.push(("endpoint", endpoint.to_owned(), TRACES_ENDPOINT));
    } else if let Some(base) = said(ENDPOINT) {
        conventions.push(("endpoint", format!("{}/v1/traces", base.trim_end_matches('/')), ENDPOINT));
    }
    if let Some((name, headers)) = [TRACES_HEADERS, HEADERS].into_iter().find_map(|name| Some((name, said(name)?))) {
        conventions.push(("headers", decoded(headers), name));
    }
    let named = said(SERVICE_NAME).map(|name| format!("service.name={name}"));
    let attributes = said(ATTRIBUTES).map(decoded);
    // The service's name comes last and wins over one among the attributes.
    let resource: Vec<String> = attributes.into_iter().chain(named).collect();
    if !resource.is_empty() {
        conventions.push(("resource", resource.join(","), ATTRIBUTES));
    }
    match said("OTEL_TRACES_SAMPLER").map(|sampler| sampler.trim_start_matches("parentbased_")) {
        Some("always_off") => conventions.push(("sample_ratio", "0".to_owned(), SAMPLER)),
        Some("traceidratio") => conventions.extend(said(SAMPLER).map(|ratio| ("sample_ratio", ratio.to_owned(), SAMPLER))),
        Some(_) | None => {}
    }
    conventions
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const TRACES_HEADERS: &str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER_ARG";

/// Pairs with percent-encoded values, decoded.
fn decoded(pairs: &str) -> String {
    let mut bytes = Vec::with_capacity(pairs.len());
    let mut rest = pairs.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match hex.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_programs_understand_is_understood() {
        let check = |environment: &[(&str, &str)], expected: &[(&str, &str)]| {
            let environment: Vec<_> = environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
            let found = conventions(&environment);
            let found: Vec<(&str, &str)> = found.iter().map(|(key, text, _)| (*key, text.as_str())).collect();
            assert_eq!(found, expected, "{environment:?}");
        };
        check(&[], &[]);
        check(&[(ENDPOINT, "http://c:4318/")], &[("endpoint", "http://c:4318/v1/traces")]);
        check(&[(ENDPOINT, "http://c:4318"), (TRACES_ENDPOINT, "http://t/x")], &[("endpoint", "http://t/x")]);
        check(&[(HEADERS, "authorization=Basic%20abc,x=1")], &[("headers", "authorization=Basic abc,x=1")]);
        check(
            &[(SERVICE_NAME, "chat"), (ATTRIBUTES, "service.name=a,b=%E2%82%AC")],
            &[("resource", "service.name=a,b=€,service.name=chat")],
        );
        check(&[("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), (SAMPLER, "0.1")], &[("sample_ratio", "0.1")]);
        check(&[("OTEL_TRACES_SAMPLER", "always_off"), (SAMPLER, "0.1")], &[("sample_ratio", "0")]);
        check(&[("OTEL_TRACES_SAMPLER", "always_on"), (SAMPLER, "0.1")], &[]);
        check(&[(ENDPOINT, "http://c:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], &[]);
        check(&[(ENDPOINT, "http://c:4318"), ("OTEL_SDK_DISABLED", "true")], &[]);
        check(&[(ENDPOINT, "http://c:4318"), ("OTEL_TRACES_EXPORTER", "none")], &[]);
    }
}
