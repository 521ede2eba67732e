//! URL patterns (the WHATWG standard's `URLPattern`): `https://example.com/books/:id`, `/users/*`, `https://*.example.com/(\d+){.json}?`.
//!
//! A pattern is split into the components of a URL, each is compiled, and all of them become one automaton over a name's components in a row.
//! What stands inside `(…)` is a regular expression without anchors, look-around and back references. Letters of both cases are different.

use regex_syntax::hir::{Class, ClassBytes, Hir, HirKind};

use super::automaton::{Automaton, Bytes, Node};
use super::url::{self, Base, SEPARATOR};

/// What of a pattern is wrong.
pub(super) type Problem = &'static str;

/// The parts of the automaton, and the literal end of the path, by which an index finds the pattern: what follows may be anything.
pub(super) fn parse(pattern: &str, base: &Base) -> Result<(Vec<Node>, Box<[u8]>), Problem> {
    let parts = Components::inherited(split(pattern), base);
    let special = match &parts.0[PROTOCOL] {
        None => true,
        Some(protocol) if protocol.contains(['/', '#', ' ']) => {
            return Err("a `:` ends a scheme, and this is none; write `\\:` for a colon");
        }
        Some(protocol) => {
            let automaton = Automaton::new(component(protocol, PLAIN, str::to_ascii_lowercase)?).map_err(|_| TOO_LARGE)?;
            url::SPECIAL.iter().any(|(scheme, _)| automaton.matches(scheme.as_bytes()))
        }
    };
    let mut nodes = Vec::new();
    let mut end = Vec::new();
    for (index, part) in parts.0.iter().enumerate() {
        if index > 0 {
            nodes.push(Node::Literal(vec![SEPARATOR]));
        }
        let Some(part) = part else {
            nodes.push(Node::many(ANY, 0));
            continue;
        };
        nodes.extend(match index {
            PROTOCOL => component(part, PLAIN, str::to_ascii_lowercase)?,
            HOSTNAME => component(part, HOST, str::to_ascii_lowercase)?,
            PATHNAME if special => component(part, PATH, |text| url::encoded(text, b" \"<>`{}^"))?,
            PATHNAME => component(part, PLAIN, |text| url::encoded(text, b""))?,
            SEARCH => component(part, PLAIN, |text| url::encoded(text, b" \"#<>'"))?,
            _ => component(part, PLAIN, |text| url::encoded(text, b" \"<>`"))?,
        });
        // What is literal from the very beginning is found by that.
        if index == PATHNAME && !nodes.iter().all(|node| matches!(node, Node::Literal(_))) {
            end = literal_end(&nodes);
        }
    }
    Ok((nodes, end.into()))
}

fn literal_end(nodes: &[Node]) -> Vec<u8> {
    match nodes.last() {
        Some(Node::Literal(bytes)) if bytes.as_slice() != [SEPARATOR] => bytes.clone(),
        _ => Vec::new(),
    }
}

pub(super) const TOO_LARGE: Problem = "it would become too large; repeat less";

const PROTOCOL: usize = 0;
const HOSTNAME: usize = 1;
const PORT: usize = 2;
const PATHNAME: usize = 3;
const SEARCH: usize = 4;
const HASH: usize = 5;

/// Every byte that a component may hold.
const ANY: Bytes = Bytes::NONE.with(1, 255);

/// The components that a pattern names.
#[derive(Default)]
struct Components([Option<String>; 6]);

impl Components {
    /// What a pattern leaves out in front is that of the base; what it leaves out behind may be anything.
    fn inherited(mut self, base: &Base) -> Self {
        let base = base.url();
        let own = self.0.each_ref().map(Option::is_some);
        if !own[PROTOCOL] {
            self.0[PROTOCOL] = Some(escaped(&base.protocol));
            if !own[HOSTNAME] {
                self.0[HOSTNAME] = Some(escaped(&base.hostname));
                if !own[PORT] {
                    self.0[PORT] = Some(escaped(&base.port));
                    self.inherit_path(own, &base.pathname, &base.search);
                }
            }
        }
        if let (Some(protocol), Some(port)) = (&self.0[PROTOCOL], &self.0[PORT])
            && url::default_port(protocol).is_some_and(|default| *port == default.to_string())
        {
            self.0[PORT] = Some(String::new());
        }
        self
    }

    fn inherit_path(&mut self, own: [bool; 6], pathname: &str, search: &str) {
        match &mut self.0[PATHNAME] {
            None => {
                self.0[PATHNAME] = Some(escaped(pathname));
                if !own[SEARCH] {
                    self.0[SEARCH] = Some(escaped(search));
                }
            }
            Some(path) if !(path.starts_with(['/', '*', '(']) || path.starts_with("\\/") || path.starts_with("{/")) => {
                let folder = &pathname[..pathname.rfind('/').map_or(0, |at| at + 1)];
                path.insert_str(0, &escaped(folder));
            }
            Some(_) => {}
        }
    }
}

