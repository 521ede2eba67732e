//! Sampling, belonging and the bound of a tracer, without a collector.

use std::net::{IpAddr, Ipv4Addr};

use omnivox_core::Framing;
use omnivox_core::http::Upgrade;
use omnivox_core::name::ChannelName;
use omnivox_core::{Draft, Payload};
use omnivox_dialects::native::{Native, NativeSettings};
use omnivox_hub::outgoing::OutgoingSettings;

use super::*;

/// A tracer whose spans nobody takes, and what runs its task.
fn tracer(change: impl FnOnce(&mut TraceSettings)) -> (Arc<Tracer>, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut settings = TraceSettings::new(Url::parse("http://127.0.0.1:9/v1/traces").expect("a URL"));
    change(&mut settings);
    let outgoing = Outgoing::new(OutgoingSettings::default(), runtime.handle().clone());
    (Tracer::start(settings, outgoing, 7), runtime)
}

fn router() -> Router {
    Router::new(vec![Arc::new(Native::new(NativeSettings::default()))]).expect("one dialect clashes with none")
}

fn request<'a>(headers: &'a [(&'a str, &'a [u8])]) -> Request<'a> {
    Request {
        method: "POST",
        path: "/v1/publish",
        query: "",
        headers,
        body: b"",
        remote: IpAddr::V4(Ipv4Addr::LOCALHOST),
        secure: false,
        upgrade: Upgrade::None,
        stream_framing: Framing::Chunk,
    }
}

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn the_caller_or_the_ratio_decides() {
    let check = |ratio: f64, follow_callers: bool, caller: Option<&str>, expected: bool| {
        let (tracer, _runtime) = tracer(|settings| {
            settings.sample_ratio = ratio;
            settings.follow_callers = follow_callers;
        });
        let headers: Vec<(&str, &[u8])> = caller.iter().map(|text| ("traceparent", text.as_bytes())).collect();
        let (span, _) = tracer.request(&request(&headers), &router(), 0);
        assert_eq!(span.is_some(), expected, "ratio {ratio}, {caller:?} followed: {follow_callers}");
        if let (Some(span), Some(caller)) = (&span, caller.and_then(Context::parse)) {
            let record = span.record().expect("it goes on");
            assert_eq!((record.context.trace, record.parent), (caller.trace, Some(caller.span)), "it is a part of the caller's trace");
        }
    };
    let unsampled = CALLER.replace("-01", "-00");
    check(1.0, true, None, true);
    check(0.0, true, None, false);
    check(0.0, true, Some(CALLER), true);
    check(1.0, true, Some(&unsampled), false);
    check(0.0, false, Some(CALLER), false);
    check(1.0, false, Some(&unsampled), true);
    check(1.0, true, Some("nonsense"), true);
}

#[test]
fn the_ratio_is_the_part_of_traces_that_is_made() {
    let (tracer, _runtime) = tracer(|settings| {
        settings.sample_ratio = 0.25;
        settings.spans_per_second_max = u32::MAX;
    });
    let made = (0..10_000).filter(|_| tracer.samples(&tracer.trace_id())).count();
    assert!((2_200..2_800).contains(&made), "{made} of 10,000");
}

#[test]
fn a_flood_of_spans_is_bounded_and_counted() {
    let (tracer, _runtime) = tracer(|settings| settings.spans_per_second_max = 10);
    let router = router();
    let begun = (0..1_000).filter(|_| tracer.request(&request(&[]), &router, 0).0.is_some()).count();
    assert!((10..1_000).contains(&begun), "{begun} began");
    let dropped = tracer.metrics().iter().find(|(name, ..)| *name == "trace_spans_dropped_total").map(|metric| metric.3);
    assert_eq!(dropped, Some(1_000 - begun as u64));
}

#[test]
fn what_does_not_fit_into_the_queue_is_dropped_and_counted() {
    let (tracer, _runtime) = tracer(|settings| settings.queue_max = 3);
    let router = router();
    // The task that would take them runs on a runtime that nobody drives.
    (0..5).for_each(|_| drop(tracer.request(&request(&[]), &router, 0)));
    assert_eq!(tracer.metrics()[1].3, 2);
}

#[test]
fn commands_belong_to_their_request_or_are_linked_to_it() {
    let (tracer, _runtime) = tracer(|_| {});
    let request = tracer.request(&request(&[]), &router(), 0).1.expect("a span");
    let draft = |channel: &str| {
        let name = ChannelName::parse(channel).expect("a name");
        Command::Publish([Box::new(Draft::new(name, Payload::Json(bytes::Bytes::from_static(b"\"secret\""))))].into_iter().collect())
    };
    let below = tracer.command_of_request(&request, &draft("chat"), "native").expect("a span");
    let below = below.record().expect("it goes on");
    assert_eq!((below.context.trace, below.parent, &below.links[..]), (request.trace, Some(request.span), &[][..]));
    let own = tracer.command_of_carrier(Some(&request), &draft("$secret"), "native").expect("a span");
    let own = own.record().expect("it goes on");
    assert!(own.context.trace != request.trace && own.parent.is_none() && own.links == [request]);
    let shown = |record: &span::Record| String::from_utf8(otlp::request(&[], std::slice::from_ref(record))).expect("JSON is text");
    assert!(shown(below).contains(r#""stringValue":"chat""#) && !shown(below).contains("secret"), "{}", shown(below));
    assert!(!shown(own).contains("secret"), "neither the payload nor a channel of the server's own: {}", shown(own));
}

#[test]
fn what_follows_from_a_command_is_a_part_of_its_trace_or_told_that_none_is_made() {
    // The ratio, the caller and its state; then the trace of what follows, the same one or another, whether it is made, and the state that goes on.
    let check = |ratio: f64, caller: Option<(&str, &str)>, same_trace: bool, sampled: bool, state: Option<&str>| {
        let (tracer, _runtime) = tracer(|settings| settings.sample_ratio = ratio);
        let headers: Vec<(&str, &[u8])> =
            caller.iter().flat_map(|(parent, state)| [("traceparent", parent.as_bytes()), ("tracestate", state.as_bytes())]).collect();
        let (request_span, request) = tracer.request(&request(&headers), &router(), 0);
        let span = request.as_ref().and_then(|request| tracer.command_of_request(request, &Command::Ticket, "native"));
        assert_eq!(span.is_some(), sampled && request_span.is_some());
        let follows = tracer.trace(span.as_ref(), request.as_ref()).context;
        let whose =
            caller.and_then(|(parent, _)| Context::parse(parent)).or_else(|| request_span.as_ref().and_then(Span::context).cloned());
        assert_eq!(whose.is_some_and(|whose| whose.trace == follows.trace), same_trace, "ratio {ratio}, {caller:?}");
        assert_eq!((follows.sampled, follows.state.as_deref()), (sampled, state), "ratio {ratio}, {caller:?}");
        let span = span.as_ref().and_then(Span::context).map(|context| context.span);
        assert!(span.is_none_or(|span| span == follows.span), "it is below the command");
    };
    let unsampled = CALLER.replace("-01", "-00");
    check(1.0, None, true, true, None);
    check(1.0, Some((CALLER, "a=1")), true, true, Some("a=1"));
    check(1.0, Some((&unsampled, "a=1")), true, false, Some("a=1"));
    check(1.0, Some((&unsampled, "no state")), true, false, None);
    check(0.0, None, false, false, None);
}
