//! What a setting can hold: each type says how it is read from TOML and from text, and how it is written back.
//!
//! A file gives typed TOML values; environment variables and flags give text. Both end in the same Rust type, so a limit that is
//! a number in the file is a number everywhere. Durations are whole milliseconds and their keys end in `_ms`.
//!
//! Invariant: `T::from_toml` of what `T::to_toml` wrote gives the same value back; the sample file depends on it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use omnivox_core::{AppId, ChannelName, Pattern};
use omnivox_server::proxies::Network;
use toml::de::DeValue;

/// A type that a setting can have.
pub(crate) trait Value: Sized {
    /// The shape, for the reference, the sample file and the JSON schema.
    const KIND: Kind;

    /// Reads a value of a TOML file. The error says what was expected; the caller adds the place.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String>;

    /// Reads an environment variable or a flag.
    fn from_text(text: &str) -> Result<Self, String>;

    /// Writes the value as TOML; `None` when it is unset.
    fn to_toml(&self) -> Option<String>;
}

/// The shape of a value, as a reader of the reference sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number between the two bounds.
    Integer {
        /// Smallest number that the type holds.
        min: i64,
        /// Largest number that the type holds.
        max: i64,
    },
    /// A number from 0 to 1.
    Ratio,
    /// Any text.
    Text,
    /// Text that is never shown in logs.
    Secret,
    /// A file or directory.
    Path,
    /// An IP address and a port.
    Address,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts; comma-separated in the environment and in flags.
    List(&'static Self),
}

impl Kind {
    /// Whether the value, or what a list of them holds, must not be shown.
    pub(crate) fn is_secret(self) -> bool {
        match self {
            Self::Secret => true,
            Self::List(item) => item.is_secret(),
            Self::Boolean | Self::Integer { .. } | Self::Ratio | Self::Text | Self::Path | Self::Address | Self::Choice(_) => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => formatter.write_str("true or false"),
            Self::Integer { .. } => formatter.write_str("integer"),
            Self::Ratio => formatter.write_str("number from 0 to 1"),
            Self::Text => formatter.write_str("text"),
            Self::Secret => formatter.write_str("secret text"),
            Self::Path => formatter.write_str("path"),
            Self::Address => formatter.write_str("address:port"),
            Self::Choice(words) => formatter.write_str(&words.join(" | ")),
            Self::List(item) => write!(formatter, "list of {item}"),
        }
    }
}

/// Names the TOML type that was found where another was expected.
fn expected(what: &str, found: &DeValue<'_>) -> String {
    format!("expected {what}, found {}", found.type_str())
}

fn string<'a>(value: &'a DeValue<'_>, what: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| expected(what, value))
}

/// Writes a TOML basic string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

impl Value for bool {
    const KIND: Kind = Kind::Boolean;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| expected("true or false", value))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            other => Err(format!("expected true or false, found {other:?}")),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// The largest integer that TOML can hold, as the upper bound of wider types.
const TOML_MAX: u64 = i64::MAX as u64;

fn integer(value: &DeValue<'_>) -> Result<i64, String> {
    let DeValue::Integer(digits) = value else {
        return Err(expected("a whole number", value));
    };
    i64::from_str_radix(digits.as_str(), digits.radix()).map_err(|_| format!("{digits} is too large"))
}

fn within<T: TryFrom<i64>>(number: i64, kind: Kind) -> Result<T, String> {
    T::try_from(number).map_err(|_| match kind {
        Kind::Integer { min, max } => format!("{number} is not between {min} and {max}"),
        _ => format!("{number} does not fit"),
    })
}

/// Reads a whole number, with `_` between digits as TOML allows it.
fn digits(text: &str) -> Result<i64, String> {
    text.trim().replace('_', "").parse().map_err(|_| format!("expected a whole number, found {text:?}"))
}

