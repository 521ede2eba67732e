//! What sessions may ask of webhooks: back ends look at deliveries, and try a webhook.

use omnivox_core::command::{Denied, Reply};
use omnivox_core::grants::Principal;
use omnivox_core::publication::Author;
use omnivox_core::webhook::AttemptQuery;

use crate::hub::{Door, Hub, Outcome, Running};

impl Hub {
    /// The client who publishes, when a webhook of its app wants to know.
    pub(crate) fn author(&self, principal: &Principal) -> Option<Author> {
        let wanted = !principal.back_end && self.webhooks().is_some_and(|webhooks| webhooks.wants_publications(&principal.app));
        wanted.then(|| Author { user: principal.user.clone() })
    }
}

impl Door<'_> {
    /// How deliveries to the app's webhooks went.
    pub(crate) fn deliveries(&self, query: AttemptQuery) -> Running {
        let query = AttemptQuery { most: query.most.min(self.hub.limits().history_page_max), ..query };
        let found = self.hub.webhooks().map(|webhooks| webhooks.deliveries(&self.app.id, &query));
        Box::pin(std::future::ready(Ok(Outcome::Reply(Reply::Deliveries(found.unwrap_or_default())))))
    }

    /// Sends a webhook of the app an event that means nothing.
    pub(crate) fn test_webhook(&self, webhook: Box<str>) -> Running {
        let (webhooks, app) = (self.hub.webhooks().cloned(), self.app.id.clone());
        Box::pin(async move {
            let tested = match &webhooks {
                Some(webhooks) => webhooks.test(&app, &webhook).await,
                None => None,
            };
            let unknown = || Denied::NotFound(format!("the app has no webhook `{webhook}` that takes events (see [[webhook]])").into());
            tested.map(|id| Outcome::Reply(Reply::Tested(id))).ok_or_else(unknown)
        })
    }
}
