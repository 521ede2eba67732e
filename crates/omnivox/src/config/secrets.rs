//! Secrets that are long enough and can be guessed all the same.
//!
//! A secret counts and repeats when a person has typed it, and everybody knows one that stands in some documentation. What is random is never
//! refused: a text of 32 random hexadecimal digits fails one of these rules once in more than a billion draws.

use super::apps::is_public;
use super::problem::{Place, Problem};
use super::settings::Config;
use super::value::Secret;

/// Secrets that documentation shows, ours or that of a product whose settings are taken over.
const PUBLISHED: [&str; 4] = [
    "!ChangeThisMercureHubJWTSecretKey!",
    "a-string-secret-at-least-256-bits-long",
    "an example secret that is long enough",
    "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
];

/// Names each secret of the apps, their back ends and the operator that can be guessed. One that stands in documentation is for trying things
/// out on one machine; where other machines come, it is refused as well.
pub(super) fn judge(config: &Config, problems: &mut Vec<Problem>) {
    let public = config.server.listen.iter().chain(&config.tls.listen).any(is_public);
    for_each(config, |place, key, secret| {
        if let Some(why) = known(secret, public) {
            let what = format!("`{key}` can be guessed: it {why}");
            problems.push(Problem::new(Place::Section(place.to_owned()), what).mend("`openssl rand -hex 32` gives a good one"));
        }
    });
}

/// What [`judge`] lets pass because no other machine comes.
pub(super) fn weaknesses(config: &Config, found: &mut Vec<String>) {
    for_each(config, |place, key, secret| {
        if is_published(secret) {
            found.push(format!("{place}: `{key}` stands in documentation that everybody reads; `openssl rand -hex 32` gives another one"));
        }
    });
}

fn for_each(config: &Config, mut visit: impl FnMut(&str, &str, &str)) {
    let mut each = |place: String, key: &str, secrets: &[Secret]| secrets.iter().for_each(|secret| visit(&place, key, secret.reveal()));
    each("[admin]".to_owned(), "token", config.admin.token.as_slice());
    for app in &config.app {
        let place = format!("[[app]] {}", app.id);
        each(place.clone(), "secret", app.secret.as_slice());
        each(place.clone(), "mercure_publisher_secrets", &app.mercure_publisher_secrets);
        each(place, "mercure_subscriber_secrets", &app.mercure_subscriber_secrets);
    }
    config.api_key.iter().for_each(|key| each(format!("[[api_key]] {}", key.id), "secret", key.secret.as_slice()));
    config.hook.iter().for_each(|hook| each(format!("[[hook]] {}", hook.name), "secrets", &hook.secrets));
    config.webhook.iter().for_each(|webhook| each(format!("[[webhook]] {}", webhook.id), "secrets", &webhook.secrets));
}

/// Why a text is no secret from those who can try it.
pub(super) fn known(text: &str, public: bool) -> Option<&'static str> {
    guessable(text).or_else(|| (public && is_published(text)).then_some("stands in documentation that everybody reads"))
}

/// Whether documentation shows it.
fn is_published(text: &str) -> bool {
    PUBLISHED.contains(&text)
}

/// Why a text is no secret, if so.
fn guessable(text: &str) -> Option<&'static str> {
    let bytes = text.as_bytes();
    if (1..=bytes.len() / 2).any(|period| bytes.iter().zip(&bytes[period..]).all(|(one, next)| one == next)) {
        return Some("repeats itself");
    }
    let steps = bytes.iter().zip(bytes.iter().skip(1)).filter(|(one, next)| one.abs_diff(**next) <= 1).count();
    (bytes.len() > 1 && steps * 3 > (bytes.len() - 1) * 2).then_some("counts up or down")
}

#[cfg(test)]
mod tests {
    use super::super::Layers;
    use super::*;

