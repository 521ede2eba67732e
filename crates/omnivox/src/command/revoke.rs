//! `omnivox revoke`: ends what a user, a session or a token may do, at once.

use serde_json::json;

use crate::cli::Revoke;
use crate::client::api;

use super::documents;

/// Asks the server to revoke what the command line names.
pub(crate) async fn run(wish: &Revoke) -> anyhow::Result<()> {
    let body = json!({ wish.what.as_str(): wish.name }).to_string();
    let answer = api::post(&wish.access(), "/v1/revoke", &body).await?;
    let told = if wish.json { format!("{answer}\n") } else { format!("{} {} is revoked\n", wish.what.as_str(), wish.name) };
    documents::print(told.as_bytes())
}
