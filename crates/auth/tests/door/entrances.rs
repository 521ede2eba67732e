//! What is let in: every algorithm, every kind of credential, every claim shape.

use std::sync::Arc;

use omnivox_auth::key::{Algorithm, KeyError, SigningKey, VerificationKey};
use omnivox_auth::key_set::{KeySet, KeySetPolicy};
use omnivox_auth::mint::{MintError, TokenDraft, mint};
use omnivox_auth::secret::Secret;
use omnivox_auth::signature::{RequestSignature, SignedParts};
use omnivox_auth::token::{Audience, Keys, TokenRules, Trust};
use omnivox_auth::{AuthError, Authenticator, Memory, Settings};
use omnivox_core::{ChannelName, Credential, Permissions, Principal};

use crate::world::{
    NOW_MS, OTHER_SECRET, SECRET, Signer, World, ana, ana_of_provider, app, door_of, own, provider, raw_token, rsa, secret_key, show, token,
};

#[test]
fn every_algorithm_opens_the_door_with_its_own_key() {
    let Signers { signers } = signers();
    for (algorithm, signer, key) in &signers {
        let door = door_of(vec![key.clone()]);
        for (other, other_signer, _) in &signers {
            let credential = Credential::Token(token(*other_signer, None, &ana("")).into());
            let found = show(door.verify(&credential, NOW_MS));
            let expected = if algorithm == other { "ana:" } else { "! no key of the app may be used with" };
            assert!(found.starts_with(expected), "{other} at the door of {algorithm}: {found}");
        }
        let minted = mint(&signing(*algorithm, signer), &TokenDraft::new("shop").user("ana"), NOW_MS, 60_000).unwrap();
        assert_eq!(show(door.verify(&Credential::Token(minted.into()), NOW_MS)), "ana:", "minted with {algorithm}");
    }
}