    #[test]
    fn what_people_type_is_refused_and_what_is_drawn_is_not() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(guessable(text), expected, "{text}");
        check("0123456789abcdef0123456789abcdef", Some("repeats itself"));
        check("hunter2-hunter2-hunter2-hunter2-hunter2", Some("repeats itself"));
        check("12345678901234567890123456789012", Some("repeats itself"));
        check("abcdefghijklmnopqrstuvwxyz0123456789", Some("counts up or down"));
        check("zyxwvutsrqponmlkjihgfedcba987654", Some("counts up or down"));
        check("aaaabbbbccccddddeeeeffffgggghhhh", Some("counts up or down"));
        check("6f1d2c9be07a4835f2a1c7e9d0b34856", None);
        check("ZGFzIGlzdCBuaWNodCBnZWhlaW0sIGFiZXIgbGFuZw", None);
        check("the hub and its clients share this secret", None);
        check("", None);
    }

    #[test]
    fn what_documentation_shows_is_for_one_machine() {
        let check = |listen: &str, refused: bool| {
            let file = format!("[server]\nlisten = \"{listen}\"\n[[app]]\nid = \"a\"\nsecret = \"!ChangeThisMercureHubJWTSecretKey!\"\n");
            let layers = Layers { file: Some(("omnivox.toml".into(), file)), ..Layers::default() };
            let config = layers.over(Config::default()).unwrap_or_else(|problems| panic!("{problems}"));
            let (mut problems, mut found) = (Vec::new(), Vec::new());
            judge(&config, &mut problems);
            weaknesses(&config, &mut found);
            assert_eq!((problems.len(), found.len()), (usize::from(refused), 1), "{listen}: {found:?}");
        };
        check("127.0.0.1:8080", false);
        check("0.0.0.0:8080", true);
    }

    #[test]
    fn debug_shows_no_secret_of_back_ends() {
        let file = "[[app]]\nid = \"a\"\nsecret = \"hunter-6f1d2c9be07a4835f2a1c7e9d0b3\"\n\
            [[hook]]\nname = \"h\"\nevents = \"call\"\nurl = \"https://b.example/?key=hunter\"\nsecrets = \"hunter-0c9be07a4835f2a1c7e9d0b34856\"\n\
            [[webhook]]\nid = \"w\"\nurl = \"https://b.example/?key=hunter\"\nsecrets = \"hunter-91d2c9be07a4835f2a1c7e9d0b34\"\nheaders = \"Authorization: Bearer hunter\"\n\
            [traces]\nendpoint = \"https://c.example/v1/traces\"\nheaders = \"authorization=Bearer hunter\"\n";
        let layers = Layers { file: Some(("omnivox.toml".into(), file.to_owned())), ..Layers::default() };
        let config = layers.over(Config::default()).unwrap_or_else(|problems| panic!("{problems}"));
        let server = super::super::server_config(&config, |_| Err(std::io::Error::other("there are no files")))
            .unwrap_or_else(|problems| panic!("{problems}"));
        let shown = format!("{:?} {:?} {:?}", server.hooks, server.webhooks, server.traces);
        assert!(shown.contains("https://b.example/?…") && !shown.contains("hunter"), "{shown}");
    }

    #[test]
    fn every_secret_that_our_documents_show_is_refused() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let read = |path: std::path::PathBuf| std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let pages = std::fs::read_dir(root.join("docs")).expect("there are documents").map(|entry| entry.expect("readable").path());
        let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
        let pages: Vec<_> = pages.chain([root.join("README.md"), root.join("omnivox.sample.toml")]).collect();
        assert!(pages.len() > 10, "{pages:?}");
        for page in pages {
            for line in read(page).lines() {
                let Some((key, values)) = line.trim_start_matches(['#', ' ']).split_once(" = ") else { continue };
                if !matches!(key, "token" | "secret" | "secrets" | "mercure_publisher_secrets" | "mercure_subscriber_secrets") {
                    continue;
                }
                for shown in values.split('"').skip(1).step_by(2).filter(|shown| shown.len() >= 32) {
                    assert!(guessable(shown).is_some() || is_published(shown), "{shown} is shown, and would be accepted");
                }
            }
        }
    }
}
