//! The definition against its documents, and the layers against each other.

use std::path::Path;
use std::time::Duration;

use super::choices::LogFormat;
use super::settings::Config;
use super::{Layers, render};

fn layers(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Layers {
    let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Layers {
        file: (!file.is_empty()).then(|| ("omnivox.toml".into(), file.to_owned())),
        environment: owned(environment),
        flags: owned(flags),
    }
}

fn committed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_committed_reference_and_sample_are_what_the_definition_gives() {
    let check = |name: &str, generated: String, command: &str| {
        assert!(committed(name) == generated, "{name} is stale: run `omnivox config {command} > {name}`");
    };
    check("docs/config.md", render::reference(), "--print-docs");
    check("omnivox.sample.toml", render::sample(), "--print-sample");
}

#[test]
fn the_sample_is_valid_as_it_is_and_with_every_setting_uncommented() {
    let sample = render::sample();
    let untouched = layers(&sample, &[], &[]).over(Config::default()).expect("the sample parses");
    assert_eq!(untouched, Config::default());

    let uncommented: String = sample
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with("[[") || is_assignment(rest) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let everything = layers(&uncommented, &[], &[]).over(Config::default()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(everything.server, Config::default().server);
    assert_eq!(everything.log, Config::default().log);
}

fn is_assignment(line: &str) -> bool {
    line.split_once(" = ")
        .is_some_and(|(key, _)| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'))
}

#[test]
fn the_later_layer_wins() {
    let check = |file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)], expected: u16| {
        let config = layers(file, environment, flags).over(Config::default()).expect("valid");
        assert_eq!(config.server.shards, expected);
    };
    let file = "[server]\nshards = 1";
    check("", &[], &[], 0);
    check(file, &[], &[], 1);
    check(file, &[("OMNIVOX_SERVER_SHARDS", "2")], &[], 2);
    check(file, &[("OMNIVOX_SERVER_SHARDS", "2")], &[("server-shards", "3")], 3);
}

#[test]
fn values_arrive_in_their_types() {
    let file = "[heartbeat]\nws_ping_interval_ms = 1_500\n[log]\nformat = \"json\"\n[server]\nlisten = [\"[::1]:1\", \"127.0.0.1:2\"]";
    let config = layers(file, &[], &[]).over(Config::default()).expect("valid");
    assert_eq!(config.heartbeat.ws_ping_interval_ms, Duration::from_millis(1500));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.server.listen.len(), 2);
}

#[test]
fn every_problem_is_named_with_its_place_and_what_mends_it() {
    let check = |file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)], expected: &str| {
        let problems = layers(file, environment, flags).over(Config::default()).expect_err("refused");
        assert_eq!(problems.to_string(), expected);
    };
    check(
        "# a comment\n[server]\n  lsiten = \"x\"\n",
        &[],
        &[],
        "omnivox.toml:3:3: unknown setting `server.lsiten`\n    3 |   lsiten = \"x\"\n      |   ^^^^^^\n   did you mean `listen`?",
    );
    check(
        "[serber]\nshards = 1",
        &[],
        &[],
        "omnivox.toml:1:2: unknown section `serber`\n    1 | [serber]\n      |  ^^^^^^\n   did you mean `server`?",
    );
    check(
        "[log]\nformat = \"jsn\"",
        &[],
        &[],
        "omnivox.toml:2:10: `log.format`: \"jsn\" is not one of text, json; did you mean \"json\"?\n    2 | format = \"jsn\"\n      |          ^^^^^",
    );
    check(
        "[server\nshards = 1",
        &[],
        &[],
        "omnivox.toml:1:8: not valid TOML: unclosed table, expected `]`\n    1 | [server\n      |        ^",
    );
    check(
        "[[server]]\nshards = 1",
        &[],
        &[],
        "omnivox.toml:1:3: `server` is array, expected [server]\n    1 | [[server]]\n      |   ^^^^^^\n   write it as [server]",
    );
    check(
        "[server]\nshards = 70000\nworkers = 1",
        &[("OMNIVOX_LOG_FORMAT", "xml")],
        &[("server-shards", "many")],
        "omnivox.toml:2:10: `server.shards`: 70000 is not between 0 and 65535\n    2 | shards = 70000\n      |          ^^^^^\n\
         omnivox.toml:3:1: unknown setting `server.workers`\n    3 | workers = 1\n      | ^^^^^^^\n\
         --server-shards: expected a whole number, found \"many\"\n\
         environment variable OMNIVOX_LOG_FORMAT: \"xml\" is not one of text, json",
    );
}

#[test]
fn a_strange_variable_is_noticed_unless_an_orchestrator_made_it() {
    let layers = layers(
        "",
        &[
            ("OMNIVOX_SERVER_SHARD", "1"),
            ("OMNIVOX_PORT", "tcp://10.0.0.1:8080"),
            ("OMNIVOX_PORT_8080_TCP", "x"),
            ("OMNIVOX_SERVICE_HOST", "10.0.0.1"),
            ("OMNIVOX_TOKEN", "t"),
            ("PATH", "/bin"),
        ],
        &[],
    );
    assert_eq!(layers.strangers(), [("OMNIVOX_SERVER_SHARD", Some("OMNIVOX_SERVER_SHARDS".to_owned()))]);
}

#[test]
fn names_follow_the_rules() {
    for section in Config::SECTIONS {
        assert!(section.doc().ends_with('.'), "{} is described by sentences", section.name);
        for setting in section.settings {
            let name = format!("{}.{}", section.name, setting.key);
            assert!(setting.doc().ends_with('.'), "{name} is described by sentences");
            assert!(!setting.since.is_empty(), "{name} says since when");
            let words = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.');
            assert!(words, "{name} is written in lower case");
        }
    }
}

#[test]
fn what_is_printed_of_the_settings_holds_no_secret() {
    let everything: String = Config::SECTIONS
        .iter()
        .map(|section| {
            let secrets = section.settings.iter().filter(|setting| setting.kind.is_secret());
            let required = section.settings.iter().filter(|setting| setting.required).map(|setting| format!("{} = \"x\"\n", setting.key));
            let lines = required.chain(secrets.map(|setting| format!("{} = \"hunter2\"\n", setting.key)));
            format!("{}\n{}", section.heading(), lines.collect::<String>())
        })
        .collect();
    let everything = everything.replace("to = \"x\"", "to = \"ws\"");
    let config = layers(&everything, &[], &[]).over(Config::default()).unwrap_or_else(|error| panic!("{error}"));
    let printed = [render::changes(&config), render::differences(&Config::default(), &config).join("\n"), format!("{config:?}")];
    for text in printed {
        assert!(text.contains("secrets") && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn what_waits_for_a_restart_is_named() {
    let check = |before: &str, after: &str, expected: &[&str]| {
        let read = |file: &str| layers(file, &[], &[]).over(Config::default()).expect("valid");
        assert_eq!(render::differences(&read(before), &read(after)), expected);
    };
    check("", "", &[]);
    check("[server]\nshards = 1", "[server]\nshards = 2", &["server.shards = 2"]);
    check("[turn]\nsecrets = [\"a\"]", "[turn]\nsecrets = [\"b\"]", &["turn.secrets"]);
    check("[turn]\nrealm = \"a\"\nport_min = 1", "", &["turn.port_min = 49_152", "turn.realm = \"omnivox\""]);
    check("", "[[route]]\npath = \"/x\"\nto = \"ws\"", &["[[route]]"]);
}
