//! Webhooks against a receiver that answers as it is told, with a clock that the test turns.

use std::collections::VecDeque;
use std::path::PathBuf;

use bytes::Bytes;
use omnivox_auth::secret::Secret;
use omnivox_auth::signature::{WebhookHeaders, verify_webhook};
use omnivox_core::event::Member;
use omnivox_core::mark::{Cursor, Epoch, Position};
use omnivox_core::name::{SessionId, UserId};
use omnivox_core::payload::Payload;
use omnivox_core::publication::{Author, Draft};
use omnivox_core::webhook::AttemptStatus;
use serde_json::Value;

use super::*;
use crate::outgoing::Url;

const SECRET: &str = "an example secret that is long enough";
const START_MS: u64 = 1_700_000_000_000;

/// A receiver: it hands every request to the test and answers with the next status, else with 200.
struct Receiver {
    answers: Mutex<VecDeque<Answer>>,
    requests: mpsc::UnboundedSender<(Duration, Request)>,
    begin: Instant,
}

#[derive(Clone, Copy)]
enum Answer {
    Status(u16),
    /// With `retry-after`, in seconds.
    Later(u16, u64),
    /// After so long, 200.
    Slow(Duration),
    Refused,
}

impl Sender for Receiver {
    fn send(&self, request: Request) -> Sending {
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Answer::Status(200));
        let _ = self.requests.send((self.begin.elapsed(), request));
        Box::pin(async move {
            let mut response = Response { status: 200, headers: http::HeaderMap::new(), body: Bytes::new() };
            match answer {
                Answer::Status(status) => response.status = status,
                Answer::Later(status, seconds) => {
                    response.status = status;
                    response.headers.insert(http::header::RETRY_AFTER, seconds.into());
                }
                Answer::Slow(time) => tokio::time::sleep(time).await,
                Answer::Refused => return Err(OutgoingError::Connect { host: "test".into(), words: "refused".into() }),
            }
            Ok(response)
        })
    }
}

/// Webhooks at work, and the receiver's side of them.
struct Stage {
    webhooks: Arc<Webhooks>,
    receiver: Arc<Receiver>,
    requests: mpsc::UnboundedReceiver<(Duration, Request)>,
    begin: Instant,
    offset: u64,
}

impl Stage {
    fn new(config: WebhooksConfig) -> Self {
        let begin = Instant::now();
        let (sender, requests) = mpsc::unbounded_channel();
        let receiver = Arc::new(Receiver { answers: Mutex::default(), requests: sender, begin });
        let clock: Clock = Arc::new(move || START_MS + begin.elapsed().as_millis() as u64);
        let webhooks = Webhooks::open(config, receiver.clone(), clock).unwrap();
        webhooks.start(&Handle::current());
        Self { webhooks, receiver, requests, begin, offset: 0 }
    }

    fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.receiver.answers.lock().unwrap().extend(answers);
    }

    /// `+a` and `-a`: the channel is occupied, vacated; `+a/ana`, `-a/ana`: the user comes, goes; `+a#1`: somebody without a user does;
    /// `a=1`: a back end publishes, `a~1`: a client does.
    fn happens(&mut self, what: &str) {
        let app = app(what.split_once('!').map_or("shop", |(app, _)| app));
        let what = what.split_once('!').map_or(what, |(_, what)| what);
        if let Some((channel, data)) = what.split_once(['=', '~']) {
            self.offset += 1;
            let position = Position { epoch: Epoch(35), offset: self.offset };
            let mut draft = Draft::new(name(channel), Payload::Json(data.to_owned().into()));
            draft.author = what.contains('~').then(|| Author { user: Some(UserId::parse("ana").unwrap()) });
            let places = std::iter::once(Place { channel: name(channel), position, previous: self.offset - 1 }).collect();
            let cursor = Cursor { epoch: Epoch(1), stamp: self.offset };
            return self.webhooks.published(&Arc::new(Publication { app, draft, places, cursor, at_ms: START_MS }));
        }
        let (came, rest) = (what.starts_with('+'), &what[1..]);
        let Some((channel, who)) = rest.split_once(['/', '#']) else {
            return self.webhooks.occupied(&ChannelKey { app, channel: name(rest) }, came);
        };
        let session = SessionId { node: 1, shard: 0, slot: who.parse().unwrap_or(0), generation: 0 };
        let user = rest.contains('/').then(|| UserId::parse(who).unwrap());
        let member = Member { session, key: "".into(), user, data: Some("{\"name\":1}".into()) };
        let action = if came { MemberAction::Enter } else { MemberAction::Leave };
        let event = PresenceEvent { channel: name(channel), action, member, only_of_user: true };
        self.webhooks.appeared(&app, &Arc::new(event));
    }

    async fn at(&self, ms: u64) {
        tokio::time::sleep_until(self.begin + Duration::from_millis(ms)).await;
    }

    /// The next request: when it came, and its events as `type channel`.
    async fn told(&mut self) -> (u64, String, Request) {
        let (at, request) = self.requests.recv().await.unwrap();
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let words = |event: &Value| {
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            let more = event["message"]["data"].to_string().replace("null", "") + event["member"]["user"].as_str().unwrap_or_default();
            format!("{} {} {more}", text("type"), text("channel")).trim().to_owned()
        };
        let events: Vec<String> = body["events"].as_array().unwrap().iter().map(words).collect();
        (at.as_millis() as u64, events.join(", "), request)
    }

    fn nothing_more(&mut self) {
        assert!(self.requests.try_recv().is_err());
    }

    fn counted(&self, name: &str) -> u64 {
        let entries = self.webhooks.entries();
        entries.into_iter().find(|(known, ..)| known.ends_with(name)).unwrap().3
    }

    fn statuses(&self) -> Vec<(u32, AttemptStatus)> {
        let query = AttemptQuery { most: 100, ..AttemptQuery::default() };
        self.webhooks.deliveries(&app("shop"), &query).iter().rev().map(|attempt| (attempt.attempt, attempt.status)).collect()
    }
}

fn app(text: &str) -> AppId {
    AppId::parse(text).unwrap()
}

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).unwrap()
}

const ALL: [Kind; 6] = [Kind::Occupied, Kind::Vacated, Kind::MemberAdded, Kind::MemberRemoved, Kind::Message, Kind::ClientEvent];

fn webhook(kinds: &[Kind]) -> WebhookSettings {
    let url = Url::parse("http://receiver.test/hook").unwrap();
    WebhookSettings::new("audit", app("shop"), url, kinds.iter().copied().collect(), vec![Secret::parse(SECRET).unwrap()])
}

fn only(webhook: WebhookSettings) -> WebhooksConfig {
    WebhooksConfig { webhooks: vec![webhook], ..WebhooksConfig::default() }
}

/// A story: what happens, `@` and where the clock stands, `<` and what the receiver is told next, `.` when there is nothing.
async fn check(config: WebhooksConfig, story: &str) {
    let mut stage = Stage::new(config);
    for line in story.split('\n').map(str::trim).filter(|line| !line.is_empty()) {
        match line.split_at(1) {
            ("@", ms) => stage.at(ms.parse().unwrap()).await,
            ("<", expected) => assert_eq!(stage.told().await.1, expected.trim(), "{story}"),
            (".", _) => stage.nothing_more(),
            _ => line.split(' ').for_each(|what| stage.happens(what)),
        }
    }
    stage.at(3_600_000).await;
    stage.nothing_more();
}

#[tokio::test(start_paused = true)]
async fn what_comes_right_back_was_never_gone() {
    let all = || only(webhook(&ALL));
    check(all(), "+a -a\n@1000\n< occupied a\n@2990\n.\n< vacated a").await;
    check(all(), "+a\n< occupied a\n@1000\n-a\n@3999\n+a").await;
    check(all(), "+a\n< occupied a\n-a\n@2999\n+a -a\n@5990\n.\n< vacated a").await;
    check(all(), "+a/ana +a/bob\n< member_added a ana, member_added a bob\n-a/ana -a/bob\n@2000\n+a/ana\n< member_removed a bob").await;
    check(all(), "+a/ana\n< member_added a ana\n-a/ana\n@2000\n+b/ana\n< member_added b ana\n< member_removed a ana").await;
    check(all(), "+a#1 -a#1 +a#2\n< member_added a, member_added a\n< member_removed a").await;
    // What a webhook did not ask for is not told, and takes back what it asked for all the same.
    check(only(webhook(&[Kind::Occupied])), "+a\n< occupied a\n-a\n@1000\n+a\n@5000\n-a\n@9000\n+a\n< occupied a").await;
    check(only(webhook(&[Kind::Vacated])), "+a -a\n@1000\n+a -a\n< vacated a").await;
    check(only(WebhookSettings { debounce: Duration::ZERO, ..webhook(&ALL) }), "+a -a +a\n< occupied a, vacated a, occupied a").await;
}