struct Signers {
    signers: Vec<(Algorithm, Signer<'static>, VerificationKey)>,
}

fn signers() -> Signers {
    let provider = provider();
    let secret = |algorithm| Signer::Secret(algorithm, SECRET.as_bytes());
    let pem = |pair: &crate::world::Pair, algorithm| VerificationKey::of_pem(&pair.public_pem, algorithm).unwrap();
    Signers {
        signers: vec![
            (Algorithm::HS256, secret(jsonwebtoken::Algorithm::HS256), secret_key(SECRET, Algorithm::HS256)),
            (Algorithm::HS384, secret(jsonwebtoken::Algorithm::HS384), secret_key(SECRET, Algorithm::HS384)),
            (Algorithm::HS512, secret(jsonwebtoken::Algorithm::HS512), secret_key(SECRET, Algorithm::HS512)),
            (Algorithm::RS256, Signer::Rsa(&provider.rsa), pem(&provider.rsa, Algorithm::RS256)),
            (Algorithm::ES256, Signer::Ec(&provider.ec), pem(&provider.ec, Algorithm::ES256)),
            (Algorithm::EdDSA, Signer::Ed(&provider.ed), pem(&provider.ed, Algorithm::EdDSA)),
        ],
    }
}

fn signing(algorithm: Algorithm, signer: &Signer<'_>) -> SigningKey {
    match signer {
        Signer::Secret(..) => SigningKey::of_secret(&Secret::parse(SECRET).unwrap(), algorithm).unwrap(),
        Signer::Rsa(pair) | Signer::Ec(pair) | Signer::Ed(pair) => SigningKey::of_pem(&pair.private_pem, algorithm).unwrap(),
    }
}

#[test]
fn claims_become_grants_in_every_shape() {
    let world = World::new();
    for (more, expected) in [
        ("", "ana:"),
        (r#","channels":{"chat:*":["subscribe","publish"]}"#, "ana: chat:*=subscribe,publish"),
        (r#","channels":{"a":"manage"}"#, "ana: a=manage"),
        (r#","channels":{"a":[]}"#, "ana:"),
        (r#","mercure":{"publish":["t"]}"#, "ana: t=publish"),
        (
            r#","channels":{"a":"*"},"mercure":{"subscribe":["*"]}"#,
            "ana: a=subscribe,publish,presence,history *=subscribe,presence,history",
        ),
        (r#","aud":"shop""#, "ana:"),
        (r#","aud":["other","shop"]"#, "ana:"),
        (r#","channels":7"#, "! the token's claim `channels` is not an object"),
    ] {
        world.check(more, &own(&ana(more)), expected);
    }
    let keyed = |more: &str| token(Signer::Ec(&provider().ec), Some("ec"), &ana_of_provider(more));
    world.check("the provider may not grant `manage`", &keyed(r#","channels":{"a":["manage","publish"],"b":"manage"}"#), "ana: a=publish");
}

#[test]
fn a_principal_carries_what_the_token_says() {
    let world = World::new();
    let principal = world.verify(&own(&ana(r#","jti":"t1","info":{"name":"Ana"}"#))).unwrap();
    assert_eq!(principal.app.as_str(), "shop");
    assert!(principal.authenticated);
    assert_eq!(principal.expires_at_ms, Some(NOW_MS + 60_000), "without the leeway");
    assert_eq!(principal.token_id.as_deref(), Some("t1"));
    assert_eq!(principal.info.as_deref(), Some(r#"{"name":"Ana"}"#));
    let of_mercure = world.verify(&own(&ana(r#","mercure":{"payload":1}"#))).unwrap();
    assert_eq!(of_mercure.info.as_deref(), Some("1"));
}

#[test]
fn the_provider_signs_with_any_of_its_keys() {
    let (world, provider) = (World::new(), provider());
    let claims = ana_of_provider("");
    for (signer, kid) in [(Signer::Rsa(&provider.rsa), "rsa"), (Signer::Ec(&provider.ec), "ec"), (Signer::Ed(&provider.ed), "ed")] {
        world.check(kid, &token(signer, Some(kid), &claims), "ana:");
        world.check("without a kid", &token(signer, None, &claims), "ana:");
    }
}

#[test]
fn secrets_rotate_without_a_gap() {
    let door = door_of(vec![secret_key(OTHER_SECRET, Algorithm::HS256), secret_key(SECRET, Algorithm::HS256)]);
    for secret in [SECRET, OTHER_SECRET] {
        let token = token(Signer::Secret(jsonwebtoken::Algorithm::HS256, secret.as_bytes()), Some("any"), &ana(""));
        assert_eq!(show(door.verify(&Credential::Token(token.into()), NOW_MS)), "ana:");
    }
}

#[test]
fn each_kind_of_credential_has_its_principal() {
    let world = World::new();
    let check =
        |credential: &Credential, expected: &str| assert_eq!(show(world.door.verify(credential, NOW_MS)), expected, "{credential:?}");
    let key = |id: &str, secret: &str| Credential::Key { id: id.into(), secret: secret.into() };
    let all = "subscribe,publish,presence,history,manage";
    check(&key("shop-key", SECRET), &format!("nobody: *={all} private-*={all}"));
    check(&Credential::Token(own(&ana("")).into()), "ana:");
    let principal = world.verify(&own(&ana(""))).unwrap();
    let ticket = world.door.issue_ticket(&principal, [1; 32], NOW_MS).unwrap();
    assert_eq!(world.door.verify(&Credential::Ticket(ticket), NOW_MS), Ok(Principal { ticket: true, ..principal }));
    let open = Authenticator::new(
        Settings::open(Arc::new(omnivox_core::App::new(app("x").id.clone(), app("x").namespaces.clone()))),
        Arc::default(),
    );
    assert!(!open.verify(&Credential::Anonymous, NOW_MS).unwrap().authenticated);
    assert!(show(world.door.verify(&Credential::Anonymous, NOW_MS)).contains("app.open"));
}

#[test]
fn a_connection_is_refreshed_for_its_own_user() {
    let world = World::new();
    let ana_now = world.verify(&own(&ana(""))).unwrap();
    let nobody = Principal::anonymous(ana_now.app.clone());
    let more = own(&ana(r#","channels":{"chat":"publish"}"#));
    let bob = own(&ana("").replace("ana", "bob"));
    for (current, token, expected) in [
        (&ana_now, &more, "ana: chat=publish"),
        (&ana_now, &bob, "! the new token is for another user"),
        (&ana_now, &own(&ana("").replace("sub", "x")), "! the new token is for another user"),
        (&nobody, &bob, "bob:"),
        (&ana_now, &bob[1..].to_owned(), "! this is not a signed token"),
    ] {
        let found = show(world.door.refresh(current, &Credential::Token(token.as_str().into()), NOW_MS));
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn signed_requests_come_as_their_key() {
    let world = World::new();
    let parts = SignedParts { method: "POST", target: "/v1/publish", body: b"{}" };
    let header = RequestSignature::sign(&Secret::parse(SECRET).unwrap(), "shop-key", "nonce1", &parts, NOW_MS).header();
    assert!(show(world.door.verify_signed(&header, &parts, NOW_MS)).starts_with("nobody: *=subscribe"));
    assert!(show(world.door.verify_signed(&header, &parts, NOW_MS)).contains("came before"));
    let unknown = header.replace("shop-key", "other-key");
    assert!(show(world.door.verify_signed(&unknown, &parts, NOW_MS)).contains("signature is wrong"));
}

#[test]
fn answers_are_explained() {
    let world = World::new();
    let token = Credential::Token(own(&ana(r#","channels":{"*":["subscribe"],"private-x":["publish"]}"#)).into());
    let check = |channel: &str, lines: &[&str]| {
        let explanation = world.door.explain(&token, &ChannelName::parse(channel).unwrap(), NOW_MS).unwrap().to_string();
        for line in lines {
            assert!(explanation.contains(line), "{line} in {explanation}");
        }
    };
    check("chat", &["user ana of app shop, channel chat", "subscribe  yes  the credential grants it for `*`", "publish    no   no grant"]);
    check(
        "private-x",
        &[
            "subscribe  no   the credential's grant for `*` does not spell out the protected prefix",
            "publish    yes  the credential grants it for `private-x`",
        ],
    );
    let key = Credential::Key { id: "shop-key".into(), secret: SECRET.into() };
    let explanation = world.door.explain(&key, &ChannelName::parse("private-x").unwrap(), NOW_MS).unwrap();
    assert!(explanation.decisions.iter().all(|(_, decision)| decision.allowed), "{explanation}");
    let bad = Credential::Token("a.b.c".into());
    assert!(world.door.explain(&bad, &ChannelName::parse("chat").unwrap(), NOW_MS).is_err());
}

#[test]
fn keys_are_pinned_to_what_fits_them() {
    let provider = provider();
    let wrong = |algorithm| Some(KeyError::WrongKind(algorithm));
    let pem = |pem: &str, algorithm, expected: Option<KeyError>| {
        assert_eq!(VerificationKey::of_pem(pem, algorithm).err(), expected, "{algorithm}");
    };
    pem(&provider.rsa.public_pem, Algorithm::ES256, wrong(Algorithm::ES256));
    pem(&provider.ec.public_pem, Algorithm::EdDSA, wrong(Algorithm::EdDSA));
    pem(&provider.ed.public_pem, Algorithm::RS256, wrong(Algorithm::RS256));
    pem(&provider.rsa.public_pem, Algorithm::HS256, wrong(Algorithm::HS256));
    pem(&provider.rsa.private_pem, Algorithm::RS256, Some(KeyError::NotPem("public")));
    pem("", Algorithm::RS256, Some(KeyError::NotPem("public")));
    pem("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", Algorithm::RS256, wrong(Algorithm::RS256));
    let signing = |pem: &str, algorithm, expected: KeyError| assert_eq!(SigningKey::of_pem(pem, algorithm).err(), Some(expected));
    signing(&provider.ec.private_pem, Algorithm::RS256, KeyError::WrongKind(Algorithm::RS256));
    signing(&provider.ec.public_pem, Algorithm::ES256, KeyError::NotPem("private"));
    signing(&rsa().private_pem, Algorithm::HS512, KeyError::WrongKind(Algorithm::HS512));
    let short = Secret::parse("0123456789abcdef0123456789abcdef").unwrap();
    let needs = KeyError::ShortSecret { algorithm: Algorithm::HS512, min: 64, bytes: 32 };
    assert_eq!(VerificationKey::of_secret(&short, &[Algorithm::HS256, Algorithm::HS512]).err(), Some(needs));
    assert_eq!(VerificationKey::of_secret(&short, &[Algorithm::RS256]).err(), wrong(Algorithm::RS256));
    assert_eq!(VerificationKey::of_secret(&short, &[]).err(), Some(KeyError::NoAlgorithm));
}

#[test]
fn what_would_be_refused_is_not_minted() {
    let key = SigningKey::of_secret(&Secret::parse(SECRET).unwrap(), Algorithm::HS256).unwrap().with_id("k1");
    let check = |draft: TokenDraft, expected: &str| {
        let found = mint(&key, &draft, NOW_MS, 1000).map_or_else(|error| format!("! {error}"), |_| "minted".into());
        assert!(found.contains(expected), "{found}");
    };
    let draft = TokenDraft::new("shop");
    check(draft.clone().user("ana").id("t1").issuer("x").allow("a", &["*"]).info("{\"n\":1}").unwrap(), "minted");
    check(draft.clone().claim("mercure", serde_json::json!({"publish": ["*"]})), "minted");
    check(draft.clone().user(""), "! the token's claim `sub`");
    check(draft.clone().allow("a", &["pubish"]), "! the token's claim `channels`");
    check(draft.clone().allow("", &["*"]), "! the token's claim `channels`");
    check(draft.clone().claim("exp", serde_json::json!(9)), "! the claim `exp` has its own option");
    assert_eq!(draft.info("Ana").err(), Some(MintError::Info));
}

#[test]
fn a_signer_can_be_held_to_less() {
    let rules = TokenRules { lifetime_ms_max: Some(3_600_000), access_only: true, ..TokenRules::new("shop") };
    let mut settings = Settings::open(app("shop"));
    let keys = Keys::Pinned(vec![secret_key(SECRET, Algorithm::HS256)]);
    settings.trusts = vec![Trust { keys, rules, ceiling: Permissions::PUBLISH }];
    let door = Authenticator::new(settings, Arc::new(Memory::default()));
    let signer = Signer::Secret(jsonwebtoken::Algorithm::HS256, SECRET.as_bytes());
    let check = |kind: &str, lifetime_s: u64, expected: &str| {
        let header = format!(r#"{{"alg":"HS256","typ":"{kind}"}}"#);
        let claims = format!(r#"{{"exp":{},"channels":{{"a":"*"}}}}"#, NOW_MS / 1000 + lifetime_s);
        let token = raw_token(signer, &header, claims.as_bytes());
        let found = show(door.verify(&Credential::Token(token.into()), NOW_MS));
        assert!(found.contains(expected), "{kind} {lifetime_s}: {found}");
    };
    check("at+jwt", 3_600, "nobody: a=publish");
    check("application/AT+JWT", 3_630, "nobody: a=publish");
    check("at+jwt", 3_631, "! the token lasts longer than 3600 s");
    check("JWT", 60, "! the token's `typ` is not `at+jwt`");
}

/// Mercure's publishers and subscribers have keys of their own, or one for both.
#[test]
fn a_key_that_several_signers_have_may_do_what_all_of_them_may() {
    let subscriber = Permissions::SUBSCRIBE.with(Permissions::HISTORY).with(Permissions::PRESENCE);
    let trust = |secrets: &[&str], ceiling| {
        let key = |text: &&str| VerificationKey::of_secret(&Secret::parse(text).unwrap(), &[Algorithm::HS256]).unwrap();
        let rules = TokenRules { audience: Audience::Any, expiry_required: false, ..TokenRules::new("shop") };
        Trust { keys: Keys::Pinned(secrets.iter().map(key).collect()), rules, ceiling }
    };
    const BOTH: &str = "a secret that publishers and subscribers share";
    let mut settings = Settings::open(app("shop"));
    settings.trusts = vec![trust(&[SECRET, BOTH], Permissions::PUBLISH), trust(&[OTHER_SECRET, BOTH], subscriber)];
    let door = Authenticator::new(settings, Arc::new(Memory::default()));
    let claims = r#"{"aud":"https://hub.test/","mercure":{"publish":["p"],"subscribe":["s"]}}"#;
    for (secret, shown, ceiling) in [
        (SECRET, "nobody: p=publish", Permissions::PUBLISH),
        (OTHER_SECRET, "nobody: s=subscribe,presence,history", subscriber),
        (BOTH, "nobody: p=publish s=subscribe,presence,history", subscriber.with(Permissions::PUBLISH)),
    ] {
        let signer = Signer::Secret(jsonwebtoken::Algorithm::HS256, secret.as_bytes());
        let verified = door.verify(&Credential::Token(token(signer, None, claims).into()), NOW_MS);
        assert_eq!(verified.as_ref().map(|principal| principal.ceiling), Ok(ceiling));
        assert_eq!(show(verified), shown);
        // Access tokens end, whatever the settings say of tokens in general.
        let access = raw_token(signer, r#"{"alg":"HS256","typ":"at+jwt"}"#, claims.as_bytes());
        assert_eq!(door.verify(&Credential::Token(access.into()), NOW_MS), Err(AuthError::NoExpiry));
    }
}

/// Tokens of Mercure's first generation have no audience, those of the second must have one.
#[test]
fn an_audience_may_be_left_out_but_not_wrong() {
    let audience = Audience::Named(vec!["https://hub.test/".into()]);
    let rules = TokenRules { audience, ..TokenRules::new("shop") };
    let mut settings = Settings::open(app("shop"));
    let keys = Keys::Pinned(vec![secret_key(SECRET, Algorithm::HS256)]);
    settings.trusts = vec![Trust { keys, rules, ceiling: Permissions::PUBLISH }];
    let door = Authenticator::new(settings, Arc::new(Memory::default()));
    let signer = Signer::Secret(jsonwebtoken::Algorithm::HS256, SECRET.as_bytes());
    for (kind, more, good) in [
        ("JWT", "", true),
        ("JWT", r#","aud":["x","https://hub.test/"]"#, true),
        ("JWT", r#","aud":"https://other.test/""#, false),
        ("at+jwt", "", false),
        ("at+jwt", r#","aud":"https://hub.test/""#, true),
        ("at+jwt", r#","aud":"shop""#, false),
    ] {
        let token = raw_token(signer, &format!(r#"{{"alg":"HS256","typ":"{kind}"}}"#), ana(more).as_bytes());
        let found = door.verify(&Credential::Token(token.into()), NOW_MS);
        assert_eq!(found.is_ok(), good, "{kind} {more}: {found:?}");
        assert!(good || matches!(found, Err(AuthError::Audience { .. })), "{kind} {more}: {found:?}");
    }
}

/// A set that came with the settings is known by what it holds; only those with an address or a file are fetched.
#[test]
fn sets_that_are_known_by_what_they_hold_are_not_fetched() {
    let inline = format!("\n {{\"keys\":[{}]}}", Signer::Ed(&provider().ed).jwk(Some("ed")));
    let mut settings = Settings::open(app("shop"));
    for (place, text) in [("https://id.test/keys", None), ("keys.json", None), (&*inline, Some(&inline)), ("", Some(&inline))] {
        let set = Arc::new(KeySet::named(place, KeySetPolicy::default()));
        text.into_iter().for_each(|text| drop(set.replace(text, NOW_MS).unwrap()));
        settings.trusts.push(Trust { keys: Keys::Fetched(set), rules: TokenRules::new("shop"), ceiling: Permissions::CLIENT });
    }
    let door = Authenticator::new(settings, Arc::new(Memory::default()));
    let fetched: Vec<&str> = door.key_sets().map(|set| set.location()).collect();
    assert_eq!(fetched, ["https://id.test/keys", "keys.json"]);
    let token = token(Signer::Ed(&provider().ed), Some("ed"), &ana(""));
    assert!(door.verify(&Credential::Token(token.into()), NOW_MS).is_ok(), "its keys count all the same");
}
