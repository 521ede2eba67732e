//! Which names a pattern means, and how the index finds patterns again.

use proptest::prelude::*;

use super::*;

fn base() -> Base {
    Base::parse("https://hub.example/.well-known/mercure").unwrap()
}

/// `+ name` must match, `- name` must not.
fn check(pattern: &Pattern, names: &str) {
    for name in names.split_whitespace().collect::<Vec<_>>().chunks(2) {
        assert_eq!(pattern.matches(name[1]), name[0] == "+", "{pattern} {}", name[1]);
    }
}

#[test]
fn templates_match_their_expansions() {
    for (template, names) in [
        (
            "https://example.com/books/{id}",
            "+ https://example.com/books/1 + https://example.com/books/ - https://example.com/books/1/x - http://example.com/books/1 + https://example.com/books/{id}",
        ),
        ("/a/{x}/b/{y}", "+ /a/1/b/2 + /a//b/ - /a/1/2/b/3 - /a/1/b/2/"),
        ("{+path}/here", "+ /foo/bar/here - /foo/bar/there"),
        ("x{#frag}", "+ x + x#a/b - x/a"),
        ("x{.ext}", "+ x + x.json - xjson"),
        ("x{/a,b}", "+ x + x/1 + x/1/2 - x/1/2/3"),
        ("x{/a*}", "+ x + x/1/2/3/4"),
        ("x{;a}", "+ x;a=1 + x - x?a=1"),
        ("x{?a,b}", "+ x + x?a=1 + x?a=1&b=2 - x?a=1&b=2&c=3"),
        ("x{&a}", "+ x&a=1 - x?a=1"),
        ("x{a:3}", "+ xabc"),
        ("{a}", "+ abc + %C3%A9 - é - a/b - a%2 + {a}"),
        ("plain", "+ plain - plains"),
    ] {
        check(&Pattern::template(template).unwrap(), names);
    }
    for wrong in ["{", "}", "{}", "a{b", "a}b", "{a b}", "{=a}", "{a:x}", "{a:0}", "{a:12345}", "{a:1*}", "{%zz}", "{a..b}", "a\nb"] {
        assert!(Pattern::template(wrong).is_err(), "{wrong}");
    }
    assert!(matches!(Pattern::template(&"a".repeat(4097)), Err(InvalidPattern::TooLong(4097))));
}

#[test]
fn url_patterns_match_urls() {
    for (pattern, names) in [
        (
            "https://example.net/foo/:random",
            "+ https://example.net/foo/abc + HTTPS://EXAMPLE.net:443/foo/abc - https://example.net/foo/a/b - https://example.net/foo/ + https://example.net/foo/a?q#h - /foo/abc",
        ),
        ("https://example.com/*", "+ https://example.com/ + https://example.com/a/b - https://example.org/"),
        ("https://example.com", "+ https://example.com/a - https://example.com:8443/a"),
        (
            "https://*.example.com/:a/:b?",
            "+ https://x.example.com/1 + https://x.y.example.com/1/2 - https://example.com/1 - https://x.example.com/1/2/3",
        ),
        ("https://:sub.example.com/", "+ https://x.example.com/ - https://x.y.example.com/"),
        ("http{s}?://example.com/x", "+ http://example.com/x + https://example.com/x - ftp://example.com/x"),
        ("/books/:id", "+ /books/1 + https://hub.example/books/1 - https://other.example/books/1 - /books - /books/1/2"),
        ("books/:id", "+ books/1 + /.well-known/books/1 - /books/1"),
        ("/e/(a|b)", "+ /e/a + /e/b - /e/c - /e/ab"),
        (r"/n/(\d+)", "+ /n/12 - /n/a - /n/"),
        (r"/n/:id(\d+)", "+ /n/12 - /n/1a"),
        (r"/n/([^\/]+)", "+ /n/ab - /n/a/b"),
        ("/r/:rest+", "+ /r/1 + /r/1/2/3 - /r"),
        ("/r/:rest*", "+ /r + /r/1/2/3"),
        ("/x{/y}?/z", "+ /x/z + /x/y/z - /x/y/y/z"),
        ("/x{-:a}*", "+ /x + /x-1 + /x-1-2 - /x-"),
        ("/a?q=:v", "+ /a?q=1 - /a?r=1 - /a + /a?q=1#h"),
        ("/a#h", "+ /a#h - /a?q#h - /a"),
        ("*", "+ /a/b - https://example.com/a"),
        ("https://example.com:8080/*", "+ https://example.com:8080/a - https://example.com/a"),
        (r"urn\:isbn\:*", "+ urn:isbn:1 - urn:uuid:1"),
        ("/caf%C3%A9/é", "+ /caf%C3%A9/%C3%A9 + /café/é"),
    ] {
        check(&Pattern::url(pattern, &base()).unwrap_or_else(|error| panic!("{pattern}: {error}")), names);
    }
    for wrong in
        ["/(", "/(?:a)", "/((a))", "/{a", "/a}", "/{a{b}}", "/?+", "/a\\", "/(^a)", "/:", "/([)", "/(a{2000})", "/((?:(?:a{50}){50}){50})"]
    {
        assert!(Pattern::url(wrong, &base()).is_err(), "{wrong}");
    }
}

