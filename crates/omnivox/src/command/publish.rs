//! `omnivox publish`: one message, and the server's answer on standard output.

use std::io::Read as _;

use anyhow::Context as _;
use serde_json::value::{RawValue, to_raw_value};

use crate::cli::Publish;
use crate::client::publish::{Draft, publish};
use crate::exit::{self, Code};

use super::documents;

/// Publishes what the command line says.
pub(crate) async fn run(wish: &Publish) -> anyhow::Result<()> {
    let text = match wish.data.as_str() {
        "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("reading the payload from standard input")?;
            text
        }
        given => given.to_owned(),
    };
    let data = if wish.text { to_raw_value(&text)? } else { json(&text)? };
    let draft = Draft { channel: &wish.channel, event: wish.event.as_deref(), id: wish.id.as_deref(), data: &data };
    let answer = publish(&wish.server.access(), &draft).await?;
    documents::print(format!("{answer}\n").as_bytes())
}

fn json(text: &str) -> anyhow::Result<Box<RawValue>> {
    serde_json::from_str(text).map_err(|error| exit::error(Code::Usage, format!("DATA is not JSON: {error}; --text publishes it as text")))
}
