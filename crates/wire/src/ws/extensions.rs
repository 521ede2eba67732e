//! The grammar of `Sec-WebSocket-Extensions`: `name; parameter; parameter=value, name`.

/// One extension with its parameters, borrowed from the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension<'h> {
    /// The extension's name.
    pub name: &'h str,
    /// Its parameters in order, a quoted value without the quotes.
    pub parameters: Vec<(&'h str, Option<&'h str>)>,
}

/// Appends the extensions of one header value; `None` on a syntax error or more than a sane number of them.
pub(super) fn parse_extensions<'h>(value: &'h [u8], into: &mut Vec<Extension<'h>>) -> Option<()> {
    let value = str::from_utf8(value).ok()?;
    // No value that we know contains a comma or a semicolon, so a quoted one that does is a syntax error.
    for entry in value.split(',') {
        let mut parts = entry.split(';').map(trim);
        let name = parts.next().filter(|name| is_token(name))?;
        let mut parameters = Vec::new();
        for part in parts {
            parameters.push(parse_parameter(part)?);
        }
        into.push(Extension { name, parameters });
        if into.len() > EXTENSIONS_MAX {
            return None;
        }
    }
    Some(())
}

fn parse_parameter(part: &str) -> Option<(&str, Option<&str>)> {
    let Some((name, value)) = part.split_once('=') else { return is_token(part).then_some((part, None)) };
    let (name, value) = (trim(name), trim(value));
    let value = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    (is_token(name) && is_token(value)).then_some((name, Some(value)))
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// A token of RFC 9110 §5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(crate::http1::is_token_byte)
}

const EXTENSIONS_MAX: usize = 64;
