//! URI templates (RFC 6570, all four levels) as patterns: a text matches when some expansion of the template is that text.
//!
//! As the variables are unknown, an expression stands for every value that it could be expanded to: `{id}` for unreserved characters and
//! percent-encoded ones, `{+path}` for reserved ones too, `{?q,lang}` for up to two pairs behind a `?`.

use super::automaton::{Bytes, Node};

/// What of a template is wrong.
pub(super) type Problem = &'static str;

/// The most variables of one expression.
const VARIABLES_MAX: usize = 32;

/// The parts of a template.
pub(super) fn parse(template: &str) -> Result<Vec<Node>, Problem> {
    let mut nodes = Vec::new();
    let mut rest = template;
    while let Some(open) = rest.find(['{', '}']) {
        if rest.as_bytes()[open] == b'}' {
            return Err("a `}` has no `{` before it");
        }
        nodes.push(Node::Literal(rest.as_bytes()[..open].to_vec()));
        let behind = &rest[open + 1..];
        let close = behind.find('}').ok_or("a `{` has no `}` behind it")?;
        nodes.push(expression(&behind[..close])?);
        rest = &behind[close + 1..];
    }
    nodes.push(Node::Literal(rest.as_bytes().to_vec()));
    Ok(nodes)
}

/// How an operator expands (RFC 6570, appendix A).
struct Operator {
    first: &'static str,
    separator: u8,
    named: bool,
    reserved: bool,
}

const fn operator(first: &'static str, separator: u8, named: bool, reserved: bool) -> Operator {
    Operator { first, separator, named, reserved }
}

fn expression(text: &str) -> Result<Node, Problem> {
    let (operator, list) = match text.as_bytes().first() {
        None => return Err("an expression is empty"),
        Some(b'+') => (operator("", b',', false, true), &text[1..]),
        Some(b'#') => (operator("#", b',', false, true), &text[1..]),
        Some(b'.') => (operator(".", b'.', false, false), &text[1..]),
        Some(b'/') => (operator("/", b'/', false, false), &text[1..]),
        Some(b';') => (operator(";", b';', true, false), &text[1..]),
        Some(b'?') => (operator("?", b'&', true, false), &text[1..]),
        Some(b'&') => (operator("&", b'&', true, false), &text[1..]),
        Some(b'=' | b',' | b'!' | b'@' | b'|') => return Err("an expression has an operator that RFC 6570 keeps for later"),
        Some(_) => (operator("", b',', false, false), text),
    };
    let variables = list.split(',').map(variable).collect::<Result<Vec<Variable>, _>>()?;
    if variables.len() > VARIABLES_MAX {
        return Err("an expression has more than 32 variables");
    }
    let most = u32::try_from(variables.len() - 1).unwrap_or(u32::MAX);
    let explodes = variables.iter().any(|variable| variable.explodes);
    let value = value(&operator, operator.named || explodes);
    let mut chain = vec![Node::Literal(operator.first.as_bytes().to_vec()), value.clone()];
    if most > 0 || explodes {
        let further = Node::Chain(vec![Node::Literal(vec![operator.separator]), value]);
        chain.push(further.repeat(0, (!explodes).then_some(most)));
    }
    Ok(Node::Chain(chain).repeat(0, Some(1)))
}

/// One value: characters and percent-encoded ones. A list has commas, a pair an equals sign.
fn value(operator: &Operator, pairs: bool) -> Node {
    let unreserved = Bytes::of(b"-._~").with(b'A', b'Z').with(b'a', b'z').with(b'0', b'9');
    let mut set = unreserved.with(b',', b',');
    if pairs {
        set = set.with(b'=', b'=');
    }
    if operator.reserved {
        set = b":/?#[]@!$&'()*+,;=".iter().fold(set, |set, byte| set.with(*byte, *byte));
    }
    let hex = Bytes::NONE.with(b'0', b'9').with(b'A', b'F').with(b'a', b'f');
    let encoded = Node::Chain(vec![Node::Literal(vec![b'%']), Node::One(hex), Node::One(hex)]);
    Node::Either(vec![Node::One(set), encoded]).repeat(0, None)
}

struct Variable {
    explodes: bool,
}

fn variable(text: &str) -> Result<Variable, Problem> {
    let (name, explodes) = match text.strip_suffix('*') {
        Some(name) => (name, true),
        None => (text, false),
    };
    let name = match name.split_once(':') {
        Some((_, length)) if explodes || length.is_empty() || length.len() > 4 || !length.bytes().all(|b| b.is_ascii_digit()) => {
            return Err("a variable's `:` is not followed by a length below 10000 alone");
        }
        Some((_, length)) if length.starts_with('0') => return Err("a variable's length begins with 0"),
        Some((name, _)) => name,
        None => name,
    };
    let good = |part: &str| {
        let mut bytes = part.bytes();
        let mut any = false;
        while let Some(byte) = bytes.next() {
            any = true;
            let hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
            if !(byte.is_ascii_alphanumeric() || byte == b'_' || (byte == b'%' && hex(bytes.next()) && hex(bytes.next()))) {
                return false;
            }
        }
        any
    };
    if name.split('.').all(good) { Ok(Variable { explodes }) } else { Err("a variable's name is not letters, digits, `_` and single dots") }
}
