//! What the service manager is told (`sd_notify(3)`): the server listens, reads its settings again, drains.
//!
//! ```text
//! READY=1                             `systemctl start` returns
//! RELOADING=1 … READY=1               `systemctl reload`
//! STOPPING=1, EXTEND_TIMEOUT_USEC=…   a drain may take as long as `drain.deadline_ms`
//! ```
//!
//! Without `NOTIFY_SOCKET` in the environment all of it does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// What closing the last connections may take behind the drain's deadline.
const AFTER_THE_DEADLINE: Duration = Duration::from_secs(5);

/// The server listens, or has read its settings again.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The settings are being read again.
pub(crate) fn reloading() {
    let Ok(now) = NotifyState::monotonic_usec_now() else {
        return;
    };
    tell(&[NotifyState::Reloading, now]);
}

/// Clients are being sent away.
pub(crate) fn draining(deadline: Duration) {
    let micros = u32::try_from((deadline + AFTER_THE_DEADLINE).as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros), NotifyState::Status("clients are being sent away")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told; is NOTIFY_SOCKET right?");
    }
}
