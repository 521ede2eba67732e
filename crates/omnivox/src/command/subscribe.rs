//! `omnivox subscribe`: messages on standard output, everything else on standard error.

use std::io::{self, Write as _};
use std::ops::ControlFlow;

use omnivox_core::Mark;

use crate::cli::Subscribe;
use crate::client::subscription::{Heard, Marks, Subscription, Transport, Wanted};
use crate::exit::{self, Code};

/// Prints messages until there were enough, the reader has gone or the server refuses.
pub(crate) async fn run(wish: Subscribe) -> anyhow::Result<()> {
    let mut left = wish.count.map_or(u64::MAX, std::num::NonZeroU64::get);
    let mut failure = Ok(());
    if wish.transport == Transport::Ws && !wish.patterns.is_empty() && wish.patterns.len() + wish.channels.len() > 1 {
        // Each has a mark of its own there, and what several of them mean would come twice after a loss.
        let what = "over a WebSocket a pattern comes alone; with more, use `--transport sse`, where all are one stream";
        return Err(exit::error(Code::Usage, what.to_owned()));
    }
    if wish.patterns.len() + wish.channels.len() > 1 && wish.since.as_deref().is_some_and(is_of_one_channel) {
        let what =
            "--since: an id or a number is a place in one channel; with several give a cursor or `earliest`, or make a call for each";
        return Err(exit::error(Code::Usage, what.to_owned()));
    }
    let wanted = Wanted { channels: wish.channels, patterns: wish.patterns };
    let subscription = Subscription { access: wish.server.access(), wanted, transport: wish.transport, marks: Marks::since(wish.since) };
    let outcome = subscription.run(|heard| match tell(&heard, wish.json) {
        Ok(messages) => {
            left = left.saturating_sub(messages);
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
        Err(error) => {
            // A reader that has seen enough (`| head`) is no failure.
            if error.kind() != io::ErrorKind::BrokenPipe {
                failure = Err(error);
            }
            ControlFlow::Break(())
        }
    });
    outcome.await?;
    Ok(failure?)
}

/// Whether a mark means nothing in other channels; over a WebSocket, where each channel is asked for by itself, nobody else would notice.
fn is_of_one_channel(mark: &str) -> bool {
    matches!(Mark::parse(mark), Ok(Mark::Position(_) | Mark::Offset(_)))
}

/// Prints what was heard; gives how many messages that was.
fn tell(heard: &Heard, json: bool) -> io::Result<u64> {
    let of = |channel: &str| if channel.is_empty() { String::new() } else { format!(" of {channel}") };
    match heard {
        Heard::Message(message) => {
            let mut out = io::stdout().lock();
            writeln!(out, "{}", message.line(json))?;
            out.flush()?;
            return Ok(1);
        }
        Heard::Subscribed { channel, gap, last, .. } => {
            if *gap {
                eprintln!("omnivox: gap: messages{} may be missing before this point", of(channel));
            }
            if *last {
                eprintln!("omnivox: subscribed");
            }
        }
        Heard::Gap(channel) => eprintln!("omnivox: gap: messages{} may be missing before this point", of(channel)),
        Heard::Note(words) => eprintln!("omnivox: {words}"),
        Heard::Mark(_) => {}
    }
    Ok(0)
}