/// Writes a number as people read it: `65_536`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Value for $type {
            const KIND: Kind = Kind::Integer {
                min: 0,
                max: if <$type>::MAX as u64 > TOML_MAX { i64::MAX } else { <$type>::MAX as i64 },
            };

            fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
                within(integer(value)?, Self::KIND)
            }

            fn from_text(text: &str) -> Result<Self, String> {
                within(digits(text)?, Self::KIND)
            }

            fn to_toml(&self) -> Option<String> {
                Some(grouped(*self as u64))
            }
        }
    )*};
}
whole_numbers!(u8, u16, u32, u64, usize);

impl Value for Duration {
    const KIND: Kind = Kind::Integer { min: 0, max: i64::MAX };

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        Ok(Self::from_millis(u64::from_toml(value)?))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self::from_millis(u64::from_text(text)?))
    }

    fn to_toml(&self) -> Option<String> {
        Some(grouped(u64::try_from(self.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// A part of a whole: 0 is nothing of it, 1 all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio(pub(crate) f64);

impl Ratio {
    fn parse(text: &str) -> Result<Self, String> {
        let number: f64 = text.trim().parse().map_err(|_| format!("expected a number from 0 to 1, found {text:?}"))?;
        if (0.0..=1.0).contains(&number) { Ok(Self(number)) } else { Err(format!("{number} is not between 0 and 1")) }
    }
}

impl Value for Ratio {
    const KIND: Kind = Kind::Ratio;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::Float(digits) => Self::parse(digits.as_str()),
            DeValue::Integer(digits) => Self::parse(digits.as_str()),
            other => Err(expected("a number from 0 to 1", other)),
        }
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    fn to_toml(&self) -> Option<String> {
        Some(format!("{:?}", self.0))
    }
}

impl Value for String {
    const KIND: Kind = Kind::Text;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        string(value, "text").map(str::to_owned)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(self))
    }
}

impl Value for PathBuf {
    const KIND: Kind = Kind::Path;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        string(value, "a path").map(Self::from)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string_lossy()))
    }
}

impl Value for SocketAddr {
    const KIND: Kind = Kind::Address;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        Self::from_text(string(value, "an address with a port")?)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| format!("{text:?} is not an IP address with a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\""))
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

/// Text that must not be seen: its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Secret(String);

impl Secret {
    /// The text itself, for the one place that hands it on.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl Value for Secret {
    const KIND: Kind = Kind::Secret;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        string(value, "text").map(|text| Self(text.to_owned()))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
}

/// A type that a required key can have.
pub(crate) trait Placeholder {
    /// What stands in the key until it is assigned, and in the sample file. The parser refuses an entry that lacks a required key.
    fn placeholder() -> Self;
}

/// Names and patterns of the hub are parsed where they stand, so that an error has its place.
macro_rules! parsed_texts {
    ($($type:ty = $placeholder:literal),*) => {$(
        impl Value for $type {
            const KIND: Kind = Kind::Text;

            fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
                Self::from_text(string(value, "text")?)
            }

            fn from_text(text: &str) -> Result<Self, String> {
                Self::parse(text).map_err(|error| error.to_string())
            }

            fn to_toml(&self) -> Option<String> {
                Some(quoted(&self.to_string()))
            }
        }

        impl Placeholder for $type {
            fn placeholder() -> Self {
                Self::parse($placeholder).expect("a placeholder is valid")
            }
        }
    )*};
}
parsed_texts!(AppId = "demo", ChannelName = "general", Pattern = "*", Network = "127.0.0.1/32");

impl Placeholder for String {
    fn placeholder() -> Self {
        "...".to_owned()
    }
}

/// A setting that may be absent; an empty environment variable or flag unsets it.
impl<T: Value> Value for Option<T> {
    const KIND: Kind = T::KIND;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        T::from_toml(value).map(Some)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::from_text(text).map(Some) }
    }

    fn to_toml(&self) -> Option<String> {
        self.as_ref().and_then(Value::to_toml)
    }
}

/// A list; a single value is a list of one, because that is what people write.
impl<T: Value> Value for Vec<T> {
    const KIND: Kind = Kind::List(&T::KIND);

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::Array(items) => items.iter().map(|item| T::from_toml(item.get_ref())).collect(),
            single => T::from_toml(single).map(|item| vec![item]),
        }
    }

    fn from_text(text: &str) -> Result<Self, String> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(T::from_text).collect()
    }

    fn to_toml(&self) -> Option<String> {
        let items: Vec<_> = self.iter().filter_map(Value::to_toml).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}

