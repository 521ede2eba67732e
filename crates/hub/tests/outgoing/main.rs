//! Outgoing requests against back ends that misbehave in every way that we know.

mod backend;

use std::time::Duration;

use backend::{Backend, Step};
use bytes::Bytes;
use omnivox_hub::outgoing::{Outgoing, OutgoingError, OutgoingSettings, Reach, Request, Url};
use tokio::runtime::Handle;

fn client(settings: OutgoingSettings) -> Outgoing {
    Outgoing::new(settings, Handle::current())
}

fn small(url: &str) -> Request {
    Request { body_bytes_max: 64, ..Request::get(Url::parse(url).unwrap()) }
}

/// What became of a request, in one line.
async fn outcome(outgoing: &Outgoing, request: Request) -> String {
    match outgoing.fetch(request).await {
        Ok(answer) => format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
        Err(error) => format!("{}: {error}", error.label()),
    }
}

#[tokio::test]
async fn answers_are_read_within_their_bounds() {
    let check = async |answer: &str, expected: &str| {
        let backend = Backend::start(vec![Step::Say(answer.to_owned()), Step::Hang]).await;
        let found = outcome(&client(OutgoingSettings::default()), small(&backend.url("/"))).await;
        assert!(found.starts_with(expected), "{answer:?}: {found}");
    };
    check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "200 ok").await;
    check("HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno", "500 no").await;
    check("HTTP/1.1 304 Same\r\n\r\n", "304 ").await;
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "200 ok").await;
    check("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", "redirect: the answer is a redirect (302)")
        .await;
    check("HTTP/1.1 200 OK\r\ncontent-length: 65\r\n\r\n", "body_too_large: the answer has more than 64 bytes").await;
    let endless = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}", "10\r\n0123456789abcdef\r\n".repeat(5));
    check(&endless, "body_too_large").await;
    check("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nxx", "encoded").await;
    check("SSH-2.0-OpenSSH\r\n\r\n", "malformed").await;
    check(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(65)), "malformed").await;
    check(&format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(70_000)), "malformed").await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_and_so_is_one_that_never_comes() {
    let outgoing = client(OutgoingSettings::default());
    let backend =
        Backend::start(vec![Step::SayAndClose("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_owned()), Step::Close, Step::Hang])
            .await;
    assert!(outcome(&outgoing, small(&backend.url("/"))).await.starts_with("closed"));
    assert!(outcome(&outgoing, small(&backend.url("/"))).await.starts_with("closed"));
    let patient = Request { deadline: Duration::from_millis(50), ..small(&backend.url("/")) };
    assert!(outcome(&outgoing, patient).await.starts_with("deadline: no whole answer within 50 ms"));
    let nobody = outcome(&outgoing, small("http://127.0.0.1:1/")).await;
    assert!(nobody.starts_with("connect: no connection to `127.0.0.1`"), "{nobody}");
    let nowhere = outcome(&outgoing, small("http://name.invalid/")).await;
    assert!(nowhere.starts_with("resolve: `name.invalid`"), "{nowhere}");
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let fine = || Step::Say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned());
    let backend = Backend::start(vec![fine(), fine(), fine(), Step::Close, fine()]).await;
    let outgoing = client(OutgoingSettings::default());
    for _ in 0..3 {
        assert_eq!(outcome(&outgoing, small(&backend.url("/a?b"))).await, "200 ok");
    }
    assert_eq!(backend.connections(), 1);
    assert!(backend.requests()[0].starts_with("GET /a?b HTTP/1.1\r\nhost: 127.0.0.1:"), "{:?}", backend.requests());
    // The back end closes the kept connection under the fourth request; it may be repeated, so it is, on a new one.
    assert_eq!(outcome(&outgoing, small(&backend.url("/"))).await, "200 ok");
    assert_eq!(backend.connections(), 2);
    // Somebody else's URL never goes over the operator's connection.
    let foreign = Request { reach: Reach::Public, ..small(&backend.url("/")) };
    assert!(outcome(&outgoing, foreign).await.starts_with("forbidden"));
}

#[tokio::test]
async fn what_may_not_be_repeated_is_not() {
    let fine = || Step::Say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned());
    let backend = Backend::start(vec![fine(), Step::Close, fine()]).await;
    let outgoing = client(OutgoingSettings::default());
    let post = || Request::post_json(Url::parse(&backend.url("/")).unwrap(), Bytes::from_static(b"{}"));
    assert_eq!(outcome(&outgoing, post()).await, "200 ok");
    assert!(outcome(&outgoing, post()).await.starts_with("closed"), "the back end may have acted on it already");
    assert!(backend.requests()[1].ends_with("\r\n\r\n{}"), "{:?}", backend.requests());
}

#[tokio::test]
async fn foreign_urls_reach_nothing_that_is_not_public() {
    let outgoing = client(OutgoingSettings::default());
    let check = async |outgoing: &Outgoing, host: &str, expected: &str| {
        let request = Request { reach: Reach::Public, deadline: Duration::from_secs(5), ..small(&format!("http://{host}:1/")) };
        let found = outcome(outgoing, request).await;
        assert!(found.starts_with(expected), "{host}: {found}");
    };
    for host in [
        "127.0.0.1",
        "localhost",
        "10.0.0.1",
        "169.254.169.254",
        "192.168.0.1",
        "172.16.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fd00::1]",
        "[fe80::1]",
        "2130706433",
        "0x7f.1",
        "127.1",
    ] {
        check(&outgoing, host, "forbidden").await;
    }
    assert_eq!(outgoing.counters().forbidden.load(std::sync::atomic::Ordering::Relaxed), 20);
    let listed = client(OutgoingSettings { listed: vec!["127.0.0.0/8".parse().unwrap()], ..OutgoingSettings::default() });
    check(&listed, "127.0.0.1", "connect").await;
    check(&listed, "10.0.0.1", "forbidden").await;
}

#[tokio::test]
async fn connections_have_an_end() {
    let backend = Backend::start(vec![Step::Say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned()), Step::Hang]).await;
    let other = Backend::start(vec![Step::Say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned()), Step::Hang]).await;
    let outgoing = client(OutgoingSettings { connections_max: 1, ..OutgoingSettings::default() });
    assert_eq!(outcome(&outgoing, small(&backend.url("/"))).await, "200 ok");
    // The kept connection makes room for one to somewhere else.
    assert_eq!(outcome(&outgoing, small(&other.url("/"))).await, "200 ok");
    let waiting = tokio::spawn({
        let (outgoing, request) = (outgoing.clone(), small(&other.url("/")));
        async move { outgoing.fetch(request).await }
    });
    other.wait_for_requests(2).await;
    assert_eq!(outgoing.fetch(small(&backend.url("/"))).await.unwrap_err(), OutgoingError::Busy(1));
    waiting.abort();
}