#[test]
fn a_pattern_tells_its_beginning() {
    for (pattern, expected) in [
        (Pattern::parse("a*").unwrap(), "a"),
        (Pattern::template("private-{x}").unwrap(), "private-"),
        (Pattern::url("/a/:b", &base()).unwrap(), ""),
        (Pattern::All, ""),
    ] {
        assert_eq!(pattern.literal_prefix(), expected);
    }
    let long = Pattern::template(&"é".repeat(300)).unwrap();
    assert_eq!(long.label().as_str().len(), 254);
}

fn pattern() -> impl Strategy<Value = Pattern> {
    prop_oneof![
        Just(Pattern::All),
        "[ab/]{1,4}".prop_map(|text| Pattern::parse(&text).unwrap()),
        "[ab/]{1,4}\\*".prop_map(|text| Pattern::parse(&text).unwrap()),
        "[ab/]{0,3}\\{[+/?]?x,?y?\\*?\\}[ab/]{0,3}".prop_filter_map("a template", |text| Pattern::template(&text).ok()),
        "/?[ab/]{0,3}(:x|\\*|\\(a\\|b\\))[?+]?[ab/]{0,3}".prop_filter_map("a URL pattern", |text| Pattern::url(&text, &base()).ok()),
    ]
}

proptest! {
    /// The index finds what trying one after the other finds, also after some are gone again.
    #[test]
    fn the_index_finds_what_a_scan_finds(patterns in prop::collection::vec(pattern(), 0..30), gone in prop::collection::vec(any::<bool>(), 30), names in prop::collection::vec("[ab/]{1,6}", 1..10)) {
        let mut index = PatternIndex::default();
        patterns.iter().enumerate().for_each(|(at, pattern)| index.insert(pattern, at));
        patterns.iter().enumerate().filter(|(at, _)| gone[*at]).for_each(|(at, pattern)| index.remove(pattern, &at));
        for name in names {
            let expected: Vec<usize> = (0..patterns.len()).filter(|at| !gone[*at] && patterns[*at].matches(&name)).collect();
            let mut found = Vec::new();
            index.matches(&name, |at| found.push(*at));
            found.sort_unstable();
            prop_assert_eq!(found, expected, "{}", name);
        }
        patterns.iter().enumerate().filter(|(at, _)| !gone[*at]).for_each(|(at, pattern)| index.remove(pattern, &at));
        prop_assert!(index.is_bare(), "{:?}", index);
    }

    /// Nothing that is written makes the compiler or the matcher panic.
    #[test]
    fn any_text_is_a_pattern_or_an_error(text in "[a-c/:{}()*+?#.\\\\\\[\\]@é|^$&,0-9-]{0,24}", name in "\\PC{0,20}") {
        for pattern in [Pattern::template(&text), Pattern::url(&text, &base())].into_iter().flatten() {
            let _ = pattern.matches(&name);
        }
    }
}
