//! The built binary as a script meets it: exit codes, data on standard output, words on standard error.

use std::path::PathBuf;
use std::process::{Command, Output};

fn omnivox(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_omnivox"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("the binary runs")
}

/// Runs the binary and holds the exit code and a part of each stream against what is expected.
fn check(arguments: &[&str], environment: &[(&str, &str)], code: i32, stdout: &str, stderr: &str) {
    let output = omnivox(arguments, environment);
    let out = String::from_utf8(output.stdout).expect("text on stdout");
    let err = String::from_utf8(output.stderr).expect("text on stderr");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\nstdout: {out}\nstderr: {err}");
    assert!(out.contains(stdout), "{arguments:?}: stdout lacks {stdout:?}:\n{out}");
    assert!(err.contains(stderr), "{arguments:?}: stderr lacks {stderr:?}:\n{err}");
    assert!(!stdout.is_empty() || out.is_empty(), "{arguments:?}: nothing belongs on stdout here:\n{out}");
}

/// A settings file that is removed again.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("omnivox-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).expect("a writable temporary directory");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a temporary path in UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn documents_go_to_stdout() {
    check(&["config", "--print-docs"], &[], 0, "# Configuration", "");
    check(&["config", "--print-sample"], &[], 0, "[server]", "");
    check(&["config", "--schema"], &[], 0, "\"additionalProperties\": false", "");
    check(&["completions", "bash"], &[], 0, "_omnivox", "");
    check(&["--version"], &[], 0, env!("CARGO_PKG_VERSION"), "");
}

#[test]
fn help_has_every_setting_with_its_variable_and_the_exit_codes() {
    check(&["check", "--help"], &[], 0, "[default: 25_000]\n          [env: OMNIVOX_HEARTBEAT_WS_PING_INTERVAL_MS]", "");
    check(&["--help"], &[], 0, "Exit codes:", "");
}

#[test]
fn a_wrong_command_line_is_code_2() {
    check(&["serv"], &[], 2, "", "unrecognized subcommand");
    check(&["config"], &[], 2, "", "--print-docs");
    check(&["check", "--server-shard", "1"], &[], 2, "", "--server-shards");
}

#[test]
fn wrong_settings_are_code_2_and_name_their_place() {
    let file = File::new("wrong", "[server]\nlsiten = 1\n");
    check(&["check", "--config", file.path()], &[], 2, "", ":2:1: unknown setting `server.lsiten`");
    check(&["check", "--config", "/nonexistent.toml"], &[], 2, "", "--config /nonexistent.toml: No such file");
    check(&["check"], &[], 2, "", "[[app]]: there is none");
    check(&["check"], &[("OMNIVOX_LOG_FORMAT", "xml")], 2, "", "environment variable OMNIVOX_LOG_FORMAT");
    check(&["check", "--server-shards", "-1"], &[], 2, "", "--server-shards: -1 is not between 0 and 65535");
}

#[test]
fn check_prints_what_differs_and_never_a_secret() {
    let file = File::new("apps", "[[app]]\nid = \"shop\"\nsecret = \"hunter2 and some more that is not told\"\n");
    let environment = [("OMNIVOX_CONFIG", file.path()), ("OMNIVOX_SERVER_SHARDS", "2"), ("OMNIVOX_SERVER_SHARD", "2")];
    let expected = "[server]\nshards = 3\n[[app]]\nid = \"shop\"\n# secret is set\n";
    check(&["check", "--server-shards", "3"], &environment, 0, expected, "did you mean OMNIVOX_SERVER_SHARDS?");
    let output = omnivox(&["check"], &environment);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("hunter2"));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
}

