//! Errands: what a back end wants of a socket of this session.

use std::sync::Arc;

use omnivox_core::{ChannelName, Frame, Publication};
use smallvec::SmallVec;

use super::super::delivery::{self, Format, Tail};
use super::super::directory::lock;
use super::super::emission::Errand;
use super::super::engine::{Over, Revision};
use super::super::line::Line;
use super::super::packet::Kind;
use super::super::tags;
use super::handlers::Asker;
use super::requests::Joining;
use super::{Outline, Sockets};

/// The event that was emitted last to many sockets, in one format: made once, not once for each.
#[derive(Default)]
pub(in super::super) struct LastTold(Option<(Arc<Publication>, Format, Frame)>);

impl LastTold {
    fn frame(&self, publication: &Arc<Publication>, format: Format) -> Option<Frame> {
        let (known, made_for, frame) = self.0.as_ref()?;
        (Arc::ptr_eq(known, publication) && *made_for == format).then(|| frame.clone())
    }
}

impl Sockets {
    /// Does an errand, if the socket that it is for is still there.
    pub(super) fn errand(&mut self, errand: &str, publication: &Arc<Publication>, line: &mut Line<'_>) -> Result<(), Over> {
        if let Some(decision @ (Errand::Admit | Errand::Refuse)) = Errand::named(errand) {
            self.decided(decision, publication, line);
            return Ok(());
        }
        let namespace = publication.tag(tags::NAMESPACE).unwrap_or("/");
        let found = self.sockets.iter().position(|socket| *socket.record().namespace == *namespace);
        let Some(index) = found else { return Ok(()) };
        let record = self.sockets[index].record().clone();
        if publication.tag(tags::TO).is_some_and(|to| *to != *record.id) {
            return Ok(());
        }
        let number = publication.tag(tags::NUMBER).and_then(|number| number.parse().ok());
        match Errand::named(errand) {
            Some(Errand::Emit) if publication.tag(tags::VOLATILE).is_some() && !line.engine.is_writable() => {}
            Some(Errand::Emit) => self.tell(namespace, number, publication, line),
            Some(Errand::Join) => {
                let joining = Joining { channels: channels(publication), since: None, presence: None, admitted: true };
                self.join_channels(Asker::for_number(&record, number), joining, line);
            }
            Some(Errand::Leave) => self.leave_channels(Asker::for_number(&record, number), &channels(publication), line),
            Some(Errand::Disconnect) => {
                line.send(delivery::control(self.reader.parser(), Kind::Disconnect, namespace, None));
                self.disconnect(index, "server namespace disconnect", line);
            }
            Some(Errand::Close) => {
                self.goodbye_to_all(line);
                return Err(Over::ByServer);
            }
            Some(Errand::Acknowledge) => {
                let outline = Outline { namespace, name: None, id: number };
                let most = self.shared.settings.attachments_max;
                if let Some(packet) = delivery::acknowledgement(self.reader.parser(), outline, publication, most) {
                    line.send(packet);
                }
            }
            Some(Errand::Admit | Errand::Refuse) | None => debug_assert!(false, "an errand for a socket has a kind"),
        }
        Ok(())
    }

    /// Emits the event to the client.
    fn tell(&self, namespace: &str, number: Option<u64>, publication: &Arc<Publication>, line: &mut Line<'_>) {
        let format = self.format();
        let shared = self.revision == Revision::Four && publication.tag(tags::TO).is_none();
        if shared && let Some(frame) = lock(&self.shared.last_told).frame(publication, format) {
            return line.send_frame(frame);
        }
        // As in the reference, what asks for an acknowledgement has no offset.
        let tail = (format.offset && number.is_none()).then_some(Tail::Nothing);
        let most = self.shared.settings.attachments_max;
        let Some(packet) = delivery::question(format.parser, Outline { namespace, name: None, id: number }, publication, tail, most) else {
            return;
        };
        if !shared {
            return line.send(packet);
        }
        let frame = packet.into_frame();
        lock(&self.shared.last_told).0 = Some((publication.clone(), format, frame.clone()));
        line.send_frame(frame);
    }
}

fn channels(publication: &Publication) -> SmallVec<[ChannelName; 1]> {
    let names: Vec<&str> = serde_json::from_slice(publication.draft.payload.bytes()).unwrap_or_default();
    names.into_iter().filter_map(|name| ChannelName::parse(name).ok()).collect()
}
