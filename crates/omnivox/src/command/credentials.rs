//! `omnivox token`, `omnivox secret` and `omnivox explain`: make a credential of an app, and ask what one allows and why.
//!
//! They read the settings and talk to no server of ours; `explain` fetches the keys of an identity provider when it takes them to judge a token.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use omnivox_auth::explain::Explanation;
use omnivox_auth::key::SigningKey;
use omnivox_auth::mint::{TokenDraft, mint};
use omnivox_auth::secret::{Purpose, Secret};
use omnivox_auth::signature::webhook_secret_text;
use omnivox_auth::{AuthError, Authenticator, Memory};
use omnivox_core::{AppId, ChannelName, Credential, Pattern, Permissions};
use omnivox_hub::hooks::{HookEvent, HookSettings};
use omnivox_hub::key_sets;
use omnivox_hub::outgoing::{Outgoing, OutgoingSettings, Url};

use crate::cli::{Derive, Explain, Mint};
use crate::config::settings::App;
use crate::config::{Config, trust};
use crate::exit::{self, Code};

use super::{documents, judge, load};

/// Mints a token with the app's secret.
pub(crate) fn token(wish: &Mint) -> anyhow::Result<()> {
    let config = load(&wish.settings, Config::default())?;
    judge(&config)?;
    let app = chosen(&config, wish.app.as_ref())?;
    let Some(secret) = &app.secret else {
        return Err(exit::error(Code::Usage, format!("app {} has no `secret` to sign with", app.id)));
    };
    let secret = Secret::parse(secret.reveal())?;
    let key = SigningKey::of_secret(&secret, trust::shared(app)[0])?;
    let mut draft = TokenDraft::new(app.id.as_str());
    if let Some(issuer) = app.token_issuers.first() {
        draft = draft.issuer(issuer);
    }
    if let Some(audience) = app.token_audiences.first() {
        draft = draft.audience(audience);
    }
    if let Some(user) = &wish.user {
        draft = draft.user(user);
    }
    if let Some(id) = &wish.id {
        draft = draft.id(id);
    }
    if let Some(info) = &wish.info {
        draft = draft.info(info).map_err(usage)?;
    }
    for Allowance { pattern, permissions } in &wish.allow {
        let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
        draft = draft.allow(&pattern.to_string(), &permissions);
    }
    let lifetime = u64::try_from(wish.lifetime.as_millis()).unwrap_or(u64::MAX);
    let token = mint(&key, &draft, now_ms(), lifetime).map_err(usage)?;
    documents::print(format!("{token}\n").as_bytes())
}

fn usage(error: impl std::fmt::Display) -> anyhow::Error {
    exit::error(Code::Usage, error.to_string())
}

/// Prints the secret that an app's own is turned into for a purpose.
pub(crate) fn secret(wish: &Derive) -> anyhow::Result<()> {
    let config = load(&wish.settings, Config::default())?;
    judge(&config)?;
    let app = chosen(&config, wish.app.as_ref())?;
    let Some(secret) = &app.secret else {
        return Err(exit::error(Code::Usage, format!("app {} has no `secret` to derive others from", app.id)));
    };
    let derived = Secret::parse(secret.reveal())?.derive(&app.id, wish.purpose);
    let text = match wish.purpose {
        Purpose::Webhook => webhook_secret_text(&derived),
        _ => String::from_utf8_lossy(derived.expose()).into_owned(),
    };
    documents::print(format!("{text}\n").as_bytes())
}

/// Reads a purpose of a derived secret.
pub(crate) fn purpose(text: &str) -> Result<Purpose, String> {
    Purpose::named(text).ok_or_else(|| format!("there are secrets for {}", Purpose::ALL.map(Purpose::label).join(", ")))
}

/// Says what a token, or nobody, may do with a channel, and which rule decides.
pub(crate) fn explain(wish: &Explain) -> anyhow::Result<()> {
    let config = load(&wish.settings, Config::default())?;
    let server = judge(&config)?;
    let app = chosen(&config, wish.app.as_ref())?;
    let settings = server.apps.into_iter().find(|settings| settings.app.id == app.id);
    let authenticator = Authenticator::new(settings.expect("every app has one"), Memory::default().into());
    let hooks: Vec<HookSettings> = server.hooks.into_iter().filter(|hook| hook.app == app.id).collect();
    let credential = wish.token.as_deref().map_or(Credential::Anonymous, Credential::bearer);
    let mut explained = authenticator.explain(&credential, &wish.channel, now_ms());
    if explained == Err(AuthError::KeysUnavailable) {
        super::client(load_keys(&authenticator, wish.keys.as_deref(), server.outgoing))?;
        explained = authenticator.explain(&credential, &wish.channel, now_ms());
    }
    let mut explanation = explained.map_err(|error| {
        let hook = hooks.iter().find(|hook| hook.may_let_in(&credential, &error));
        let unless = hook.map(|hook| format!("; but hook `{}` is asked when it connects, and may let it in", hook.name));
        exit::error(Code::Refused, format!("the credential is refused: {error}{}", unless.unwrap_or_default()))
    })?;
    note_hooks(&mut explanation, &hooks);
    let mut text = explanation.to_string();
    if let Some(hook) = hooks.iter().find(|hook| hook.events.contains(&HookEvent::Connect)) {
        let _ = writeln!(text, "hook `{}` is asked when it connects: it may refuse, name the user and give more grants", hook.name);
    }
    documents::print(text.as_bytes())
}

