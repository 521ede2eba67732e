//! What back ends do over HTTP: emits, joins, leaves, goodbyes, a look around.

use super::super::SocketIoSettings;
use super::super::api::CALLS;
use super::{check, plain};

/// `a` and `b` are in `/`, `a` in the room `x`, both with a user; ids `$id1` and `$id2`.
const TWO: &str = r#"
! user ann
a> WS /socket.io/?EIO=4&transport=websocket
a< 101
a< 0…
a> 40{"token":"t"}
a< 40{"sid":"$id1"}
a> 421["join","x"]
a< 431[{"ok":true,…
! user bob
b> WS /socket.io/?EIO=4&transport=websocket
b< 101
b< 0…
b> 40{"token":"t"}
b< 40{"sid":"$id2"}
"#;

/// One call, the answer, and what the two hear of it.
#[track_caller]
fn call(target: &str, body: &str, answer: &str, then: &str) {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let body = if body.is_empty() { String::new() } else { format!("    content-type: application/json\n    | {body}\n") };
    check(plain(), &format!("{TWO}> {method} /v1/socketio/{target}\n{body}< {answer}\n{then}"));
}

#[test]
fn emits_go_to_rooms() {
    let ok = r#"200 application/json {"id":"z-1","offset":"z.1","duplicate":false,"sockets":0}"#;
    call("emit", r#"{"rooms":"x","event":"e","args":[1,{"a":[]}]}"#, ok, "? publish x event=e [1,{\"a\":[]}]\na< 42[\"e\",1,{\"a\":[]}]\n");
    call("emit", r#"{"rooms":["x","y","x"],"event":"e","args":["u"]}"#, ok, "? publish x+y event=e \"u\"\na< 42[\"e\",\"u\"]\n");
    call("emit", r#"{"rooms":["x"],"except":{"rooms":["x"]},"event":"e"}"#, ok, "");
    call("emit", r#"{"rooms":["x"],"except":{"users":["ann"]},"event":"e"}"#, ok, "");
    call("emit", r#"{"rooms":["x"],"except":{"sockets":["$id1"]},"event":"e"}"#, ok, "");
    call("emit", r#"{"rooms":["x"],"except":{"sockets":["$id2"]},"event":"e"}"#, ok, "a< 42[\"e\"]\n");
    call("emit", r#"{"namespace":"/n","rooms":["x"],"event":"e"}"#, ok, "? publish n/x event=e null\n");
    call(
        "emit",
        r#"{"rooms":["x"],"event":"e","args":[{"_placeholder":true,"num":0,"base64":"AQI="}]}"#,
        ok,
        "a< 451-[\"e\",{\"_placeholder\":true,\"num\":0}]\na< [binary] 0102\n",
    );
}

#[test]
fn emits_go_to_sockets_users_and_namespaces() {
    let told = |count: u32| format!(r#"200 application/json {{"sockets":{count}}}"#);
    call("emit", r#"{"event":"all","args":[1]}"#, &told(2), "a< 42[\"all\",1]\nb< 42[\"all\",1]\n");
    call("emit", r#"{"event":"all","except":{"rooms":["x"]}}"#, &told(1), "b< 42[\"all\"]\n");
    call("emit", r#"{"sockets":"$id2","event":"e","args":[null]}"#, &told(1), "b< 42[\"e\",null]\n");
    call("emit", r#"{"users":["ann","nobody"],"event":"e"}"#, &told(1), "a< 42[\"e\"]\n");
    call("emit", r#"{"sockets":["strange"],"event":"e"}"#, &told(0), "");
    call("emit", r#"{"namespace":"/n","event":"e"}"#, &told(0), "");
    // In a room and named too: once.
    let both = r#"200 application/json {"id":"z-1","offset":"z.1","duplicate":false,"sockets":1}"#;
    call("emit", r#"{"rooms":["x"],"users":["ann","bob"],"event":"e","args":[1]}"#, both, "a< 42[\"e\",1]\nb< 42[\"e\",1]\n");
}

#[test]
fn what_is_volatile_is_told_to_the_sockets_in_rooms_and_not_published() {
    let told = |count: u32| format!(r#"200 application/json {{"sockets":{count}}}"#);
    call("emit", r#"{"rooms":"x","event":"e","args":[1],"volatile":true}"#, &told(1), "a< 42[\"e\",1]\n");
    call("emit", r#"{"rooms":["x","y"],"users":["bob"],"event":"e","volatile":true}"#, &told(2), "a< 42[\"e\"]\nb< 42[\"e\"]\n");
    call("emit", r#"{"rooms":"x","except":{"rooms":"x"},"event":"e","volatile":true}"#, &told(0), "");
    call("emit", r#"{"event":"e","volatile":true}"#, &told(2), "a< 42[\"e\"]\nb< 42[\"e\"]\n");
    let ok = r#"200 application/json {"id":"z-1","offset":"z.1","duplicate":false,"sockets":0}"#;
    call("emit", r#"{"rooms":"x","event":"e","volatile":false}"#, ok, "a< 42[\"e\"]\n");
    check(
        plain(),
        "! deny manage forbidden only for managers\n> POST /v1/socketio/emit\n    content-type: application/json\n    | {\"rooms\":\"x\",\"event\":\"e\",\"volatile\":true}\n< 403 application/json {\"error\":{\"code\":\"forbidden\",\"message\":\"only for managers\"}}\n",
    );
}

#[test]
fn an_emit_that_was_published_before_is_not_told_again() {
    let emit = "POST /v1/socketio/emit\n    content-type: application/json\n    | {\"rooms\":[\"x\"],\"users\":[\"bob\"],\"event\":\"e\",\"id\":\"once\"}\n";
    check(
        plain(),
        &format!(
            "{TWO}> {emit}< 200 application/json {{\"id\":\"z-1\",\"offset\":\"z.1\",\"duplicate\":false,\"sockets\":1}}\na< 42[\"e\"]\nb< 42[\"e\"]\n\
             > {emit}< 200 application/json {{\"id\":\"z-1\",\"offset\":\"z.1\",\"duplicate\":true,\"sockets\":0}}\n"
        ),
    );
}

#[test]
fn with_recovery_on_what_is_told_ends_in_no_offset() {
    let settings = SocketIoSettings::default();
    check(
        settings,
        r#"
        > WS /socket.io/?EIO=4&transport=websocket
        < 101
        < 0…
        > 40
        < 40{"sid":"$id1","pid":"$pid1"}
        b> POST /v1/socketio/emit
            content-type: application/json
            | {"sockets":["$id1"],"event":"e","args":["text"]}
        b< 200 application/json {"sockets":1}
        < 42["e","text",null]
        "#,
    );
}

#[test]
fn sockets_are_moved_and_sent_away() {
    let one = r#"200 application/json {"sockets":1}"#;
    call(
        "join",
        r#"{"users":["bob"],"join":["y","z"]}"#,
        one,
        "? admit y+z because of y+z\n! publish y 1\nb< 42[\"message\",1]\nb> 421[\"leave\",\"y\"]\nb< 431[{\"ok\":true}]\n",
    );
    call("leave", r#"{"rooms":["x"],"leave":["x","other"]}"#, one, "? unsubscribe x\n! publish x 1\n");
    call("disconnect", r#"{"sockets":["$id2"]}"#, one, "b< 41\n");
    call("disconnect", r#"{"users":["bob"],"close":true}"#, one, "b< 41\nb< [close]\nb< [closed]\n");
    call("disconnect", r#"{"namespace":"/n","close":true}"#, r#"200 application/json {"sockets":0}"#, "");
}

#[test]
fn sockets_are_listed() {
    call(
        "sockets?room=x",
        "",
        r#"200 application/json {"sockets":[{"id":"$id1","namespace":"/","user":"ann","rooms":["x"]}],"more":false}"#,
        "",
    );
    call(
        "sockets?user=bob&socket=$id2",
        "",
        r#"200 application/json {"sockets":[{"id":"$id2","namespace":"/","user":"bob","rooms":[]}],"more":false}"#,
        "",
    );
    call("sockets?namespace=%2Fn", "", r#"200 application/json {"sockets":[],"more":false}"#, "");
}

#[test]
fn refusals_say_what_mends_them() {
    let refused = |code: &str, words: &str| format!(r#"{code} application/json {{"error":{{"code":…{words}…}}}}"#);
    for (target, body, status, words) in [
        ("emit", "{}", "400", "`event` is missing"),
        ("emit", r#"{"event":"connect"}"#, "400", "of the client library itself"),
        ("emit", r#"{"event":"e","room":"x"}"#, "400", "unknown field `room`"),
        ("emit", r#"{"event":"e","rooms":[""]}"#, "400", "the name is empty"),
        ("emit", r#"{"event":"e","namespace":"n"}"#, "400", "begins with a slash"),
        ("emit", r#"{"event":"e","args":[{"_placeholder":true,"num":0}]}"#, "400", "base64"),
        ("emit", r#"{"event":"e","id":"once","volatile":true}"#, "400", "`id` and `volatile` do not go together"),
        ("emit", r#"{"event":"e","compress":true}"#, "400", "unknown field `compress`"),
        ("emit", "[", "400", "the body is not what this call takes"),
        ("join", r#"{"users":["bob"]}"#, "400", "name at least one room in `join`"),
        ("sockets?page=2", "", "400", "is no parameter"),
        ("nothing", "{}", "404", "nothing is"),
        ("emit", "", "405", "this path answers POST"),
    ] {
        // What is no path of the dialect is not its to answer.
        if target != "nothing" {
            call(target, body, &refused(status, words), "");
        }
    }
    check(plain(), "> POST /v1/socketio/emit\n    | {}\n< 415 application/json …application/json`\"}}\n");
    check(
        plain(),
        "! deny manage forbidden only for managers\n> GET /v1/socketio/sockets\n< 403 application/json {\"error\":{\"code\":\"forbidden\",\"message\":\"only for managers\"}}\n",
    );
    check(
        plain(),
        "! deny connect unauthorized who are you\n> GET /v1/socketio/sockets\n    authorization: Basic YTpi\n? connect key a b\n< 401 application/json {\"error\":{\"code\":\"unauthorized\",\"message\":\"who are you\"}}\n",
    );
}

#[test]
fn the_file_names_the_calls() {
    let file: serde_json::Value = serde_json::from_str(include_str!("../../../../../docs/openapi.json")).unwrap();
    let paths = file["paths"].as_object().unwrap();
    let mut described: Vec<&str> = paths.keys().filter_map(|path| path.strip_prefix("/v1/socketio/")).collect();
    let mut served = CALLS.map(|call| call.name());
    described.sort_unstable();
    served.sort_unstable();
    assert_eq!(described, served);
}
