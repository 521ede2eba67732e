//! The arguments of events and acknowledgements as tuples.
//!
//! ```
//! use omnivox_server::socketio::arguments::{Binary, from_json, into_json};
//! let json = into_json(&("text", 7, Binary(vec![1, 2, 3]))).unwrap();
//! assert_eq!(json, [r#""text""#, "7", r#"{"_placeholder":true,"num":0,"base64":"AQID"}"#]);
//! let (text, number, _): (String, u8, Binary) = from_json(&json).unwrap();
//! assert_eq!((text.as_str(), number), ("text", 7));
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Refusal;

/// A list of arguments: a tuple, from the empty one up.
pub trait Arguments: Sync {
    /// Each as JSON.
    fn to_json(&self) -> serde_json::Result<Vec<String>>;
}

macro_rules! tuples {
    ($($name:ident)*) => {
        impl<$($name: Serialize + Sync),*> Arguments for ($($name,)*) {
            #[expect(non_snake_case, reason = "each type parameter names its own value")]
            fn to_json(&self) -> serde_json::Result<Vec<String>> {
                let ($($name,)*) = self;
                Ok(vec![$(serde_json::to_string($name)?),*])
            }
        }
    };
}

tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);

impl Arguments for () {
    fn to_json(&self) -> serde_json::Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// The arguments as JSON.
pub fn into_json<A: Arguments>(arguments: &A) -> Result<Vec<String>, Refusal> {
    arguments.to_json().map_err(|error| Refusal::new("invalid", format!("the arguments are no JSON: {error}")))
}

/// A tuple from JSON values. What a client sends beyond it is passed over, as in JavaScript.
pub fn from_json<A: DeserializeOwned>(values: &[String]) -> Result<A, String> {
    let mut list = String::with_capacity(values.iter().map(|value| value.len() + 1).sum::<usize>() + 2);
    // The empty tuple is written as nothing at all.
    if size_of::<A>() == 0
        && let Ok(nothing) = serde_json::from_str("null")
    {
        return Ok(nothing);
    }
    let mut count = values.len();
    loop {
        list.clear();
        list.push('[');
        list.push_str(&values[..count].join(","));
        list.push(']');
        match serde_json::from_str(&list) {
            Ok(arguments) => return Ok(arguments),
            Err(error) if count > 0 && error.to_string().starts_with("trailing characters") => count -= 1,
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Binary data: a `Buffer` or `ArrayBuffer` of the client, alone or inside another argument.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Binary(pub Vec<u8>);

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut placeholder = serializer.serialize_struct("Binary", 3)?;
        placeholder.serialize_field("_placeholder", &true)?;
        placeholder.serialize_field("num", &0)?;
        placeholder.serialize_field("base64", &STANDARD.encode(&self.0))?;
        placeholder.end()
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Placeholder {
            base64: String,
        }
        let placeholder = Placeholder::deserialize(deserializer)?;
        STANDARD.decode(placeholder.base64).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn tuples_fit_what_clients_send() {
        assert_eq!(from_json::<(String, u8)>(&values(&["\"a\"", "1"])), Ok(("a".to_owned(), 1)));
        assert_eq!(from_json::<(String,)>(&values(&["\"a\"", "1", "{}"])), Ok(("a".to_owned(),)), "more than was asked for");
        assert_eq!(from_json::<()>(&values(&["1"])), Ok(()));
        assert_eq!(from_json::<(u8,)>(&values(&[])).unwrap_err(), "invalid length 0, expected a tuple of size 1 at line 1 column 2");
        assert!(from_json::<(u8,)>(&values(&["\"x\""])).unwrap_err().contains("expected u8"));
        let binary = Binary(vec![0, 255]);
        assert_eq!(from_json::<(Binary,)>(&into_json(&(binary.clone(),)).unwrap()), Ok((binary,)));
    }
}