/// A text as a pattern that means only itself.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        if "+*?:{}()\\".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
        escaped
    })
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Open,
    Close,
    Regex,
    Name,
    Char,
    Escaped,
    /// `?` or `+`.
    Modifier,
    Asterisk,
    End,
    Wrong(Problem),
}

/// A token: where it begins, and what it says.
#[derive(Clone, Copy, Debug)]
struct Token<'t> {
    kind: Kind,
    at: usize,
    text: &'t str,
}

/// Splits a pattern into tokens; those that are wrong are errors only in a component.
fn tokens(pattern: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = pattern[at..].chars().next() {
        let rest = &pattern[at + c.len_utf8()..];
        let name_end = |c: char| !(c.is_alphanumeric() || c == '_' || c == '$');
        let (kind, length, text) = match c {
            '*' => (Kind::Asterisk, 1, "*"),
            '+' | '?' => (Kind::Modifier, 1, &pattern[at..=at]),
            '{' => (Kind::Open, 1, "{"),
            '}' => (Kind::Close, 1, "}"),
            '\\' => match rest.chars().next() {
                Some(next) => (Kind::Escaped, 1 + next.len_utf8(), &rest[..next.len_utf8()]),
                None => (Kind::Wrong("it ends with a backslash"), 1, "\\"),
            },
            ':' => match rest.find(name_end).unwrap_or(rest.len()) {
                0 => (Kind::Wrong("a `:` has no name behind it; write `\\:` for a colon"), 1, ":"),
                _ if rest.starts_with(|first: char| first.is_numeric()) => {
                    (Kind::Wrong("a name begins with a digit; write `\\:` for a colon"), 1, ":")
                }
                length => (Kind::Name, 1 + length, &rest[..length]),
            },
            '(' => match regex_length(rest) {
                Some(length) => (Kind::Regex, length + 2, &rest[..length]),
                None => (Kind::Wrong("a `(` has no good expression and `)` behind it"), 1, "("),
            },
            other => (Kind::Char, other.len_utf8(), &pattern[at..at + other.len_utf8()]),
        };
        tokens.push(Token { kind, at, text });
        at += length;
    }
    tokens.push(Token { kind: Kind::End, at, text: "" });
    tokens
}

/// How long the regular expression in front of the closing parenthesis is.
fn regex_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (1, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'(' if bytes.get(at + 1) != Some(&b'?') => return None,
            b'(' => depth += 1,
            b')' => {
                depth -= 1;
                if depth == 0 {
                    return (at > 0 && text.is_ascii() && bytes[0] != b'?').then_some(at);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Init,
    Authority,
    In(usize),
}

/// Splits a pattern into its components, as the standard's constructor does.
fn split(pattern: &str) -> Components {
    let tokens = tokens(pattern);
    let mut parser = Splitter { pattern, tokens: &tokens, state: State::Init, begin: 0, at: 0, found: Components::default() };
    let (mut depth, mut brackets) = (0, 0);
    while parser.at < tokens.len() {
        let token = tokens[parser.at];
        if token.kind == Kind::End {
            match parser.state {
                State::Init => parser.begin_relative(),
                State::Authority => parser.rewind(State::In(HOSTNAME)),
                State::In(_) => {
                    parser.finish_component();
                    break;
                }
            }
            continue;
        }
        if token.kind == Kind::Open {
            depth += 1;
            parser.at += 1;
            continue;
        }
        if depth > 0 {
            depth -= i32::from(token.kind == Kind::Close);
            parser.at += 1;
            continue;
        }
        brackets += match token.text {
            "[" if parser.state == State::In(HOSTNAME) => 1,
            "]" if parser.state == State::In(HOSTNAME) => -1,
            _ => 0,
        };
        if !parser.turn(brackets) {
            parser.at += 1;
        }
    }
    let mut found = parser.found;
    if found.0[HOSTNAME].is_some() && found.0[PORT].is_none() {
        found.0[PORT] = Some(String::new());
    }
    found
}

struct Splitter<'t> {
    pattern: &'t str,
    tokens: &'t [Token<'t>],
    state: State,
    begin: usize,
    at: usize,
    found: Components,
}