/// Declares an enum whose variants are words of the settings file.
macro_rules! choice {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $about:literal])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[doc = $about])* $variant),* }

        impl $crate::config::value::Value for $name {
            const KIND: $crate::config::value::Kind = $crate::config::value::Kind::Choice(&[$($word),*]);

            fn from_toml(value: &toml::de::DeValue<'_>) -> Result<Self, String> {
                let text = value.as_str().ok_or_else(|| {
                    format!("expected one of {}, found {}", [$($word),*].join(", "), value.type_str())
                })?;
                Self::from_text(text)
            }

            fn from_text(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    other => Err($crate::config::suggest::unknown_word(other, &[$($word),*])),
                }
            }

            fn to_toml(&self) -> Option<String> {
                Some($crate::config::value::quoted(match self { $(Self::$variant => $word),* }))
            }
        }
    };
}
pub(crate) use choice;

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Value + PartialEq + fmt::Debug>(toml: &str, text: &str, value: T) {
        let parsed = DeValue::parse(toml).expect("the case is TOML");
        assert_eq!(T::from_toml(parsed.get_ref()).as_ref(), Ok(&value), "TOML {toml}");
        assert_eq!(T::from_text(text).as_ref(), Ok(&value), "text {text}");
        if let Some(written) = value.to_toml() {
            let again = DeValue::parse(&written).expect("what is written is TOML");
            assert_eq!(T::from_toml(again.get_ref()).as_ref(), Ok(&value), "written {written}");
        }
    }

    #[test]
    fn values_read_alike_from_toml_and_text_and_survive_writing() {
        check("true", "on", true);
        check("65536", "65_536", 65_536_u64);
        check("0x10", "16", 16_u16);
        check("0.25", "0.25", Ratio(0.25));
        check("1", "1", Ratio(1.0));
        check("25000", "25000", Duration::from_secs(25));
        check("\"a\\\"b\\\\\\n\\u0007\"", "a\"b\\\n\u{7}", "a\"b\\\n\u{7}".to_owned());
        check("\"[::1]:80\"", "[::1]:80", "[::1]:80".parse::<SocketAddr>().expect("address"));
        check("[\"a\", \"b\"]", "a, b,", vec!["a".to_owned(), "b".to_owned()]);
        check("\"a\"", "a", vec!["a".to_owned()]);
        check("\"x\"", "x", Some("x".to_owned()));
        check("\"x\"", "x", Secret("x".to_owned()));
        check("\"chat:*\"", "chat:*", Pattern::parse("chat:*").expect("a pattern"));
        assert_eq!(Option::<String>::from_text(""), Ok(None));
    }

    #[test]
    fn a_wrong_value_says_what_was_expected() {
        fn refused<T: Value + fmt::Debug>(toml: &str, message: &str) {
            let parsed = DeValue::parse(toml).expect("the case is TOML");
            assert_eq!(T::from_toml(parsed.get_ref()).expect_err("refused"), message);
        }
        refused::<bool>("1", "expected true or false, found integer");
        refused::<u16>("70000", "70000 is not between 0 and 65535");
        refused::<u64>("-1", "-1 is not between 0 and 9223372036854775807");
        refused::<u64>("99999999999999999999", "99999999999999999999 is too large");
        refused::<Ratio>("1.5", "1.5 is not between 0 and 1");
        refused::<Ratio>("nan", "NaN is not between 0 and 1");
        refused::<Ratio>("true", "expected a number from 0 to 1, found boolean");
        refused::<Vec<u16>>("[1, \"x\"]", "expected a whole number, found string");
        refused::<AppId>("\"\"", "the name is empty; give it 1 to 255 bytes of UTF-8");
        refused::<SocketAddr>(
            "\"localhost\"",
            "\"localhost\" is not an IP address with a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"",
        );
    }

    #[test]
    fn a_secret_is_not_in_its_debug_output() {
        assert!(!format!("{:?}", Some(Secret("hunter2".to_owned()))).contains("hunter2"));
    }
}