#[tokio::test(start_paused = true)]
async fn each_webhook_is_told_what_it_asked_for() {
    let chat = vec![Pattern::parse("chat:*").unwrap()];
    let narrow = WebhookSettings { channels: chat, ..webhook(&[Kind::Message]) };
    check(only(narrow.clone()), "+chat:a chat:a=1 chat:a~2 news=3 blog!chat:a=4 chat:b=5\n< message chat:a 1, message chat:b 5").await;
    check(only(webhook(&[Kind::ClientEvent])), "a=1 a~2\n< client_event a 2").await;
    let blog = WebhookSettings { app: app("blog"), ..webhook(&[Kind::Message]) };
    let two = WebhooksConfig { webhooks: vec![webhook(&[Kind::Message]), blog], ..WebhooksConfig::default() };
    let mut stage = Stage::new(two);
    ["a=1", "blog!a=2"].into_iter().for_each(|what| stage.happens(what));
    let mut told = [stage.told().await, stage.told().await].map(|(_, events, request)| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        format!("{} {events}", body["app"].as_str().unwrap())
    });
    told.sort();
    assert_eq!(told, ["blog message a 2", "shop message a 1"]);
    // An inbox is nobody's business.
    stage.webhooks.occupied(&ChannelKey { app: app("shop"), channel: ChannelName::inbox("~a") }, true);
    assert_eq!(stage.webhooks.test(&app("blog"), "other").await, None);
    let id = stage.webhooks.test(&app("blog"), "audit").await.unwrap();
    let (_, events, request) = stage.told().await;
    assert_eq!((&*events, request.headers.iter().any(|(_, value)| value == &*id)), ("test", true));
}

