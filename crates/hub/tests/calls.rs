//! Calls that the embedding program answers: what is published, what comes back to the caller, what is refused.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use omnivox_auth::Settings;
use omnivox_core::app::{App, Namespaces};
use omnivox_core::call::{Answer, Call, Emit};
use omnivox_core::command::{Command, Denied, Reply};
use omnivox_core::engine::{Announcement, Announcer, ShardSet};
use omnivox_core::grants::decide;
use omnivox_core::{AppId, ChannelName, Limits, Permissions, Principal, SessionId};
use omnivox_hub::calls::Asked;
use omnivox_hub::hub::Caller;
use omnivox_hub::quotas::Share;
use omnivox_hub::{Hub, MemoryEngine, Outcome};
use smallvec::SmallVec;
use tokio::runtime::Handle;

/// Keeps what was announced.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Announcer for Heard {
    fn announce(&self, _: ShardSet, announcement: Announcement) {
        let (Announcement::Publication(publication) | Announcement::Direct(publication)) = announcement else { return };
        let channels: Vec<&str> = publication.draft.channels.iter().map(ChannelName::as_str).collect();
        let audience = &publication.draft.audience;
        let users: Vec<&str> = audience.users.iter().map(omnivox_core::UserId::as_str).collect();
        let line = format!(
            "{} {} to {} users {} but {}",
            publication.draft.event.as_deref().unwrap_or_default(),
            String::from_utf8_lossy(publication.draft.payload.bytes()),
            channels.join("+"),
            users.join("+"),
            audience.except_sessions.len()
        );
        self.0.lock().unwrap().push(line);
    }
}

const SESSION: SessionId = SessionId { node: 1, shard: 0, slot: 7, generation: 0 };

fn emit(to: &[&str], users: &[&str], except_caller: bool) -> Emit {
    Emit {
        to: to.iter().map(|name| (*name).into()).collect(),
        users: users.iter().map(|user| omnivox_core::UserId::parse(user).unwrap()).collect(),
        except_caller,
        event: "news".into(),
        arguments: SmallVec::from_elem(Bytes::from_static(b"1"), 1),
    }
}

async fn application(asked: Asked) -> Result<Answer, Denied> {
    let answer = Answer::value(format!("{:?}", asked.session.slot));
    Ok(match &*asked.call.method {
        "slot" => answer,
        "emit" => Answer {
            emits: vec![emit(&["a", "b"], &[], true), emit(&["a"], &["ana"], false), emit(&[], &["ana"], false), emit(&[], &[], false)],
            ..answer
        },
        "join" => Answer { join: vec!["den".into()], leave: vec!["hall".into()], ..answer },
        "wrong" => Answer { emits: vec![emit(&["a"], &[], false), emit(&[""], &[], false)], ..answer },
        "large" => Answer {
            emits: vec![Emit { arguments: SmallVec::from_elem(vec![b' '; 100_000].into(), 1), ..emit(&["a"], &[], false) }],
            ..answer
        },
        "many" => Answer { emits: vec![emit(&["a"], &[], false); 1_001], ..answer },
        "panic" => panic!("a handler's defect"),
        other => return Err(Denied::NotFound(format!("no `{other}`").into())),
    })
}

struct World {
    hub: Arc<Hub>,
    heard: Arc<Heard>,
    app: Arc<App>,
}

impl World {
    fn new() -> Self {
        let app = Arc::new(App::new(AppId::parse("demo").unwrap(), Namespaces::new(Vec::new())));
        let limits = Arc::new(Limits::default());
        let heard = Arc::new(Heard::default());
        let clock: omnivox_hub::memory::Clock = Arc::new(|| 1_700_000_000_000);
        let engine = Arc::new(MemoryEngine::new(heard.clone(), limits.clone(), clock.clone(), 1));
        let hub = Arc::new(Hub::new(vec![Settings::open(app.clone())], engine.clone(), engine, limits, clock));
        Self { hub, heard, app }
    }

    async fn call(&self, method: &str) -> Result<Outcome, Denied> {
        // Somebody on shard 0 hears of every channel.
        let watch = omnivox_core::engine::Watch { patterns: SmallVec::new(), readable: Arc::new(|_| true) };
        let joining = omnivox_core::engine::Joining { channels: &[], watch: Some(&watch), shard: 0, since: None, most: 1 };
        self.hub.log().subscribe(&self.app.id, joining).await.unwrap();
        let principal = Some(Arc::new(Principal::anonymous(self.app.id.clone())));
        let caller = Caller { session: SESSION, principal, subscriptions: 0, quota: Share::default(), dialect: "native", remote: None };
        self.hub.run(&caller, Command::Call(Box::new(Call::new(method.into(), Bytes::from_static(b"{}")))), 0).await
    }
}

#[tokio::test]
async fn the_program_answers_calls() {
    let world = World::new();
    assert!(matches!(world.call("slot").await, Err(Denied::NotFound(words)) if words.contains("set_call_handler")));
    world.hub.set_call_handler(&world.app.id, Arc::new(application), Handle::current());
    let check = async |method: &str, expected: &str, published: &[&str]| {
        let found = match world.call(method).await {
            Ok(Outcome::Granted(_, outcome)) => match *outcome {
                Outcome::Reply(Reply::Called(called)) => format!("{called:?}"),
                other => format!("{other:?}"),
            },
            Ok(other) => format!("{other:?}"),
            Err(denied) => denied.to_string(),
        };
        assert!(found.contains(expected), "{method}: {found}");
        assert_eq!(std::mem::take(&mut *world.heard.0.lock().unwrap()), published, "{method}");
    };
    check("slot", r#"arguments: Some([b"7"])"#, &[]).await;
    let published = ["news 1 to a+b users  but 1", "news 1 to a users ana but 0", "news 1 to  users ana but 0"];
    check("emit", r#"emits: [Emit { to: [], users: []"#, &published).await;
    check("fly", "no `fly`", &[]).await;
    check("panic", "failed to answer", &[]).await;
    // Nothing of a wrong answer is done.
    check("wrong", "names ``", &[]).await;
    check("many", "batch_publications_max", &[]).await;
    check("large", "limits.message_bytes_max", &[]).await;
}

#[tokio::test]
async fn whoever_is_told_to_join_may() {
    let world = World::new();
    world.hub.set_call_handler(&world.app.id, Arc::new(application), Handle::current());
    let Ok(Outcome::Granted(principal, outcome)) = world.call("join").await else { panic!("the call is answered") };
    let Outcome::Reply(Reply::Called(called)) = *outcome else { panic!("with what to do") };
    let (den, hall) = (ChannelName::parse("den").unwrap(), ChannelName::parse("hall").unwrap());
    assert_eq!((called.join, called.leave), (vec![den.clone()], vec![hall.clone()]));
    for (channel, wanted, allowed) in [
        (&den, Permissions::SUBSCRIBE, true),
        (&den, Permissions::HISTORY, true),
        (&den, Permissions::PUBLISH, false),
        (&den, Permissions::MANAGE, false),
        (&hall, Permissions::SUBSCRIBE, false),
    ] {
        assert_eq!(decide(&world.app, &principal, channel, wanted).allowed, allowed, "{channel} {wanted}");
    }
}
