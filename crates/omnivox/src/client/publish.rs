//! One message to the server.

use serde_json::json;
use serde_json::value::RawValue;

use super::api;
use super::connection::Access;
use super::trouble::Trouble;

/// What is to be published.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) channel: &'a str,
    pub(crate) event: Option<&'a str>,
    pub(crate) id: Option<&'a str>,
    pub(crate) data: &'a RawValue,
}

impl Draft<'_> {
    /// The request body; the payload goes out byte for byte.
    fn body(&self) -> String {
        let mut body = format!(r#"{{"channel":{}"#, json!(self.channel));
        for (key, value) in [("event", self.event), ("id", self.id)] {
            if let Some(value) = value {
                body.push_str(&format!(r#","{key}":{}"#, json!(value)));
            }
        }
        body.push_str(&format!(r#","data":{}}}"#, self.data.get()));
        body
    }
}

/// Publishes and gives the server's answer, on one line.
pub(crate) async fn publish(access: &Access, draft: &Draft<'_>) -> Result<String, Trouble> {
    api::post(access, PATH, &draft.body()).await
}

const PATH: &str = "/v1/publish";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_not_touched() {
        let data: Box<RawValue> = serde_json::from_str(r#"{"b":1.00, "a":"ü"}"#).expect("JSON");
        let draft = Draft { channel: "a\"b", event: Some("chat"), id: None, data: &data };
        assert_eq!(draft.body(), r#"{"channel":"a\"b","event":"chat","data":{"b":1.00, "a":"ü"}}"#);
    }
}
