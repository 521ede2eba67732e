//! How held polls are answered, in one copy for all that are answered the same way: a held poll is to cost little.

use std::sync::{Arc, Mutex, PoisonError};

use omnivox_core::Coding;
use omnivox_core::session::Drain;

/// What was made before.
#[derive(Debug, Default)]
pub(in super::super) struct Drains(Mutex<Vec<Known>>);

#[derive(Debug)]
struct Known {
    /// The origin that stands in the answer, if one does.
    origin: Option<Box<str>>,
    coding: Option<Coding>,
    drain: Arc<Drain>,
}

/// How many are kept. An origin gets here only when the settings list it, so that few servers have more.
const KNOWN_MAX: usize = 32;

impl Drains {
    /// The one for that origin and coding.
    pub(super) fn take(&self, origin: Option<&str>, coding: Option<Coding>, make: impl FnOnce() -> Drain) -> Arc<Drain> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.iter().find(|known| known.coding == coding && known.origin.as_deref() == origin) {
            return known.drain.clone();
        }
        let drain = Arc::new(make());
        if known.len() == KNOWN_MAX {
            known.remove(0);
        }
        known.push(Known { origin: origin.map(Box::from), coding, drain: drain.clone() });
        drain
    }
}
