//! MessagePack, as `socket.io-msgpack-parser` speaks it: one packet is one map in one binary message.
//!
//! Dates arrive as the timestamp extension (or as the extension 0 of older clients) and leave as ISO 8601 text, as they would in JSON.
//!
//! Invariant: nothing is reserved on the word of a length that the remaining bytes cannot hold, and nesting stops at [`DEPTH_MAX`].

use bytes::Bytes;

use super::value::Value;

/// How deep lists and maps may be nested.
pub(super) const DEPTH_MAX: usize = 128;

/// Why bytes are not a MessagePack value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadMsgpack;

/// Decodes exactly one value.
pub(super) fn decode(bytes: &[u8]) -> Result<Value, BadMsgpack> {
    let mut reader = Reader { rest: bytes };
    let value = reader.value(0)?;
    if reader.rest.is_empty() { Ok(value) } else { Err(BadMsgpack) }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], BadMsgpack> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(BadMsgpack)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadMsgpack> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(BadMsgpack)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn length(&mut self, bytes: u8) -> Result<usize, BadMsgpack> {
        let mut length = 0;
        for byte in self.take(usize::from(bytes))? {
            length = length << 8 | usize::from(*byte);
        }
        Ok(length)
    }

    fn value(&mut self, depth: usize) -> Result<Value, BadMsgpack> {
        if depth > DEPTH_MAX {
            return Err(BadMsgpack);
        }
        let [tag] = self.array()?;
        Ok(match tag {
            0x00..=0x7f => Value::Unsigned(tag.into()),
            0x80..=0x8f => self.map(usize::from(tag & 0x0f), depth)?,
            0x90..=0x9f => self.list(usize::from(tag & 0x0f), depth)?,
            0xa0..=0xbf => self.text(usize::from(tag & 0x1f))?,
            0xc0 => Value::Null,
            0xc1 => return Err(BadMsgpack),
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xc4..=0xc6 => {
                let length = self.length(1 << (tag - 0xc4))?;
                Value::Binary(Bytes::copy_from_slice(self.take(length)?))
            }
            0xc7..=0xc9 => {
                let length = self.length(1 << (tag - 0xc7))?;
                self.extension(length)?
            }
            0xca => Value::Float(f32::from_be_bytes(self.array()?).into()),
            0xcb => Value::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Value::Unsigned(u8::from_be_bytes(self.array()?).into()),
            0xcd => Value::Unsigned(u16::from_be_bytes(self.array()?).into()),
            0xce => Value::Unsigned(u32::from_be_bytes(self.array()?).into()),
            0xcf => Value::Unsigned(u64::from_be_bytes(self.array()?)),
            0xd0 => signed(i8::from_be_bytes(self.array()?).into()),
            0xd1 => signed(i16::from_be_bytes(self.array()?).into()),
            0xd2 => signed(i32::from_be_bytes(self.array()?).into()),
            0xd3 => signed(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => self.extension(1 << (tag - 0xd4))?,
            0xd9..=0xdb => {
                let length = self.length(1 << (tag - 0xd9))?;
                self.text(length)?
            }
            0xdc | 0xdd => {
                let length = self.length(2 << (tag - 0xdc))?;
                self.list(length, depth)?
            }
            0xde | 0xdf => {
                let length = self.length(2 << (tag - 0xde))?;
                self.map(length, depth)?
            }
            0xe0..=0xff => Value::Signed((tag as i8).into()),
        })
    }

    fn text(&mut self, length: usize) -> Result<Value, BadMsgpack> {
        std::str::from_utf8(self.take(length)?).map(|text| Value::Text(text.into())).map_err(|_| BadMsgpack)
    }

    fn list(&mut self, length: usize, depth: usize) -> Result<Value, BadMsgpack> {
        if length > self.rest.len() {
            return Err(BadMsgpack);
        }
        (0..length).map(|_| self.value(depth + 1)).collect::<Result<_, _>>().map(Value::List)
    }

    fn map(&mut self, length: usize, depth: usize) -> Result<Value, BadMsgpack> {
        if length > self.rest.len() / 2 {
            return Err(BadMsgpack);
        }
        // Not reserved: nested maps could each claim all that is left.
        let mut fields = Vec::new();
        for _ in 0..length {
            let key = match self.value(depth + 1)? {
                Value::Text(text) => text,
                Value::Unsigned(number) => number.to_string().into(),
                Value::Signed(number) => number.to_string().into(),
                Value::Null | Value::Bool(_) | Value::Float(_) | Value::Binary(_) | Value::List(_) | Value::Map(_) => {
                    return Err(BadMsgpack);
                }
            };
            fields.push((key, self.value(depth + 1)?));
        }
        Ok(Value::Map(fields))
    }

    fn extension(&mut self, length: usize) -> Result<Value, BadMsgpack> {
        let [kind] = self.array()?;
        let data = self.take(length)?;
        Ok(match (kind as i8, data.len()) {
            (-1, 4) => date(be(data) as i64 * 1000),
            (-1, 8) => date((be(data) & 0x3_ffff_ffff) as i64 * 1000 + (be(data) >> 34) as i64 / 1_000_000),
            (-1, 12) => date((be(&data[4..]) as i64).saturating_mul(1000).saturating_add(be(&data[..4]) as i64 / 1_000_000)),
            (0, 1) => Value::Null,
            (0, 8) => date(be(data) as i64),
            _ => Value::Binary(Bytes::copy_from_slice(data)),
        })
    }
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A number that is not negative has one form only, whatever width it came in.
fn signed(number: i64) -> Value {
    u64::try_from(number).map_or(Value::Signed(number), Value::Unsigned)
}

/// The time in milliseconds since the Unix epoch as `Date.prototype.toISOString` writes it; `null` for a time that JavaScript has no date for.
fn date(unix_ms: i64) -> Value {
    if unix_ms.unsigned_abs() > 8_640_000_000_000_000 {
        return Value::Null;
    }
    let (days, ms) = (unix_ms.div_euclid(86_400_000), unix_ms.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hour, minute, second, milli) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ if year < 0 => format!("-{:06}", -year),
        _ => format!("+{year:06}"),
    };
    Value::Text(format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z").into())
}

/// The date of a day counted from 1970-01-01, in the Gregorian calendar: years are counted from March, in cycles of 400.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (cycle, day_of_cycle) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (cycle * 400 + year_of_cycle + i64::from(month <= 2), month, day)
}