#[tokio::test]
async fn only_certificates_of_known_authorities_are_believed() {
    let tls = backend::certificates();
    let fine = || Step::Say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned());
    let backend = Backend::start_tls(vec![fine(), fine()], &tls).await;
    let file = std::env::temp_dir().join(format!("omnivox-authority-{}.pem", std::process::id()));
    std::fs::write(&file, &tls.authority_pem).unwrap();
    let knowing = client(OutgoingSettings { authorities: Some(file.clone()), ..OutgoingSettings::default() });
    let url = format!("https://localhost:{}/", backend.port());
    assert_eq!(outcome(&knowing, small(&url)).await, "200 ok");
    let wrong_name = outcome(&knowing, small(&format!("https://127.0.0.1:{}/", backend.port()))).await;
    assert!(wrong_name.starts_with("tls: no TLS with `127.0.0.1`"), "{wrong_name}");
    std::fs::write(&file, backend::certificates().authority_pem).unwrap();
    let strange = client(OutgoingSettings { authorities: Some(file.clone()), ..OutgoingSettings::default() });
    let unknown = outcome(&strange, small(&url)).await;
    assert!(unknown.starts_with("tls: ") && unknown.contains("outgoing.ca_file"), "{unknown}");
    std::fs::remove_file(&file).unwrap();
    let none = client(OutgoingSettings { authorities: Some(file), ..OutgoingSettings::default() });
    assert!(outcome(&none, small(&url)).await.starts_with("authorities: "), "a missing file is named");
}
