//! What every dialect must show: a conversation for each thing that a client may need, and that no garbage breaks it.
//!
//! ```text
//! omnivox_testkit::dialect_suite! {
//!     dialect: || Native::new(NativeSettings::default()),
//!     conversations: Conversations { connect: "> WS /v1/ws\n< 101\n? connect anonymous", … },
//! }
//! ```
//!
//! Each conversation is a [`transcript`]. A dialect that lacks one does not compile, and one that does not do what its
//! name says fails.
//!
//! Invariant: whatever a client says, the dialect does not panic, writes legal frames only, and answers every request once.

mod ordeal;

use omnivox_core::Dialect;

use crate::transcript;

pub use ordeal::endures;

/// The conversations of a dialect.
#[derive(Clone, Copy, Debug)]
pub struct Conversations {
    /// A client comes, with and without a credential.
    pub connect: &'static str,
    /// It joins a channel and hears what is published there.
    pub subscribe: &'static str,
    /// It publishes.
    pub publish: &'static str,
    /// It comes back with a mark and is given what it missed.
    pub resume: &'static str,
    /// It is seen, and sees others.
    pub presence: &'static str,
    /// It is told that it may not, in words it can show.
    pub deny: &'static str,
    /// It takes too little and is cut off with the dialect's own code.
    pub slow_consumer: &'static str,
    /// The server goes away and says so.
    pub drain: &'static str,
    /// It says what means nothing, and is told or cut off.
    pub garbage: &'static str,
    /// Requests that a client makes: method (`WS` for a WebSocket) and target, header lines below it. `$key` is the key of a session.
    pub doors: &'static [&'static str],
    /// Messages and bodies that a client sends.
    pub words: &'static [&'static str],
}

impl Conversations {
    /// By name, with words of which at least one must stand in it: what makes it a conversation about that. Where a protocol has seats and
    /// signals instead of subscriptions and publications, it speaks of those.
    fn named(&self, name: &str) -> (&'static str, &'static [&'static str]) {
        match name {
            "connect" => (self.connect, &["? connect token", "? connect ticket", "? connect key", "? seat"]),
            "subscribe" => (self.subscribe, &["! publish", "? seat"]),
            "publish" => (self.publish, &["? publish", "? signal"]),
            "resume" => (self.resume, &[" since ", "? seat"]),
            "presence" => (self.presence, &["! enter"]),
            "deny" => (self.deny, &["! deny"]),
            "slow_consumer" => (self.slow_consumer, &["! close slow_consumer"]),
            "drain" => (self.drain, &["! close drain"]),
            "garbage" => (self.garbage, &["> "]),
            other => panic!("there is no conversation {other:?}"),
        }
    }

    /// Plays one of the conversations.
    #[track_caller]
    pub fn play(&self, name: &str, dialect: &dyn Dialect) {
        let (text, marks) = self.named(name);
        assert!(
            marks.iter().any(|mark| text.contains(mark)),
            "the conversation {name:?} is about something else: none of {marks:?} is in it"
        );
        let heard =
            text.lines().any(|line| line.split_once('<').is_some_and(|(label, _)| label.trim().bytes().all(|b| b.is_ascii_alphanumeric())));
        assert!(heard, "the conversation {name:?} expects nothing");
        transcript::check(dialect, text);
    }
}

/// Makes a test of each conversation, and one of garbage.
#[macro_export]
macro_rules! dialect_suite {
    (dialect: $dialect:expr, conversations: $conversations:expr $(,)?) => {
        $crate::dialect_suite! { @each $dialect, $conversations;
            connect, subscribe, publish, resume, presence, deny, slow_consumer, drain, garbage
        }

        #[test]
        fn no_garbage_breaks_the_dialect() {
            $crate::dialect::endures(&$dialect(), &$conversations);
        }
    };
    (@each $dialect:expr, $conversations:expr; $($name:ident),*) => {
        $(
            #[test]
            fn $name() {
                $conversations.play(stringify!($name), &$dialect());
            }
        )*
    };
}
