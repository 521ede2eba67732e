//! The body of the fuzz target for patterns, beside the code so that it is built with the tests.

use super::{Base, Pattern, PatternIndex};

/// Patterns, one a line, and behind an empty line the names that they are tried with. A pattern's first letter is its kind: `t` for a URI
/// template, `u` for a URL pattern, anything else for the plain notation.
///
/// Fails when something panics, or when the index finds other patterns than trying each of them does.
pub fn patterns(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (patterns, names) = text.split_once("\n\n").unwrap_or((text, ""));
    let base = Base::parse("https://hub.example/.well-known/mercure").unwrap_or_default();
    let patterns: Vec<Pattern> = patterns.lines().take(32).filter_map(|line| pattern(line, &base)).collect();
    let mut index = PatternIndex::default();
    patterns.iter().enumerate().for_each(|(at, pattern)| index.insert(pattern, at));
    for name in names.lines().take(32) {
        let expected: Vec<usize> = (0..patterns.len()).filter(|at| patterns[*at].matches(name)).collect();
        let mut found = Vec::new();
        index.matches(name, |at| found.push(*at));
        found.sort_unstable();
        assert_eq!(found, expected, "{name:?} among {patterns:?}");
    }
    patterns.iter().enumerate().for_each(|(at, pattern)| index.remove(pattern, &at));
    assert!(index.is_empty(), "something is left of {patterns:?}");
}

fn pattern(line: &str, base: &Base) -> Option<Pattern> {
    let kind = line.chars().next()?;
    let text = &line[kind.len_utf8()..];
    match kind {
        't' => Pattern::template(text).ok(),
        'u' => Pattern::url(text, base).ok(),
        _ => Pattern::parse(text).ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        /// What `cargo fuzz run patterns` does for longer.
        #[test]
        fn smoke(text in "([tup][ab/:{}()*+?.x\\\\|-]{0,8}\n){1,6}\n([ab/x:.-]{1,8}\n){0,4}") {
            super::patterns(text.as_bytes());
        }
    }
}
