//! `subscribe` over its three transports: the same words mean the same, and whatever the server takes is printed.

use super::program::{Server, command};

const TRANSPORTS: [&str; 3] = ["ws", "sse", "poll"];

#[test]
fn what_few_readers_hold_comes_over_every_transport() {
    let server = Server::start(&["dev", "--port", "0"]);
    let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
    let payloads = [r#""\ud800""#, "1e999", &deep, r#"{"\ud800":1}"#, "1"];
    for payload in payloads {
        server.omnivox(&["publish", "odd", payload]);
    }
    let expected: String = payloads.iter().map(|payload| format!("{payload}\n")).collect();
    for transport in TRANSPORTS {
        let heard = server.omnivox(&["subscribe", "odd", "--transport", transport, "--since", "earliest", "--count", "5"]);
        assert_eq!(heard, expected, "{transport}");
    }
}

#[test]
fn since_means_the_same_over_every_transport() {
    let server = Server::start(&["dev", "--port", "0"]);
    let publish = |channel: &str, payload: &str| {
        let answer = server.omnivox(&["publish", channel, payload]);
        serde_json::from_str::<serde_json::Value>(&answer).expect("JSON")["id"].as_str().expect("an id").to_owned()
    };
    let id = publish("ga", "1");
    // Over a WebSocket each channel is replayed by itself, so that only this order is that of all transports.
    publish("ga", "2");
    publish("gb", "3");
    // The mark of both channels between `2` and `3`.
    let cursor = {
        let answer = server.get("/v1/poll?channel=ga&channel=gb&last=earliest&limit=2&timeout=0", "localhost");
        let body: serde_json::Value = serde_json::from_str(answer.rsplit("\r\n\r\n").next().expect("a body")).expect("JSON");
        body["last"].as_str().expect("a cursor").to_owned()
    };
    let check = |channels: &[&str], mark: &str, code: i32, stdout: &str, stderr: &str| {
        for transport in TRANSPORTS {
            let count = stdout.lines().count().max(1).to_string();
            let rest = ["--transport", transport, "--since", mark, "--count", &count];
            let arguments = [&["subscribe"], channels, &rest].concat();
            let output = command(&arguments).env("OMNIVOX_URL", &server.url).output().expect("the binary runs");
            let words = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {words}");
            assert_eq!(String::from_utf8_lossy(&output.stdout), stdout, "{arguments:?}: {words}");
            assert!(words.contains(stderr), "{arguments:?}: stderr lacks {stderr:?}: {words}");
            assert!(words.matches("gap").count() <= 1, "{arguments:?}: {words}");
        }
    };
    check(&["ga"], &id, 0, "2\n", "");
    check(&["ga"], "1", 0, "2\n", "");
    check(&["ga", "gb"], "earliest", 0, "1\n2\n3\n", "");
    check(&["ga", "gb"], &cursor, 0, "3\n", "");
    check(&["ga"], "elsewhere-1", 0, "1\n2\n", "gap: messages");
    check(&["ga"], "junk", 4, "", "the mark is not one that this server gave out");
    check(&["ga", "gb"], "junk", 4, "", "the mark is not one that this server gave out");
    check(&["ga", "gb"], "1", 2, "", "a place in one channel");
    check(&["ga", "gb"], &id, 2, "", "a place in one channel");
}
