//! Questions to clients that wait for their acknowledgement.
//!
//! Invariant: only a socket that was asked can answer, and each once; a question that nobody waits for any more is forgotten.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use omnivox_dialects::socketio::Member;
use tokio::sync::mpsc;

/// A socket's id and its answer; none when it went away.
pub(super) type Answer = (Arc<str>, Option<Vec<String>>);

/// All questions of an endpoint.
#[derive(Default, Clone)]
pub(super) struct Questions(Arc<State>);

#[derive(Default)]
struct State {
    asked: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

struct Waiting {
    /// Those who have not answered.
    open: Vec<Member>,
    answers: mpsc::UnboundedSender<Answer>,
}

/// One question; when it goes out of scope nobody waits for it any more.
pub(super) struct Question {
    number: u64,
    state: Arc<State>,
    answers: mpsc::UnboundedReceiver<Answer>,
}

impl Questions {
    /// A question to these sockets.
    pub(super) fn ask(&self, open: Vec<Member>) -> Question {
        let number = self.0.asked.fetch_add(1, Ordering::Relaxed);
        let (sender, answers) = mpsc::unbounded_channel();
        self.0.waiting().insert(number, Waiting { open, answers: sender });
        Question { number, state: self.0.clone(), answers }
    }

    /// A socket answers.
    pub(super) fn answered(&self, number: u64, socket: &Member, arguments: Vec<String>) {
        if let Some(waiting) = self.0.waiting().get_mut(&number) {
            waiting.settle(socket, Some(arguments));
        }
    }

    /// A socket is gone: it answers no more.
    pub(super) fn gone(&self, socket: &Member) {
        for waiting in self.0.waiting().values_mut() {
            waiting.settle(socket, None);
        }
    }
}

impl State {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn settle(&mut self, socket: &Member, answer: Option<Vec<String>>) {
        if let Some(at) = self.open.iter().position(|open| open == socket) {
            self.open.swap_remove(at);
            let _ = self.answers.send((socket.id().clone(), answer));
        }
    }
}

impl Question {
    /// The number under which the clients are asked.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next answer.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.state.waiting().remove(&self.number);
    }
}
