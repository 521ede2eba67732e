//! What every source file opens with and must not hold.
//!
//! The rules are the table [`RULES`]: a name, the files that it concerns, and a function from a file's text to the lines that
//! break it. Invariant: a rule looks at one file at a time, so a breach always has a place.

use super::{Tree, Verdict};

/// Lines a file may have before a noun must be hiding in it.
const LINES_MAX: usize = 700;

/// One rule about the text of a file.
struct Rule {
    name: &'static str,
    concerns: fn(&str) -> bool,
    /// Line number (from 1) and complaint for each breach.
    breaches: fn(&str) -> Vec<(usize, String)>,
}

const RULES: &[Rule] = &[
    Rule { name: "a module opens with its purpose", concerns: is_rust, breaches: no_opening_sentence },
    Rule { name: "no leftovers", concerns: is_rust, breaches: leftovers },
    Rule { name: "lints are expected with a reason", concerns: is_rust, breaches: bare_exceptions },
    Rule { name: "no test is skipped", concerns: is_script, breaches: skipped_tests },
    Rule { name: "no file is too long", concerns: is_written_by_hand, breaches: too_long },
    Rule { name: "no machine's paths", concerns: is_not_a_cargo_lock, breaches: machine_paths },
    Rule { name: "no download hosts", concerns: is_not_a_cargo_lock, breaches: download_hosts },
];

/// Every rule over every file.
pub(super) fn verdicts(tree: &Tree) -> Vec<Verdict> {
    let verdict = |rule: &Rule| {
        let concerned = tree.all().filter(|(name, _)| (rule.concerns)(name));
        let breaches =
            concerned.flat_map(|(name, text)| (rule.breaches)(text).into_iter().map(move |(line, said)| format!("{name}:{line}: {said}")));
        Verdict { rule: rule.name, breaches: breaches.collect() }
    };
    RULES.iter().map(verdict).collect()
}

fn is_rust(name: &str) -> bool {
    name.ends_with(".rs")
}

fn is_script(name: &str) -> bool {
    [".js", ".mjs", ".ts"].iter().any(|end| name.ends_with(end))
}

fn is_written_by_hand(name: &str) -> bool {
    (is_rust(name) || is_script(name)) && !name.contains("/dist/")
}

fn is_not_a_cargo_lock(name: &str) -> bool {
    !name.ends_with("Cargo.lock")
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

fn no_opening_sentence(text: &str) -> Vec<(usize, String)> {
    if text.starts_with("//! ") { Vec::new() } else { vec![(1, "open with `//! ` and what this module is for".to_owned())] }
}

fn leftovers(text: &str) -> Vec<(usize, String)> {
    const MACROS: [&str; 3] = ["dbg", "todo", "unimplemented"];
    let mut breaches = Vec::new();
    for (number, line) in numbered(text) {
        let macros = MACROS.iter().filter(|name| holds_word(line, &format!("{name}!")));
        breaches.extend(macros.map(|name| (number, format!("{name}! is for the time before a commit"))));
        if line.trim_start().starts_with("#[ignore") {
            breaches.push((number, "a test that is ignored proves nothing".to_owned()));
        }
    }
    breaches
}

/// True when `word` stands in `line` and no letter before it makes it part of another.
fn holds_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_'))
        && line.contains(&format!("{word}("))
}

/// An attribute that silences a lint says why; `expect` rather than `allow` also says when it is no longer needed.
fn bare_exceptions(text: &str) -> Vec<(usize, String)> {
    let mut breaches = Vec::new();
    for (number, line) in numbered(text) {
        let line = line.trim_start();
        let silences = ["#[allow(", "#![allow(", "#[expect(", "#![expect("].iter().any(|start| line.starts_with(start));
        if !silences {
            continue;
        }
        let rest: String = text.lines().skip(number - 1).take(6).collect::<Vec<_>>().join(" ");
        let attribute = rest.split(")]").next().unwrap_or_default();
        if !attribute.contains("reason = ") {
            breaches.push((number, "say why: #[expect(…, reason = \"…\")]".to_owned()));
        }
    }
    breaches
}

fn skipped_tests(text: &str) -> Vec<(usize, String)> {
    const CALLS: [&str; 4] = ["test", "it", "describe", "t"];
    let skips = |line: &str| CALLS.iter().any(|call| [".skip(", ".only(", ".todo("].iter().any(|end| holds_call(line, call, end)));
    let breach = |(number, _)| (number, "every test runs: leave a part out with --without instead".to_owned());
    numbered(text).filter(|(_, line)| skips(line)).map(breach).collect()
}

