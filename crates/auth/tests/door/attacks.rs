//! What must never be let in.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use omnivox_auth::key::Algorithm;
use omnivox_auth::key_set::{KeySet, KeySetPolicy, Lookup};
use omnivox_auth::revocation::Revoked;
use omnivox_auth::secret::Secret;
use omnivox_auth::token::{Keys, SIGNATURE_TRIES_MAX, TokenRules, Trust};
use omnivox_auth::{AuthError, Authenticator, Memory, Settings};
use omnivox_core::{Credential, Denied, Permissions, UserId};

use crate::world::{
    NOW_MS, NOW_S, OTHER_SECRET, SECRET, Signer, World, ana, ana_of_provider, app, door_of, ec, own, provider, raw_token, rsa, secret_key,
    show, token,
};

const HS256: jsonwebtoken::Algorithm = jsonwebtoken::Algorithm::HS256;
const OWN: Signer<'static> = Signer::Secret(HS256, SECRET.as_bytes());

#[test]
fn forged_tokens() {
    let world = World::new();
    let wrong = "! signature is wrong";
    world.check("another secret", &token(Signer::Secret(HS256, OTHER_SECRET.as_bytes()), None, &ana("")), wrong);
    world.check("another RSA key", &token(Signer::Rsa(&rsa()), Some("rsa"), &ana_of_provider("")), wrong);
    world.check("another EC key", &token(Signer::Ec(&ec()), Some("ec"), &ana_of_provider("")), wrong);

    let good = own(&ana(""));
    let [header, claims, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let boss = URL_SAFE_NO_PAD.encode(ana(r#","channels":{"*":"*"}"#));
    world.check("other claims under a good signature", &format!("{header}.{boss}.{signature}"), wrong);
    world.check("a signature cut short", &good[..good.len() - 4], wrong);
    world.check("a signature that goes on", &format!("{good}AAAA"), wrong);
    world.check("no signature", &format!("{header}.{claims}."), "! its signature is empty");
    world.check("claims that are no JSON, unsigned", &format!("{header}.e30{claims}.{signature}"), wrong);
}

#[test]
fn tokens_that_say_they_are_not_signed() {
    let world = World::new();
    for alg in ["none", "None", "NONE", "nOnE"] {
        let header = format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#);
        let signed = raw_token(OWN, &header, ana("").as_bytes());
        world.check("with a signature", &signed, "! unsigned tokens are never accepted");
        let bare = &signed[..=signed.rfind('.').unwrap()];
        world.check("without one", bare, "! unsigned tokens are never accepted");
    }
    for alg in ["", "HS1", "hs256", "RS512", "ES384", "PS256", "dir", "HS256 "] {
        world.check(alg, &raw_token(OWN, &format!(r#"{{"alg":"{alg}"}}"#), ana("").as_bytes()), "! is not one of HS256");
    }
}

/// The public key is public: whoever can sign with it as an HMAC secret could sign anything.
#[test]
fn public_keys_as_shared_secrets() {
    let (world, provider) = (World::new(), provider());
    let claims = ana_of_provider("");
    let refused = ["may be used with HS256", "signature is wrong"];
    for (kid, pair) in [("rsa", &provider.rsa), ("ec", &provider.ec), ("ed", &provider.ed)] {
        for material in [pair.public_pem.as_bytes(), pair.public_pem.trim().as_bytes(), &pair.public_der] {
            for kid in [Some(kid), None] {
                let found = show(world.verify(&token(Signer::Secret(HS256, material), kid, &claims)));
                assert!(refused.iter().any(|words| found.contains(words)), "{found}");
            }
        }
    }
    // At a door that has nothing but the public key, the algorithm alone is the reason.
    let door = door_of(vec![omnivox_auth::key::VerificationKey::of_pem(&provider.rsa.public_pem, Algorithm::RS256).unwrap()]);
    let confused = token(Signer::Secret(HS256, provider.rsa.public_pem.as_bytes()), None, &ana(""));
    assert_eq!(door.verify(&Credential::Token(confused.into()), NOW_MS), Err(AuthError::AlgorithmNotAllowed(Algorithm::HS256)));
    assert!(Secret::parse(&provider.rsa.public_pem).is_err(), "and it can't be set as a secret");
}

#[test]
fn keys_of_one_algorithm_with_another() {
    let (world, provider) = (World::new(), provider());
    let claims = ana_of_provider("");
    world.check(
        "EC signature under the RSA key's id",
        &token(Signer::Ec(&provider.ec), Some("rsa"), &claims),
        "! no key of the app may be used with ES256",
    );
    world.check(
        "HS512 where HS256 is pinned",
        &token(Signer::Secret(jsonwebtoken::Algorithm::HS512, SECRET.as_bytes()), None, &ana("")),
        "! may be used with HS512",
    );
    world.check("header says RS256, signature is HS256", &raw_token(OWN, r#"{"alg":"RS256"}"#, claims.as_bytes()), "! signature is wrong");
}

#[test]
fn signatures_that_broke_others() {
    let (world, provider) = (World::new(), provider());
    let good = token(Signer::Ec(&provider.ec), Some("ec"), &ana_of_provider(""));
    let signed = &good[..good.rfind('.').unwrap()];
    let with = |signature: &[u8]| format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let wrong = "! signature is wrong";
    world.check("r = s = 0", &with(&[0; 64]), wrong);
    world.check("r = s = the order", &with(&hex_order().repeat(2)), wrong);
    world.check("DER instead of two numbers", &with(&[0x30, 6, 2, 1, 1, 2, 1, 1]), wrong);
    world.check("one byte", &with(&[0]), wrong);
    let ed = token(Signer::Ed(&provider.ed), Some("ed"), &ana_of_provider(""));
    let signed = &ed[..ed.rfind('.').unwrap()];
    world.check("all zero", &format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 64])), wrong);
}

fn hex_order() -> Vec<u8> {
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    (0..64).step_by(2).map(|at| u8::from_str_radix(&order[at..at + 2], 16).unwrap()).collect()
}

/// A header may bring or name a key of its own. Who signs doesn't say with what.
#[test]
fn keys_that_tokens_bring_along() {
    let world = World::new();
    let thief = rsa();
    let jwk = Signer::Rsa(&thief).jwk(Some("rsa"));
    for header in [
        format!(r#"{{"alg":"RS256","jwk":{jwk}}}"#),
        r#"{"alg":"RS256","kid":"rsa","jku":"https://evil.test/keys"}"#.to_owned(),
        r#"{"alg":"RS256","x5u":"https://evil.test/cert"}"#.to_owned(),
    ] {
        world.check(&header, &raw_token(Signer::Rsa(&thief), &header, ana_of_provider("").as_bytes()), "! signature is wrong");
    }
    let good = r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"},"jku":"https://evil.test/keys"}"#;
    world.check("the app's key counts, and no other", &raw_token(OWN, good, ana("").as_bytes()), "ana:");
    let from_file = r#"{"alg":"HS256","kid":"../../../../dev/null"}"#;
    world.check("a path as kid", &raw_token(Signer::Secret(HS256, b""), from_file, ana("").as_bytes()), "! signature is wrong");
    world.check("crit", &raw_token(OWN, r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, ana("").as_bytes()), "! has `crit`");
}

#[test]
fn times_that_are_not_now() {
    let world = World::new();
    let at = |claim: &str, offset_s: i64| {
        let moment = NOW_S.checked_add_signed(offset_s).unwrap();
        match claim {
            "exp" => own(&format!(r#"{{"sub":"ana","exp":{moment}}}"#)),
            _ => own(&ana(&format!(r#","{claim}":{moment}"#))),
        }
    };
    world.check("expired", &at("exp", -3600), "! expired 3600 s ago");
    world.check("as late as clocks may differ", &at("exp", -29), "ana:");
    world.check("a second later", &at("exp", -30), "! expired 30 s ago");
    world.check("not yet", &at("nbf", 600), "! not valid for another 600 s");
    world.check("as early as clocks may differ", &at("nbf", 30), "ana:");
    world.check("a second earlier", &at("nbf", 31), "! not valid for another 31 s");
    world.check("made by a clock that is ahead", &at("iat", 30), "ana:");
    world.check("made an hour from now", &at("iat", 3600), "! was made 3600 s from now");
    world.check("beyond all clocks", &own(&ana(r#","iat":1e300"#)), "! s from now");
    world.check("for ever", &own(r#"{"sub":"ana"}"#), "! has no `exp`");
    world.check("null", &own(r#"{"exp":null}"#), "! has no `exp`");
    world.check("a text", &own(r#"{"exp":"9999999999"}"#), "! `exp` is not a number of seconds");
    world.check("before all time", &own(r#"{"exp":-1}"#), "! `exp` is not a number of seconds");
    world.check("beyond all numbers", &own(r#"{"exp":1e300,"nbf":0}"#), "nobody:");
    assert!(matches!(Denied::from(world.verify(&at("exp", -60)).unwrap_err()), Denied::Expired(_)));
}

#[test]
fn tokens_for_others_and_from_others() {
    let (world, provider) = (World::new(), provider());
    let keyed = |claims: &str| token(Signer::Rsa(&provider.rsa), Some("rsa"), claims);
    world.check("another audience", &keyed(&ana(r#","iss":"https://id.test/","aud":"news-api""#)), "! `aud` is \"news-api\"");
    world.check("no audience", &keyed(&ana(r#","iss":"https://id.test/""#)), "! `aud` is missing");
    world.check("audience of another type", &keyed(&ana(r#","iss":"https://id.test/","aud":7"#)), "! `aud` is not a text");
    world.check("another issuer", &keyed(&ana(r#","iss":"https://id.test","aud":"shop-api""#)), "! `iss` is \"https://id.test\"");
    world.check("no issuer", &keyed(&ana(r#","aud":"shop-api""#)), "! `iss` is missing");
    world.check("issuer of another type", &keyed(&ana(r#","aud":"shop-api","iss":["https://id.test/"]"#)), "! `iss` is not a text");
    world.check("another app's id as audience", &own(&ana(r#","aud":"news""#)), "! `aud` is \"news\"");
    world.check("an empty list", &own(&ana(r#","aud":[]"#)), "! `aud` is missing");
}

#[test]
fn credentials_of_another_app() {
    let secret = |text: &str| Secret::parse(text).unwrap();
    let door =
        |id: &str, text: &str| Authenticator::new(Settings::of_secret(app(id), id, &secret(text)).unwrap(), Arc::new(Memory::default()));
    let (shop, news) = (door("shop", SECRET), door("news", OTHER_SECRET));
    let principal = shop.verify(&Credential::Token(own(&ana("")).into()), NOW_MS).unwrap();
    let ticket = shop.issue_ticket(&principal, [3; 32], NOW_MS).unwrap();
    for (credential, words) in [
        (Credential::Token(own(&ana("")).into()), "signature is wrong"),
        (Credential::Ticket(ticket), "ticket is unknown"),
        (Credential::Key { id: "shop".into(), secret: SECRET.into() }, "no API key"),
        (Credential::Key { id: "news".into(), secret: SECRET.into() }, "no API key"),
    ] {
        let found = show(news.verify(&credential, NOW_MS));
        assert!(found.contains(words), "{credential:?}: {found}");
        assert!(shop.verify(&credential, NOW_MS).is_ok() || matches!(&credential, Credential::Key { id, .. } if **id == *"news"));
    }
}

#[test]
fn keys_that_do_not_belong_together() {
    let world = World::new();
    for (id, secret) in [("shop-key", OTHER_SECRET), ("shop-key", ""), ("shop-key", &SECRET[1..]), ("other", SECRET), ("", "")] {
        let credential = Credential::Key { id: id.into(), secret: secret.into() };
        assert_eq!(world.door.verify(&credential, NOW_MS), Err(AuthError::ApiKey), "{id}");
    }
}

#[test]
fn replayed_and_stale_tickets() {
    let world = World::new();
    let principal = world.verify(&own(&ana(""))).unwrap();
    let redeem = |ticket: &str, now_ms| show(world.door.verify(&Credential::Ticket(ticket.into()), now_ms));
    let ticket = world.door.issue_ticket(&principal, [1; 32], NOW_MS).unwrap();
    assert_eq!(redeem(&ticket, NOW_MS), "ana:");
    assert!(redeem(&ticket, NOW_MS).contains("was used before"));
    let bought = world.door.issue_ticket(&principal, [3; 32], NOW_MS).unwrap();
    let bearer = world.door.verify(&Credential::Ticket(bought), NOW_MS).unwrap();
    assert_eq!(world.door.issue_ticket(&bearer, [4; 32], NOW_MS), Err(AuthError::TicketForTicket), "a ticket buys no other");
    let late = world.door.issue_ticket(&principal, [2; 32], NOW_MS).unwrap();
    assert!(redeem(&late, NOW_MS + 30_000).contains("older than 30 s"));
}

#[test]
fn what_was_revoked() {
    let world = World::new();
    let memory = world.door.memory();
    let issued = |s: u64, jti: &str| own(&ana(&format!(r#","iat":{},"jti":"{jti}""#, NOW_S - s)));
    let principal = world.verify(&issued(60, "t1")).unwrap();
    let ticket = world.door.issue_ticket(&principal, [1; 32], NOW_MS).unwrap();
    memory.revocations.revoke(Revoked::Token("t1".into()), NOW_MS - 5_000, NOW_MS + 60_000).unwrap();
    world.check("the token", &issued(60, "t1"), "! the token was revoked");
    world.check("another one", &issued(60, "t2"), "ana:");
    let found = show(world.door.verify(&Credential::Ticket(ticket), NOW_MS));
    assert!(found.contains("the token was revoked"), "a ticket that the token had bought: {found}");
    memory.revocations.revoke(Revoked::User(UserId::parse("ana").unwrap()), NOW_MS - 5_000, NOW_MS + 60_000).unwrap();
    world.check("the user's older tokens", &issued(5, "t2"), "! the user's credential was revoked");
    world.check("one that was made afterwards", &issued(4, "t2"), "ana:");
    world.check("one that doesn't say when", &own(&ana("")), "! the user's credential was revoked");
}

#[test]
fn tokens_of_strange_forms() {
    let world = World::new();
    let good = own(&ana(""));
    let padded = format!("{}={}", &good[..good.find('.').unwrap()], &good[good.find('.').unwrap()..]);
    for (token, words) in [
        ("", "it is empty"),
        (".", "three parts"),
        ("..", "its header"),
        ("a.b", "three parts"),
        ("a.b.c.d", "three parts"),
        ("a.b.c.d.e", "encrypted tokens"),
        ("a.b.c.d.e.f", "three parts"),
        (&padded, "base64"),
        (&format!(" {good}"), "base64"),
        (&format!("{good}\n"), "signature is wrong"),
        (&raw_token(OWN, "[\"HS256\"]", b"{}"), "no JSON object"),
        (&raw_token(OWN, "{}", b"{}"), "no `alg`"),
        (&raw_token(OWN, r#"{"alg":["HS256"]}"#, b"{}"), "no `alg`"),
        (&raw_token(OWN, r#"{"alg":"HS256","alg":"none"}"#, b"{}"), "no `alg`, or is no JSON"),
        (&raw_token(OWN, "\u{feff}{\"alg\":\"HS256\"}", b"{}"), "no JSON object"),
        (&raw_token(OWN, r#"{"alg":"HS256"}"#, b"[]"), "claims are no JSON object"),
        (&raw_token(OWN, r#"{"alg":"HS256"}"#, b"\xff"), "claims are no JSON object"),
        (&raw_token(OWN, r#"{"alg":"HS256"}"#, b""), "claims are no JSON object"),
    ] {
        world.check("form", token, &format!("! {words}"));
    }
    let standard = STANDARD.encode([0xff; 3]);
    world.check("the other base64", &format!("{standard}.{standard}.{standard}"), "! base64");
}

#[test]
fn tokens_that_are_too_much() {
    let world = World::new();
    let filler = |bytes: usize| own(&ana(&format!(r#","x":"{}""#, "x".repeat(bytes))));
    assert!(filler(5_900).len() < 8_192);
    world.check("just small enough", &filler(5_900), "ana:");
    world.check("too large", &filler(6_200), "! at most 8192 are read");
    world.check("far too large", &"x".repeat(1 << 20), "! has 1048576 bytes");
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let claims = |claim: &str| format!(r#"{{"exp":{},"{claim}":{}}}"#, NOW_S + 60, nested(1_500));
    for (claim, expected) in [
        ("info", "! `info` is nested too deeply"),
        ("channels", "! `channels` is not"),
        ("aud", "! `aud` is not"),
        ("mercure", "! `mercure` is not"),
        ("authorization_details", "! without `type`"),
        ("a claim that nobody reads", "nobody:"),
    ] {
        world.check(claim, &raw_token(OWN, r#"{"alg":"HS256"}"#, claims(claim).as_bytes()), expected);
    }
    let header = |field: &str| raw_token(OWN, &format!(r#"{{"alg":"HS256","{field}":{}}}"#, nested(1_500)), ana("").as_bytes());
    world.check("a deep `kid`", &header("kid"), "! its header has no `alg`, or is no JSON");
    world.check("a deep `crit`", &header("crit"), "! has `crit`");
    world.check("a deep field that nobody reads", &header("x"), "ana:");
}

#[test]
fn a_flood_of_unknown_keys_costs_one_fetch() {
    let (world, thief) = (World::new(), ec());
    let flood = |kid: &str, now_ms| {
        let token = token(Signer::Ec(&thief), Some(kid), &ana_of_provider(""));
        world.door.verify(&Credential::Token(token.into()), now_ms)
    };
    let mut fetches = 0;
    for n in 0..200 {
        let now_ms = NOW_MS + n * 50;
        let refused = if n == 0 { flood("ec", now_ms) } else { flood(&format!("kid{n}"), now_ms) };
        let expected = if n == 0 { AuthError::BadSignature } else { AuthError::UnknownKey };
        assert_eq!(refused, Err(expected));
        if world.set.wants_refresh(now_ms) {
            world.set.started(now_ms);
            fetches += 1;
        }
    }
    assert_eq!(fetches, 0, "the keys were fetched just now");
    assert!(world.set.wants_refresh(NOW_MS + 30_000), "but half a minute later a new key may be there");
    world.check("the flood blocks nobody", &token(Signer::Ec(&provider().ec), Some("ec"), &ana_of_provider("")), "ana:");
}

/// Tokens of other algorithms can't make us ask the provider, and a key set without keys says that it is not the token's fault.
#[test]
fn a_key_set_that_is_not_there_yet() {
    let set = Arc::new(KeySet::new(KeySetPolicy::default()));
    let mut settings = Settings::open(app("shop"));
    settings.trusts = vec![Trust { keys: Keys::Fetched(set.clone()), rules: TokenRules::new("shop"), ceiling: Permissions::ALL }];
    let door = Authenticator::new(settings, Arc::new(Memory::default()));
    let verify = |token: String| door.verify(&Credential::Token(token.into()), NOW_MS).unwrap_err();
    assert_eq!(verify(token(Signer::Ec(&provider().ec), Some("ec"), &ana(""))), AuthError::KeysUnavailable);
    assert!(matches!(Denied::from(AuthError::KeysUnavailable), Denied::Unavailable(_)));
    assert_eq!(verify(own(&ana(""))), AuthError::AlgorithmNotAllowed(Algorithm::HS256));
    set.replace(&format!("{{\"keys\":[{}]}}", Signer::Ec(&provider().ec).jwk(Some("ec"))), NOW_MS).unwrap();
    assert!(!set.wants_refresh(NOW_MS + 60_000));
    assert_eq!(
        verify(token(Signer::Secret(HS256, SECRET.as_bytes()), Some("new"), &ana(""))),
        AuthError::AlgorithmNotAllowed(Algorithm::HS256)
    );
    assert!(!set.wants_refresh(NOW_MS + 60_000), "no key of the set could have signed it");
    assert!(matches!(set.lookup(Some("new"), Algorithm::ES256, NOW_MS), Lookup::Unknown));
    assert!(set.wants_refresh(NOW_MS + 60_000));
}

#[test]
fn few_keys_are_tried_for_one_token() {
    let pairs: Vec<_> = (0..SIGNATURE_TRIES_MAX + 1).map(|_| ec()).collect();
    let keys: Vec<_> =
        pairs.iter().map(|pair| omnivox_auth::key::VerificationKey::of_pem(&pair.public_pem, Algorithm::ES256).unwrap()).collect();
    let door = door_of(keys);
    let verify = |place: usize| door.verify(&Credential::Token(token(Signer::Ec(&pairs[place]), None, &ana("")).into()), NOW_MS);
    assert!(verify(SIGNATURE_TRIES_MAX - 1).is_ok());
    assert_eq!(verify(SIGNATURE_TRIES_MAX), Err(AuthError::BadSignature));
}

#[test]
fn nothing_shows_a_secret() {
    let world = World::new();
    let good = own(&ana(r#","jti":"t1""#));
    let ticket = world.door.issue_ticket(&world.verify(&good).unwrap(), [1; 32], NOW_MS).unwrap();
    let shown = format!(
        "{:?} {:?} {:?}",
        world.door,
        secret_key(SECRET, Algorithm::HS256),
        Settings::of_secret(app("a"), "k", &Secret::parse(SECRET).unwrap())
    );
    let mut shown = vec![shown];
    for end in 0..good.len() {
        let cut = &good[..end];
        let error = world.verify(cut).unwrap_err();
        shown.push(format!("{error} {error:?}"));
    }
    let wrong_key = Credential::Key { id: "shop-key".into(), secret: OTHER_SECRET.into() };
    shown.push(format!("{:?}", world.door.verify(&wrong_key, NOW_MS)));
    shown.push(format!("{:?}", world.door.verify(&Credential::Ticket(format!("{ticket}x").into()), NOW_MS)));
    let bytes = format!("{:?}", SECRET.as_bytes());
    let signature = good.rsplit('.').next().unwrap();
    for text in shown {
        for secret in [SECRET, OTHER_SECRET, &ticket[4..], &bytes[1..60], signature] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}