/// Appends a value.
pub(super) fn encode(value: &Value, into: &mut Vec<u8>) {
    match value {
        Value::Null => into.push(0xc0),
        Value::Bool(value) => into.push(0xc2 + u8::from(*value)),
        Value::Unsigned(number) => write_unsigned(*number, into),
        Value::Signed(number) => write_signed(*number, into),
        Value::Float(number) => {
            into.push(0xcb);
            into.extend_from_slice(&number.to_be_bytes());
        }
        Value::Text(text) => write_text(text, into),
        Value::Binary(bytes) => {
            write_length(bytes.len(), [None, Some(0xc4), Some(0xc5), Some(0xc6)], into);
            into.extend_from_slice(bytes);
        }
        Value::List(items) => {
            write_list_head(items.len(), into);
            items.iter().for_each(|item| encode(item, into));
        }
        Value::Map(fields) => {
            write_map_head(fields.len(), into);
            for (key, value) in fields {
                write_text(key, into);
                encode(value, into);
            }
        }
    }
}

/// Appends a string.
pub(super) fn write_text(text: &str, into: &mut Vec<u8>) {
    write_length(text.len(), [Some(0xa0), Some(0xd9), Some(0xda), Some(0xdb)], into);
    into.extend_from_slice(text.as_bytes());
}

/// Appends the head of a list; its items follow.
pub(super) fn write_list_head(length: usize, into: &mut Vec<u8>) {
    write_length(length, [Some(0x90), None, Some(0xdc), Some(0xdd)], into);
}

/// Appends the head of a map; its keys and values follow.
pub(super) fn write_map_head(length: usize, into: &mut Vec<u8>) {
    write_length(length, [Some(0x80), None, Some(0xde), Some(0xdf)], into);
}

/// Appends an unsigned number.
pub(super) fn write_unsigned(number: u64, into: &mut Vec<u8>) {
    match number {
        0..=0x7f => into.push(number as u8),
        0x80..=0xff => into.extend_from_slice(&[0xcc, number as u8]),
        0x100..=0xffff => {
            into.push(0xcd);
            into.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            into.push(0xce);
            into.extend_from_slice(&(number as u32).to_be_bytes());
        }
        _ => {
            into.push(0xcf);
            into.extend_from_slice(&number.to_be_bytes());
        }
    }
}