fn holds_call(line: &str, call: &str, end: &str) -> bool {
    let whole = format!("{call}{end}");
    line.match_indices(&whole)
        .any(|(at, _)| !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '.'))
}

fn too_long(text: &str) -> Vec<(usize, String)> {
    let lines = text.lines().count();
    if lines <= LINES_MAX {
        return Vec::new();
    }
    vec![(lines, format!("{lines} lines, of {LINES_MAX} at most: give a noun in it a file of its own"))]
}

/// Folders of one person's or one machine's disk. Put together here so that this file keeps its own rule.
fn machine_paths(text: &str) -> Vec<(usize, String)> {
    const FOLDERS: [&str; 4] = [concat!("/", "home/"), concat!("/", "root/"), concat!("/", "Users/"), concat!("/", "work/")];
    let begins_a_path = |line: &str, at: usize| !line[..at].ends_with(|before: char| before.is_alphanumeric() || "_.-}*~".contains(before));
    let mut breaches = Vec::new();
    for (number, line) in numbered(text) {
        let found = FOLDERS.iter().find(|folder| line.match_indices(**folder).any(|(at, _)| begins_a_path(line, at)));
        breaches.extend(found.map(|folder| (number, format!("'{folder}…' is a path of one machine"))));
    }
    breaches
}

/// Addresses of package registries: which one is used is a setting of the machine, not of the project.
fn download_hosts(text: &str) -> Vec<(usize, String)> {
    const PARTS: [&str; 5] = ["npmjs.", "pypi.", "pythonhosted.", "crates.io", "proxy.golang"];
    let address = |line: &str| {
        line.split("://").skip(1).any(|rest| {
            let host = rest.split(['/', '"', ' ', ')', '?']).next().unwrap_or_default();
            PARTS.iter().any(|part| host.contains(part))
        })
    };
    let breach = |(number, _)| (number, "the address of a package registry is not ours to fix".to_owned());
    numbered(text).filter(|(_, line)| address(line)).map(breach).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `breaches` of the rule called `rule` in a file called `name` that holds `text`.
    fn check(rule: &str, name: &str, text: &str, breaches: usize) {
        let tree = Tree::of(&[(name, text)]);
        let verdicts = verdicts(&tree);
        let verdict = verdicts.iter().find(|verdict| verdict.rule == rule).expect("the rule exists");
        assert_eq!(verdict.breaches.len(), breaches, "{rule}: {text:?}: {:?}", verdict.breaches);
    }

    #[test]
    fn every_rule_finds_its_breach_and_nothing_else() {
        let opening = "a module opens with its purpose";
        check(opening, "a.rs", "//! Frames.\n", 0);
        check(opening, "a.rs", "// Frames.\n", 1);
        check(opening, "a.mjs", "// Frames.\n", 0);

        let leftovers = "no leftovers";
        check(leftovers, "a.rs", "let a = 1; // todo later", 0);
        check(leftovers, "a.rs", concat!("    dbg", "!(a);\n    todo", "!()"), 2);
        check(leftovers, "a.rs", concat!("my_todo", "!(a);"), 0);
        check(leftovers, "a.rs", concat!("#[ignore", " = \"slow\"]"), 1);

        let reasons = "lints are expected with a reason";
        check(reasons, "a.rs", "#[expect(dead_code, reason = \"read by the tests\")]", 0);
        check(reasons, "a.rs", "#[expect(\n    dead_code,\n    reason = \"read by the tests\"\n)]", 0);
        check(reasons, "a.rs", concat!("#[", "allow(dead_code)]\n// reason = none"), 1);
        check(reasons, "a.rs", concat!("#![", "expect(dead_code)]"), 1);

        let skipped = "no test is skipped";
        check(skipped, "a.test.mjs", concat!("test", ".skip('x')\nlist", ".only(1)"), 1);

        let length = "no file is too long";
        check(length, "a.rs", &"\n".repeat(LINES_MAX), 0);
        check(length, "a.rs", &"\n".repeat(LINES_MAX + 1), 1);
        check(length, "a.md", &"\n".repeat(LINES_MAX + 1), 0);

        let paths = "no machine's paths";
        check(paths, "a.md", concat!("see /", "home/anna/x"), 1);
        check(paths, "a.md", "GET /api/home/x, target/root/x, /rooms", 0);

        let hosts = "no download hosts";
        check(hosts, "a.json", concat!("\"resolved\": \"https:", "//registry.", "npmjs.", "example/x\""), 1);
        check(hosts, "a.md", "a crates.io name, https://example.org/crates.io", 0);
    }
}