#[test]
fn check_tells_what_a_server_would_do_and_what_is_weak() {
    let weak = |name: &str, text: &str, words: &str| {
        let file = File::new(name, text);
        check(&["check", "--config", file.path()], &[], 0, "# A server with these settings\n#   listens on", words);
    };
    let app = "[[app]]\nid = \"shop\"\nsecret = \"nobody else has this secret of the shop\"\n";
    weak(
        "open",
        "[server]\nlisten = \"0.0.0.0:80\"\n[[app]]\nid = \"a\"\ntoken_key_set = \"/k.json\"\n",
        "warning: server.listen: other machines",
    );
    weak(
        "set",
        &format!("{app}token_key_set = \"/nonexistent.json\"\n"),
        "warning: [[app]] shop: `token_key_set` /nonexistent.json: No such file",
    );
    weak(
        "folder",
        &format!("{app}[webhooks]\nfolder = \"/dev/null/x\"\n"),
        "warning: webhooks.folder: /dev/null/x: /dev/null is no folder",
    );
    let file = File::new("private", app);
    let warned = |mode: u32| {
        std::fs::set_permissions(&file.0, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("our own file");
        String::from_utf8(omnivox(&["check", "--config", file.path()], &[]).stderr)
            .expect("text")
            .contains("lets every user of this machine read it")
    };
    assert_eq!([0o644, 0o640, 0o600].map(warned), [true, false, false]);
    let hook = "[[hook]]\nname = \"h\"\nevents = [\"connect\"]\nurl = \"https://h.example/a?key=hunter2\"\nsecrets = [\"only the hook has this secret of its own\"]\n";
    let file = File::new("query", &format!("{app}{hook}"));
    check(&["check", "--config", file.path()], &[], 0, "url = \"https://h.example/a?…\"\n", "right");
    assert!(!String::from_utf8_lossy(&omnivox(&["check", "--config", file.path()], &[]).stdout).contains("hunter2"));
}

#[test]
fn init_writes_settings_that_check_token_and_explain_understand() {
    let file = File(std::env::temp_dir().join(format!("omnivox-{}-init.toml", std::process::id())));
    check(&["init", file.path(), "--app", "shop"], &[], 0, "", "is written");
    check(&["init", file.path()], &[], 1, "", "exists already");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file.path()).expect("written").permissions());
    assert_eq!(mode & 0o777, 0o600, "a secret is in it");
    let environment = [("OMNIVOX_CONFIG", file.path())];
    check(&["check"], &environment, 0, "[[app]]\nid = \"shop\"\n# secret is set", "the settings are right");
    let words = String::from_utf8(omnivox(&["check"], &environment).stderr).expect("text");
    assert!(!words.contains("warning") && !words.contains("note"), "nothing is weak: {words}");

    let output = omnivox(&["token", "--user", "ana", "--allow", "chat:*=subscribe,publish", "--lifetime", "90s"], &environment);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let token = String::from_utf8(output.stdout).expect("text");
    let explain = |channel: &'static str, token: &str, code: i32, out: &str, err: &str| {
        let environment = [environment[0], ("OMNIVOX_TOKEN", token)];
        let given = if token.is_empty() { &environment[..1] } else { &environment[..] };
        check(&["explain", "--channel", channel], given, code, out, err);
    };
    explain("chat:1", token.trim(), 0, "user ana of app shop, channel chat:1\n  subscribe  yes ", "");
    explain("news", token.trim(), 0, "  subscribe  no ", "");
    explain("chat:1", &format!("{}x", token.trim()), 4, "", "signature");
    explain("chat:1", "", 4, "", "a credential is needed");
    check(&["token", "--allow", "chat=fly"], &environment, 2, "", "fly");
    check(&["token", "--app", "blog"], &environment, 2, "", "name one of the apps with --app: shop");
}

#[test]
fn a_public_key_of_someone_else_verifies_and_a_wrong_file_is_named() {
    let key = File::new(
        "key",
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n",
    );
    let app = |rest: &str| format!("[[app]]\nid = \"a\"\ntoken_keys = [\"{}\"]\n{rest}", key.path());
    let file = File::new("keys", &app(""));
    check(&["check", "--config", file.path()], &[], 0, "token_keys", "right");
    let file = File::new("keys-rsa", &app("token_algorithms = [\"RS256\"]\n"));
    check(&["check", "--config", file.path()], &[], 2, "", key.path());
    let file = File::new("keys-none", "[[app]]\nid = \"a\"\ntoken_keys = [\"/nonexistent.pem\"]\n");
    check(&["check", "--config", file.path()], &[], 2, "", "/nonexistent.pem: No such file");
}