impl Splitter<'_> {
    /// Goes on to another component if the token says so.
    fn turn(&mut self, brackets: i32) -> bool {
        match self.state {
            State::Init if self.is_char(self.at, ":") => self.rewind(State::In(PROTOCOL)),
            State::In(PROTOCOL) if self.is_char(self.at, ":") => {
                let slashes = self.is_char(self.at + 1, "/") && self.is_char(self.at + 2, "/");
                let protocol = self.text();
                let special = component(protocol, PLAIN, str::to_owned)
                    .ok()
                    .and_then(|nodes| Automaton::new(nodes).ok())
                    .is_some_and(|automaton| url::SPECIAL.iter().any(|(scheme, _)| automaton.matches(scheme.as_bytes())));
                match (slashes, special) {
                    (true, _) => self.change(State::Authority, 3),
                    (false, true) => self.change(State::Authority, 1),
                    (false, false) => self.change(State::In(PATHNAME), 1),
                }
            }
            State::Authority if self.is_char(self.at, "@") => self.change(State::In(HOSTNAME), 1),
            State::Authority if self.is_char(self.at, "/") || self.is_search() || self.is_char(self.at, "#") => {
                self.rewind(State::In(HOSTNAME));
            }
            State::In(HOSTNAME) if self.is_char(self.at, ":") && brackets == 0 => self.change(State::In(PORT), 1),
            State::In(HOSTNAME | PORT) if self.is_char(self.at, "/") => self.change(State::In(PATHNAME), 0),
            State::In(HOSTNAME | PORT | PATHNAME) if self.is_search() => self.change(State::In(SEARCH), 1),
            State::In(HOSTNAME | PORT | PATHNAME | SEARCH) if self.is_char(self.at, "#") => self.change(State::In(HASH), 1),
            _ => return false,
        }
        true
    }

    /// The pattern has no scheme: it begins with a path, a search or a hash.
    fn begin_relative(&mut self) {
        self.at = self.begin;
        if self.is_char(self.at, "#") {
            self.change(State::In(HASH), 1);
        } else if self.is_search() {
            self.change(State::In(SEARCH), 1);
        } else {
            self.change(State::In(PATHNAME), 0);
        }
    }

    fn is_char(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.text == text && matches!(token.kind, Kind::Char | Kind::Escaped | Kind::Wrong(_)))
    }

    /// Whether a `?` begins the search, and is no modifier.
    fn is_search(&self) -> bool {
        if self.is_char(self.at, "?") {
            return true;
        }
        let modifies = |token: &Token<'_>| matches!(token.kind, Kind::Name | Kind::Regex | Kind::Close | Kind::Asterisk);
        self.tokens[self.at].text == "?" && !self.at.checked_sub(1).is_some_and(|before| modifies(&self.tokens[before]))
    }

    fn text(&self) -> &str {
        &self.pattern[self.tokens[self.begin].at..self.tokens[self.at].at]
    }

    fn finish_component(&mut self) {
        if let State::In(component) = self.state {
            self.found.0[component] = Some(self.text().to_owned());
        }
    }

    fn change(&mut self, state: State, skip: usize) {
        self.finish_component();
        if let (State::In(from), State::In(to)) = (self.state, state) {
            // What was passed over between two named components is empty, not anything.
            if from <= PORT && to >= SEARCH {
                self.found.0[PATHNAME].get_or_insert_with(|| "/".to_owned());
            }
            if from <= PATHNAME && to == HASH {
                self.found.0[SEARCH].get_or_insert_with(String::new);
            }
        }
        self.state = state;
        self.at = (self.at + skip).min(self.tokens.len() - 1);
        self.begin = self.at;
    }

    fn rewind(&mut self, state: State) {
        self.at = self.begin;
        self.state = state;
    }
}

/// What ends a `:name` in a component, and what before it belongs to it.
#[derive(Clone, Copy)]
struct Options {
    delimiter: Option<u8>,
    prefix: &'static str,
}

const PLAIN: Options = Options { delimiter: None, prefix: "" };
const HOST: Options = Options { delimiter: Some(b'.'), prefix: "" };
const PATH: Options = Options { delimiter: Some(b'/'), prefix: "/" };

fn component(pattern: &str, options: Options, canonical: impl Fn(&str) -> String) -> Result<Vec<Node>, Problem> {
    let tokens = tokens(pattern);
    if let Some(Token { kind: Kind::Wrong(problem), .. }) = tokens.iter().find(|token| matches!(token.kind, Kind::Wrong(_))) {
        return Err(problem);
    }
    let mut parser = Parser { tokens: &tokens, at: 0, options, canonical, fixed: String::new(), nodes: Vec::new() };
    parser.run()?;
    Ok(parser.nodes)
}

struct Parser<'t, C> {
    tokens: &'t [Token<'t>],
    at: usize,
    options: Options,
    canonical: C,
    fixed: String,
    nodes: Vec<Node>,
}