fn write_signed(number: i64, into: &mut Vec<u8>) {
    if let Ok(number) = u64::try_from(number) {
        return write_unsigned(number, into);
    }
    if let -32..=-1 = number {
        into.push(number as u8);
    } else if let Ok(number) = i8::try_from(number) {
        into.extend_from_slice(&[0xd0, number as u8]);
    } else if let Ok(number) = i16::try_from(number) {
        into.push(0xd1);
        into.extend_from_slice(&number.to_be_bytes());
    } else if let Ok(number) = i32::try_from(number) {
        into.push(0xd2);
        into.extend_from_slice(&number.to_be_bytes());
    } else {
        into.push(0xd3);
        into.extend_from_slice(&number.to_be_bytes());
    }
}

/// Appends the head of something with a length: in the tag itself, or behind one of the tags for 8, 16 and 32 bits.
fn write_length(length: usize, [within, bits8, bits16, bits32]: [Option<u8>; 4], into: &mut Vec<u8>) {
    let within_max = if within == Some(0xa0) { 31 } else { 15 };
    match (within, bits8, bits16, bits32) {
        (Some(tag), ..) if length <= within_max => into.push(tag | length as u8),
        (_, Some(tag), ..) if length <= 0xff => into.extend_from_slice(&[tag, length as u8]),
        (_, _, Some(tag), _) if length <= 0xffff => {
            into.push(tag);
            into.extend_from_slice(&(length as u16).to_be_bytes());
        }
        (_, _, _, Some(tag)) => {
            into.push(tag);
            into.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
        (_, _, _, None) => debug_assert!(false, "every kind has a form for 32 bits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(bytes: &[u8], json: &str) {
        let mut binaries = 0;
        let value = decode(bytes).unwrap_or_else(|BadMsgpack| panic!("{bytes:02x?} is good"));
        assert_eq!(value.to_json_inline(&mut binaries), json, "{bytes:02x?}");
    }

    #[test]
    fn values_as_javascript_writes_them() {
        check(b"\x82\xa4type\x00\xa3nsp\xa1/", r#"{"type":0,"nsp":"/"}"#);
        check(b"\x93\xc0\xc2\xc3", "[null,false,true]");
        check(b"\x94\xcc\xff\xcd\x01\x00\xd1\xff\x00\xff", "[255,256,-256,-1]");
        check(b"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", "1.5");
        check(b"\xc4\x03\x01\x02\x03", r#"{"_placeholder":true,"num":0,"base64":"AQID"}"#);
        check(b"\x81\x01\xa1a", r#"{"1":"a"}"#);
    }

    #[test]
    fn dates_become_text() {
        check(b"\xd6\xff\x00\x00\x00\x00", r#""1970-01-01T00:00:00.000Z""#);
        check(b"\xd6\xff\x65\xe0\x5b\x80", r#""2024-02-29T10:25:04.000Z""#);
        check(b"\xd7\xff\x77\x35\x94\x00\x65\xe0\x5b\x80", r#""2024-02-29T10:25:04.500Z""#);
        check(b"\xd7\x00\x00\x00\x01\x00\x00\x00\x00\x00", r#""2004-11-03T19:53:47.776Z""#);
        check(b"\xc7\x0c\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff", r#""1969-12-31T23:59:59.000Z""#);
        check(b"\xd7\x00\x7f\xff\xff\xff\xff\xff\xff\xff", "null");
        check(b"\xd4\x00\x00", "null");
    }

    #[test]
    fn bad_bytes_are_refused() {
        let deep = vec![0x91; 200];
        for bytes in [
            &b""[..],
            b"\xc1",
            b"\xa5ab",
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\xa1\xff",
            b"\x00\x00",
            b"\x81\xc0\xc0",
            &deep,
        ] {
            assert_eq!(decode(bytes), Err(BadMsgpack), "{bytes:02x?}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<u64>().prop_map(Value::Unsigned),
            (i64::MIN..0).prop_map(Value::Signed),
            (-200i64..0).prop_map(Value::Signed),
            any::<f32>().prop_filter("comparable", |n| !n.is_nan()).prop_map(|n| Value::Float(n.into())),
            ".{0,40}".prop_map(|text| Value::Text(text.into())),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Value::Binary(bytes.into())),
        ];
        leaf.prop_recursive(4, 64, 20, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..20).prop_map(Value::List),
                prop::collection::vec((".{0,8}".prop_map(Box::<str>::from), inner), 0..20).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_survive_the_round_trip(value in any_value()) {
            let mut bytes = Vec::new();
            encode(&value, &mut bytes);
            prop_assert_eq!(decode(&bytes), Ok(value));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