/// Fetches the key sets of an app, or reads the file that is named instead.
async fn load_keys(authenticator: &Authenticator, file: Option<&Path>, outgoing: OutgoingSettings) -> anyhow::Result<()> {
    let outgoing = Outgoing::new(outgoing, tokio::runtime::Handle::current());
    for set in authenticator.key_sets() {
        let named = file.map(|file| file.to_string_lossy());
        let location = named.as_deref().unwrap_or_else(|| set.location());
        let (shown, code) = match Url::parse(location) {
            Ok(url) => (url.to_string(), Code::Unreachable),
            Err(_) => (location.to_owned(), Code::Failure),
        };
        let setting = if named.is_some() { "--keys" } else { "`app.token_key_set`" };
        key_sets::load(set, location, Some(&outgoing), now_ms).await.map_err(|error| {
            let words = format!(
                "the keys that would judge the token can't be had from {setting} {shown}: {error}; name a file that has them with --keys"
            );
            exit::error(code, words)
        })?;
    }
    Ok(())
}

/// Says where a hook has the last word.
fn note_hooks(explanation: &mut Explanation, hooks: &[HookSettings]) {
    for (event, permission) in [(HookEvent::Subscribe, Permissions::SUBSCRIBE), (HookEvent::Publish, Permissions::PUBLISH)] {
        if let Some(hook) = hooks.iter().find(|hook| hook.is_asked(event, &explanation.channel)) {
            let may = if explanation.allows(permission) { "deny" } else { "allow" };
            explanation.note(permission, format!("but hook `{}` is asked about it, and may {may} it", hook.name));
        }
    }
}

/// The app that is named, or the only one.
fn chosen<'a>(config: &'a Config, named: Option<&AppId>) -> anyhow::Result<&'a App> {
    let found = match (named, config.app.as_slice()) {
        (Some(id), apps) => apps.iter().find(|app| app.id == *id),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    found.ok_or_else(|| {
        let known: Vec<&str> = config.app.iter().map(|app| app.id.as_str()).collect();
        exit::error(Code::Usage, format!("name one of the apps with --app: {}", known.join(", ")))
    })
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// `PATTERN=permission,permission`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Allowance {
    pattern: Pattern,
    permissions: Vec<String>,
}

impl Allowance {
    /// Reads what is typed. The last `=` divides, because channels may have one in their names.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (pattern, permissions) = text.rsplit_once('=').ok_or("expected PATTERN=permission,…, such as 'chat:*=subscribe,publish'")?;
        let pattern = Pattern::parse(pattern).map_err(|error| error.to_string())?;
        Ok(Self { pattern, permissions: permissions.split(',').map(str::to_owned).collect() })
    }
}

/// Reads `90s`, `15m`, `12h` or `7d`.
pub(crate) fn lifetime(text: &str) -> Result<Duration, String> {
    let seconds = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)].into_iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(seconds).filter(|seconds| *seconds > 0)
    });
    seconds.map(Duration::from_secs).ok_or_else(|| format!("{text:?} is no time such as 90s, 15m, 12h or 7d"))
}

/// Reads a channel's name.
pub(crate) fn channel(text: &str) -> Result<ChannelName, String> {
    ChannelName::parse(text).map_err(|error| error.to_string())
}

/// Reads an app's id.
pub(crate) fn app_id(text: &str) -> Result<AppId, String> {
    AppId::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_and_allowances_are_read_as_typed() {
        assert_eq!(lifetime("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(lifetime("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "s", "1", "0h", "-1s", "1w", "99999999999999999999d"] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
        let allowance = Allowance::parse("a=b:*=subscribe,publish").expect("sound");
        assert_eq!((allowance.pattern.to_string().as_str(), allowance.permissions.len()), ("a=b:*", 2));
        assert!(Allowance::parse("chat").is_err());
        assert!(Allowance::parse("=subscribe").is_err());
    }
}