impl<'t, C: Fn(&str) -> String> Parser<'t, C> {
    fn take(&mut self, kind: Kind) -> Option<&'t str> {
        let token = self.tokens.get(self.at).filter(|token| token.kind == kind)?;
        self.at += 1;
        Some(token.text)
    }

    fn run(&mut self) -> Result<(), Problem> {
        loop {
            let character = self.take(Kind::Char);
            if let Some(value) = self.value()? {
                let mut prefix = character.unwrap_or_default();
                if prefix != self.options.prefix {
                    self.fixed.push_str(prefix);
                    prefix = "";
                }
                self.flush();
                let modifier = self.modifier();
                self.part(prefix, Some(value), "", modifier);
                continue;
            }
            if let Some(text) = character.or_else(|| self.take(Kind::Escaped)) {
                self.fixed.push_str(text);
                continue;
            }
            if self.take(Kind::Open).is_none() {
                break;
            }
            let prefix = self.text();
            let value = self.value()?;
            let suffix = self.text();
            self.take(Kind::Close).ok_or("a `{` has no `}` behind it, or groups are inside each other")?;
            let modifier = self.modifier();
            if value.is_none() && modifier.is_none() {
                self.fixed.push_str(&prefix);
                continue;
            }
            self.flush();
            self.part(&prefix, value, &suffix, modifier);
        }
        self.flush();
        self.take(Kind::End)
            .map(|_| ())
            .ok_or("a `?`, `+` or `}` stands where nothing is to be repeated or closed; escape it with a backslash")
    }

    /// `:name`, `:name(regex)`, `(regex)` or `*`.
    fn value(&mut self) -> Result<Option<Node>, Problem> {
        let name = self.take(Kind::Name);
        if let Some(regex) = self.take(Kind::Regex) {
            return expression(regex).map(Some);
        }
        if name.is_some() {
            let segment = self.options.delimiter.map_or(ANY, |delimiter| ANY.without(delimiter));
            return Ok(Some(Node::many(segment, 1)));
        }
        Ok(self.take(Kind::Asterisk).map(|_| Node::many(ANY, 0)))
    }

    fn modifier(&mut self) -> Option<&'t str> {
        self.take(Kind::Modifier).or_else(|| self.take(Kind::Asterisk))
    }

    fn text(&mut self) -> String {
        let mut text = String::new();
        while let Some(more) = self.take(Kind::Char).or_else(|| self.take(Kind::Escaped)) {
            text.push_str(more);
        }
        text
    }

    fn literal(&self, text: &str) -> Node {
        Node::Literal((self.canonical)(text).into_bytes())
    }

    fn flush(&mut self) {
        if !self.fixed.is_empty() {
            let fixed = std::mem::take(&mut self.fixed);
            self.nodes.push(self.literal(&fixed));
        }
    }

    fn part(&mut self, prefix: &str, value: Option<Node>, suffix: &str, modifier: Option<&str>) {
        let (before, behind) = (self.literal(prefix), self.literal(suffix));
        let value = value.unwrap_or_else(|| Node::Chain(Vec::new()));
        let once = Node::Chain(vec![before.clone(), value.clone(), behind.clone()]);
        let several = || {
            let further = Node::Chain(vec![behind.clone(), before.clone(), value.clone()]).repeat(0, None);
            Node::Chain(vec![before.clone(), value.clone(), further, behind.clone()])
        };
        self.nodes.push(match modifier {
            None => once,
            Some("?") => once.repeat(0, Some(1)),
            Some("+") => several(),
            Some(_) => several().repeat(0, Some(1)),
        });
    }
}

/// A regular expression as nodes.
fn expression(regex: &str) -> Result<Node, Problem> {
    let mut parser = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).nest_limit(32).build();
    let hir = parser.parse(regex).map_err(|_| "what stands in `(…)` is no regular expression that is spoken here")?;
    node(&hir)
}

const BEYOND: &str = "what stands in `(…)` has an anchor or a class beyond ASCII";

fn one_of(class: &ClassBytes) -> Node {
    Node::One(class.iter().fold(Bytes::NONE, |set, range| set.with(range.start(), range.end())).without(SEPARATOR))
}

fn node(hir: &Hir) -> Result<Node, Problem> {
    Ok(match hir.kind() {
        HirKind::Empty => Node::Chain(Vec::new()),
        HirKind::Literal(literal) => Node::Literal(literal.0.to_vec()),
        HirKind::Class(Class::Bytes(class)) => one_of(class),
        // `a|b` comes as a class of characters, also where bytes were asked for.
        HirKind::Class(Class::Unicode(class)) => one_of(&class.to_byte_class().ok_or(BEYOND)?),
        HirKind::Look(_) => return Err(BEYOND),
        HirKind::Repetition(repetition) => node(&repetition.sub)?.repeat(repetition.min, repetition.max),
        HirKind::Capture(capture) => node(&capture.sub)?,
        HirKind::Concat(parts) => Node::Chain(parts.iter().map(node).collect::<Result<_, _>>()?),
        HirKind::Alternation(parts) => Node::Either(parts.iter().map(node).collect::<Result<_, _>>()?),
    })
}