#[tokio::test(start_paused = true)]
async fn a_request_is_signed_over_its_very_bytes() {
    let old = Secret::parse("another secret that is long enough too").unwrap();
    let both = WebhookSettings { secrets: vec![old.clone(), Secret::parse(SECRET).unwrap()], ..webhook(&ALL) };
    let mut stage = Stage::new(only(both));
    ["+a/ana", "a~{\"x\":\"ü\"}"].into_iter().for_each(|what| stage.happens(what));
    let (_, _, request) = stage.told().await;
    let header = |name: &str| request.headers.iter().find(|(known, _)| known == name).unwrap().1.to_str().unwrap().to_owned();
    let headers =
        WebhookHeaders { id: header("webhook-id"), timestamp: header("webhook-timestamp"), signature: header("webhook-signature") };
    for secret in [old, Secret::parse(SECRET).unwrap()] {
        assert_eq!(verify_webhook(&secret, &headers, &request.body, 60_000, START_MS), Ok(()));
        assert!(verify_webhook(&secret, &headers, &request.body[1..], 60_000, START_MS).is_err());
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let [member, event] = body["events"].as_array().unwrap().as_slice() else { panic!("{body}") };
    assert_eq!(headers.id, format!("{}-2", member["id"].as_str().unwrap()));
    assert_eq!(member["member"]["data"]["name"], 1);
    assert_eq!((&event["message"]["data"]["x"], &event["message"]["id"]), (&Value::from("ü"), &Value::from("z-1")));
    assert_eq!((&event["publisher"]["user"], &event["at"]), (&Value::from("ana"), &Value::from(START_MS)));
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_until_it_is_five_minutes_old() {
    use Answer::{Later, Refused, Status};
    let mut stage = Stage::new(only(webhook(&ALL)));
    stage.answers([Status(500), Refused, Later(503, 20), Status(204)]);
    stage.happens("+a");
    let (first, _, sent) = stage.told().await;
    assert_eq!(first, 100, "the first one waits for company");
    let mut last = first;
    // Each pause is between a half and the whole of a second, doubled each time, and at least what the receiver asks for.
    for pauses in [500..=1_001, 1_000..=2_001, 20_000..=20_001] {
        let (at, events, again) = stage.told().await;
        assert!(pauses.contains(&(at - last)), "{} after {last}", at - last);
        assert_eq!((&*events, &again.body), ("occupied a", &sent.body));
        assert_eq!(again.headers[1], sent.headers[1], "the id stays");
        last = at;
    }
    stage.at(last + 1_000).await;
    let [first, second, third, fourth] = stage.statuses()[..] else { panic!("four attempts") };
    assert_eq!([first, second, third].map(|(_, status)| status), [AttemptStatus::Retrying; 3]);
    assert_eq!((fourth, stage.counted("events_delivered_total")), ((4, AttemptStatus::Delivered), 1));

    stage.answers([Status(500); 100]);
    let begin = stage.begin.elapsed().as_millis() as u64;
    ["-a", "b=1"].into_iter().for_each(|what| stage.happens(what));
    stage.at(begin + 400_000).await;
    let mut attempts = 0;
    while let Ok((at, _)) = stage.requests.try_recv() {
        assert!(at.as_millis() as u64 <= begin + 303_500);
        attempts += 1;
    }
    assert!((14..40).contains(&attempts), "{attempts}");
    assert_eq!((stage.counted("events_failed_total"), stage.counted("events_waiting")), (2, 0));
    assert_eq!(stage.statuses().last().unwrap().1, AttemptStatus::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_gone_gets_nothing_until_the_settings_are_read_again() {
    let mut stage = Stage::new(only(webhook(&[Kind::Message])));
    stage.answers([Answer::Status(413), Answer::Status(410)]);
    stage.happens("a=1");
    assert_eq!(stage.told().await.1, "message a 1");
    stage.at(1_000).await;
    stage.happens("a=2");
    assert_eq!(stage.told().await.1, "message a 2", "a body that is too large says nothing of the next one");
    stage.at(2_000).await;
    stage.happens("a=3");
    stage.at(600_000).await;
    stage.nothing_more();
    assert_eq!((stage.counted("events_failed_total"), stage.counted("events_dropped_total")), (2, 1));
    stage.webhooks.replace(vec![webhook(&[Kind::Message])]).unwrap();
    stage.happens("a=4");
    assert_eq!(stage.told().await.1, "message a 4");
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_fails_keeps_its_order_and_holds_up_no_other() {
    let single = WebhookSettings { batch_max: 1, ..webhook(&[Kind::Message]) };
    let mut stage = Stage::new(only(single));
    stage.answers([Answer::Status(500), Answer::Status(500)]);
    "a=1 b=2 a=3 c=4".split(' ').for_each(|what| stage.happens(what));
    let mut told = Vec::new();
    for _ in 0..6 {
        told.push(stage.told().await.1.replace("message ", ""));
    }
    let of = |channel: &str| told.iter().filter(|event| event.starts_with(channel)).cloned().collect::<Vec<_>>();
    assert_eq!((of("a"), of("b")), (vec!["a 1".into(), "a 1".into(), "a 3".into()], vec!["b 2".to_owned(), "b 2".into()]));
    assert_eq!(told[..3].last().unwrap(), "c 4", "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn new_settings_take_over_what_waits() {
    let mut stage = Stage::new(only(webhook(&[Kind::Message])));
    stage.answers([Answer::Status(500), Answer::Status(500)]);
    stage.happens("a=1");
    stage.told().await;
    let elsewhere = WebhookSettings { url: Url::parse("http://elsewhere.test/").unwrap(), ..webhook(&[Kind::Message]) };
    stage.at(110).await;
    stage.webhooks.replace(vec![elsewhere]).unwrap();
    let (at, events, request) = stage.told().await;
    assert_eq!((at, &*events, &*request.url.to_string()), (110, "message a 1", "http://elsewhere.test/"), "at once, and to the new place");
    // A webhook that is no longer there is told what waits, and nothing more.
    stage.happens("a=2");
    tokio::task::yield_now().await;
    stage.at(120).await;
    stage.webhooks.replace(Vec::new()).unwrap();
    stage.happens("a=3");
    assert_eq!([stage.told().await.1, stage.told().await.1], ["message a 1", "message a 2"]);
    stage.at(600_000).await;
    stage.nothing_more();
    stage.webhooks.replace(vec![webhook(&[Kind::Message])]).unwrap();
    stage.happens("a=4");
    assert_eq!(stage.told().await.1, "message a 4", "it may come back");
}

#[tokio::test(start_paused = true)]
async fn nothing_grows_without_bound() {
    let mut stage = Stage::new(WebhooksConfig { queue_max: 2, ..only(webhook(&[Kind::Message])) });
    // Nobody takes anything in while the test does not wait.
    "a=1 a=2 a=3".split(' ').for_each(|what| stage.happens(what));
    assert_eq!((stage.counted("events_dropped_total"), stage.told().await.1), (1, "message a 1, message a 2".to_owned()));

    let mut stage = Stage::new(WebhooksConfig { outbox_bytes_max: 700, log_max: 2, ..only(webhook(&[Kind::Message])) });
    stage.answers([Answer::Slow(Duration::from_secs(5))]);
    "a=1 a=2 a=3 a=4 a=5".split(' ').for_each(|what| stage.happens(what));
    assert_eq!(stage.told().await.1, "message a 1, message a 2");
    assert_eq!((stage.counted("events_dropped_total"), stage.counted("events_waiting"), stage.counted("oldest_seconds")), (3, 2, 0));
    stage.at(4_000).await;
    assert_eq!(stage.counted("oldest_seconds"), 4);
    for second in 6..10 {
        stage.at(second * 1_000).await;
        stage.happens("a=6");
        stage.told().await;
    }
    stage.at(20_000).await;
    assert_eq!((stage.statuses().len(), stage.counted("webhook_outbox_bytes")), (2, 0));
}

/// A folder of the test's own.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One life of a server.
fn life<T>(story: impl AsyncFnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(story())
}

#[test]
fn what_waits_outlives_the_server() {
    let scratch = Scratch(std::env::temp_dir().join(format!("omnivox-webhooks-{}", std::process::id())));
    let config = || WebhooksConfig { folder: Some(scratch.0.join("deep")), ..only(webhook(&ALL)) };
    // It is ended in the middle of its work, without being asked.
    life(async || {
        let mut stage = Stage::new(config());
        assert!(Webhooks::open(config(), stage.receiver.clone(), Arc::new(|| 0)).is_err(), "two servers can't have the same folder");
        "+a +b +b/ana".split(' ').for_each(|what| stage.happens(what));
        assert_eq!(stage.told().await.1, "occupied a, occupied b, member_added b ana");
        stage.answers(vec![Answer::Status(500); 1_000]);
        "-a -b -b/ana c=1".split(' ').for_each(|what| stage.happens(what));
        assert_eq!(stage.told().await.1, "message c 1");
    });
    // What was not delivered is; and of what was held back, only the end of what did not go on.
    life(async || {
        let mut stage = Stage::new(config());
        "+b +b/ana".split(' ').for_each(|what| stage.happens(what));
        assert_eq!([stage.told().await.1, stage.told().await.1], ["message c 1", "vacated a"]);
        stage.happens("-b");
        stage.webhooks.settle(Duration::from_secs(20)).await;
    });
    life(async || {
        let mut stage = Stage::new(config());
        let (at, events, _) = stage.told().await;
        assert_eq!((at, &*events), (3_100, "vacated b"), "it is held back as long as ever");
    });
}

#[tokio::test(start_paused = true)]
async fn at_the_end_what_is_not_stored_is_told_at_once() {
    let mut stage = Stage::new(only(webhook(&ALL)));
    "+a -a".split(' ').for_each(|what| stage.happens(what));
    stage.webhooks.settle(Duration::from_secs(20)).await;
    assert_eq!((stage.told().await.1, stage.counted("events_waiting")), ("occupied a, vacated a".to_owned(), 0));
    stage.answers([Answer::Refused; 50]);
    stage.happens("b=1");
    let begin = Instant::now();
    stage.webhooks.settle(Duration::from_secs(20)).await;
    assert_eq!((begin.elapsed(), stage.counted("events_waiting")), (Duration::from_secs(20), 1), "it waits no longer than it may");
}
