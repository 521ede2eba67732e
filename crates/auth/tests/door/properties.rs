//! Whatever comes, there is an answer; and no changed credential is let in.

use omnivox_auth::key_set::{KeySet, KeySetPolicy};
use omnivox_auth::origin::{PageSigns, allowed, cookie_counts};
use omnivox_auth::secret::Secret;
use omnivox_auth::signature::{RequestSignature, WebhookHeaders, verify_webhook};
use omnivox_auth::turn::RelayUser;
use omnivox_auth::{claims::Claims, mercure};
use omnivox_core::{AppId, ChannelName, Credential, UserId};
use proptest::prelude::*;

use crate::world::{NOW_MS, SECRET, Signer, World, ana, own, raw_token};

const OWN: Signer<'static> = Signer::Secret(jsonwebtoken::Algorithm::HS256, SECRET.as_bytes());

/// JSON of any shape, not only of the right one.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        "[a-z*{}]{0,6}|publish|subscribe|https://mercure\\.rocks/authorization-detail".prop_map(serde_json::Value::from),
    ];
    let names = "[a-z]{1,3}|type|actions|topics|match|match_type|publish|subscribe|payload";
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::btree_map(names, inner, 0..4).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

fn claims() -> impl Strategy<Value = serde_json::Value> {
    let names = "sub|exp|nbf|iat|iss|aud|jti|info|channels|mercure|authorization_details|https://mercure\\.rocks/";
    proptest::collection::btree_map(names, json(), 0..6).prop_map(|fields| fields.into_iter().collect())
}

fn jwk() -> impl Strategy<Value = serde_json::Value> {
    let names = "kty|kid|use|alg|crv|n|e|x|y|k|key_ops";
    let text = "RSA|EC|OKP|oct|P-256|Ed25519|sig|HS256|ES256|[A-Za-z0-9_-]{0,90}".prop_map(serde_json::Value::from);
    proptest::collection::btree_map(names, prop_oneof![json(), text], 0..8).prop_map(|fields| fields.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}|[A-Za-z0-9_.=,: -]{0,200}") {
        let world = World::new();
        let boxed = || Box::from(text.as_str());
        for credential in [Credential::Token(boxed()), Credential::Ticket(boxed()), Credential::Key { id: boxed(), secret: boxed() }] {
            prop_assert!(world.door.verify(&credential, NOW_MS).is_err());
        }
        let _ = RequestSignature::parse(&text);
        let _ = RequestSignature::parse(&format!("Omnivox-HMAC {text}"));
        let _ = RelayUser::parse(&text);
        let _ = allowed(&[text.clone(), "https://*.a.test".into()], &text);
        let signs = PageSigns { referer: Some(&text), host: Some(&text), ..PageSigns::default() };
        let _ = cookie_counts(std::slice::from_ref(&text), &signs);
        let _ = KeySet::new(KeySetPolicy::default()).replace(&text, 0);
        let headers = WebhookHeaders { id: text.clone(), timestamp: "1".into(), signature: text };
        prop_assert!(verify_webhook(&Secret::parse(SECRET).unwrap(), &headers, b"", u64::MAX, 0).is_err());
    }

    #[test]
    fn any_signed_claims_are_answered(claims in claims(), now_ms in any::<u64>()) {
        let world = World::new();
        let token = raw_token(OWN, r#"{"alg":"HS256"}"#, claims.to_string().as_bytes());
        let _ = world.door.verify(&Credential::Token(token.into()), now_ms);
        if let Ok(claims) = Claims::parse(claims.to_string().as_bytes())
            && let Ok(Some(scope)) = mercure::scope(&claims)
        {
            let _ = scope.grants();
        }
    }

    #[test]
    fn any_key_set_is_answered(keys in proptest::collection::vec(jwk(), 0..4)) {
        let set = KeySet::new(KeySetPolicy { algorithms: omnivox_auth::key::Algorithm::ALL.into(), ..KeySetPolicy::default() });
        let _ = set.replace(&serde_json::json!({ "keys": keys }).to_string(), 0);
    }

    #[test]
    fn a_changed_token_is_refused(at in any::<prop::sample::Index>(), to in any::<char>()) {
        let world = World::new();
        let good = own(&ana(r#","channels":{"chat":["subscribe"]}"#));
        prop_assert!(world.verify(&good).is_ok());
        let at = at.index(good.len());
        let changed = format!("{}{to}{}", &good[..at], &good[at + 1..]);
        prop_assert!(changed == good || world.verify(&changed).is_err(), "{changed}");
    }

    #[test]
    fn relay_names_read_back(app in "\\PC{1,20}", user in "\\PC{0,20}", room in "[a-z%/:0-9]{0,20}") {
        let (user, room) = (UserId::parse(&user).ok(), ChannelName::parse(&room).ok());
        let relay = RelayUser::new(AppId::parse(&app).unwrap(), user, room, 60, NOW_MS);
        prop_assert_eq!(RelayUser::parse(&relay.username().unwrap()), Ok(relay));
    }
}
