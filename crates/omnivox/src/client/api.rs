//! One request of the HTTP API and its answer, on one line.

use serde_json::value::RawValue;

use super::connection::{ANSWER_TIME_MAX, Access, Connection, Request};
use super::trouble::Trouble;

/// Posts JSON to a path of the API.
pub(crate) async fn post(access: &Access, path: &'static str, body: &str) -> Result<String, Trouble> {
    let mut connection = Connection::open(access).await?;
    let target = access.target.path(path, &[]);
    let request = Request { method: "POST", path: &target, headers: access.headers(), body: Some(body.as_bytes()) };
    let head = connection.request(&request, ANSWER_TIME_MAX).await?;
    let answer = connection.whole(&head).await?;
    if !(200..300).contains(&head.status()) {
        return Err(Trouble::from_status(head.status(), path, &answer));
    }
    match serde_json::from_slice::<&RawValue>(&answer) {
        Ok(answer) => Ok(answer.get().replace(['\r', '\n'], " ")),
        Err(_) => Err(Trouble::Protocol(format!("{path} answered no JSON"))),
    }
}
