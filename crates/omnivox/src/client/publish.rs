//! One message to the server.

use serde_json::json;
use serde_json::value::RawValue;

use super::connection::{ANSWER_TIME_MAX, Access, Connection, Request};
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
    let mut connection = Connection::open(access).await?;
    let path = access.target.path(PATH, &[]);
    let body = draft.body();
    let request = Request { method: "POST", path: &path, headers: access.headers(), body: Some(body.as_bytes()) };
    let head = connection.request(&request, ANSWER_TIME_MAX).await?;
    let answer = connection.whole(&head).await?;
    if !(200..300).contains(&head.status()) {
        return Err(Trouble::from_status(head.status(), PATH, &answer));
    }
    match serde_json::from_slice::<&RawValue>(&answer) {
        Ok(answer) => Ok(answer.get().replace(['\r', '\n'], " ")),
        Err(_) => Err(Trouble::Protocol(format!("{PATH} answered no JSON"))),
    }
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
