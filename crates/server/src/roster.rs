//! Who is connected: asks every shard for its part of the answer.

use omnivox_core::command::Connection;
use omnivox_core::engine::Task;
use omnivox_core::name::{AppId, UserId};
use omnivox_hub::hub::Roster;
use tokio::sync::{mpsc, oneshot};

use crate::shard::{Inquiry, Visit};

/// The doors of all shards.
pub(crate) struct Doors(pub Vec<mpsc::UnboundedSender<Visit>>);

impl Roster for Doors {
    fn connections(&self, app: &AppId, user: &UserId, most: usize) -> Task<Vec<Connection>> {
        let answers: Vec<_> = self
            .0
            .iter()
            .map(|door| {
                let (answer, answered) = oneshot::channel();
                let _ = door.send(Visit::Inquiry(Box::new(Inquiry { app: app.clone(), user: user.clone(), most, answer })));
                answered
            })
            .collect();
        Box::pin(async move {
            let mut all = Vec::new();
            for answered in answers {
                // A shard that has stopped has nobody any more.
                all.extend(answered.await.unwrap_or_default());
            }
            Ok(all)
        })
    }
}
