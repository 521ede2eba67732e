//! One app, `shop`, that trusts its own secret and an identity provider with three keys; and ways to make tokens for it.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
use omnivox_auth::key::{Algorithm, VerificationKey};
use omnivox_auth::key_set::{KeySet, KeySetPolicy};
use omnivox_auth::secret::Secret;
use omnivox_auth::token::{Audience, Keys, TokenRules, Trust};
use omnivox_auth::{AuthError, Authenticator, Memory, Settings};
use omnivox_core::{App, AppId, Credential, Namespace, Namespaces, Pattern, Permissions, Principal};

/// Some moment in 2025.
pub(crate) const NOW_S: u64 = 1_763_840_000;
/// The same in milliseconds.
pub(crate) const NOW_MS: u64 = NOW_S * 1000;
/// The secret of the app.
pub(crate) const SECRET: &str = "an example secret that is long enough for HS512, which needs sixty-four bytes";
/// A secret that nobody trusts.
pub(crate) const OTHER_SECRET: &str = "somebody else's secret that is long enough for HS512, which needs sixty-four";

/// A key pair in the texts in which keys travel.
pub(crate) struct Pair {
    pub(crate) private_pem: String,
    pub(crate) public_pem: String,
    pub(crate) public_der: Vec<u8>,
}

impl Pair {
    fn new(private: &[u8], public: &[u8]) -> Self {
        let pem = |label: &str, der: &[u8]| format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der));
        Self { private_pem: pem("PRIVATE KEY", private), public_pem: pem("PUBLIC KEY", public), public_der: public.to_vec() }
    }
}

/// The identity provider's keys, made once.
pub(crate) struct Provider {
    pub(crate) rsa: Pair,
    pub(crate) ec: Pair,
    pub(crate) ed: Pair,
}

pub(crate) fn rsa() -> Pair {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair::new(private.as_ref(), public.as_ref())
}

pub(crate) fn ec() -> Pair {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair::new(pair.to_pkcs8v1().unwrap().as_ref(), public.as_ref())
}

pub(crate) fn ed() -> Pair {
    let pair = Ed25519KeyPair::generate().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair::new(pair.to_pkcs8v1().unwrap().as_ref(), public.as_ref())
}

pub(crate) fn provider() -> &'static Provider {
    static PROVIDER: OnceLock<Provider> = OnceLock::new();
    PROVIDER.get_or_init(|| Provider { rsa: rsa(), ec: ec(), ed: ed() })
}

/// How a token is signed.
#[derive(Clone, Copy)]
pub(crate) enum Signer<'a> {
    Secret(jsonwebtoken::Algorithm, &'a [u8]),
    Rsa(&'a Pair),
    Ec(&'a Pair),
    Ed(&'a Pair),
}

impl Signer<'_> {
    fn key(self) -> (jsonwebtoken::Algorithm, EncodingKey) {
        match self {
            Self::Secret(algorithm, secret) => (algorithm, EncodingKey::from_secret(secret)),
            Self::Rsa(pair) => (jsonwebtoken::Algorithm::RS256, EncodingKey::from_rsa_pem(pair.private_pem.as_bytes()).unwrap()),
            Self::Ec(pair) => (jsonwebtoken::Algorithm::ES256, EncodingKey::from_ec_pem(pair.private_pem.as_bytes()).unwrap()),
            Self::Ed(pair) => (jsonwebtoken::Algorithm::EdDSA, EncodingKey::from_ed_pem(pair.private_pem.as_bytes()).unwrap()),
        }
    }

    /// The public half for a key set.
    pub(crate) fn jwk(self, id: Option<&str>) -> String {
        let (algorithm, key) = self.key();
        let mut jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
        jwk.common.key_id = id.map(str::to_owned);
        serde_json::to_string(&jwk).unwrap()
    }
}

/// A token with the usual header.
pub(crate) fn token(signer: Signer<'_>, kid: Option<&str>, claims: &str) -> String {
    let (algorithm, key) = signer.key();
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    let claims: serde_json::Value = serde_json::from_str(claims).unwrap();
    jsonwebtoken::encode(&header, &claims, &key).unwrap()
}

/// A token whose header and claims are exactly these bytes.
pub(crate) fn raw_token(signer: Signer<'_>, header: &str, claims: &[u8]) -> String {
    let (algorithm, key) = signer.key();
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, algorithm).unwrap();
    format!("{signed}.{signature}")
}

/// A token of the app's own secret.
pub(crate) fn own(claims: &str) -> String {
    token(Signer::Secret(jsonwebtoken::Algorithm::HS256, SECRET.as_bytes()), None, claims)
}

/// Ana's claims, good for a minute, with some more.
pub(crate) fn ana(more: &str) -> String {
    format!(r#"{{"sub":"ana","exp":{}{more}}}"#, NOW_S + 60)
}

/// The same, as the identity provider writes them.
pub(crate) fn ana_of_provider(more: &str) -> String {
    ana(&format!(r#","iss":"https://id.test/","aud":["shop-api"]{more}"#))
}

pub(crate) fn app(id: &str) -> Arc<App> {
    let open = Namespace::new("", Pattern::All);
    let mut private = Namespace::new("private", Pattern::Prefix("private-".into()));
    private.protected = true;
    let mut app = App::new(AppId::parse(id).unwrap(), Namespaces::new(vec![open, private]));
    app.open = false;
    Arc::new(app)
}

/// The app's door and the key set behind it.
pub(crate) struct World {
    pub(crate) door: Authenticator,
    pub(crate) set: Arc<KeySet>,
}

impl World {
    pub(crate) fn new() -> Self {
        let provider = provider();
        let keys = [
            Signer::Rsa(&provider.rsa).jwk(Some("rsa")),
            Signer::Ec(&provider.ec).jwk(Some("ec")),
            Signer::Ed(&provider.ed).jwk(Some("ed")),
        ];
        let set = Arc::new(KeySet::new(KeySetPolicy::default()));
        set.replace(&format!("{{\"keys\":[{}]}}", keys.join(",")), NOW_MS).unwrap();
        let rules = TokenRules {
            issuers: vec!["https://id.test/".into()],
            audience: Audience::OneOf(vec!["shop-api".into()]),
            ..TokenRules::new("shop")
        };
        let secret = Secret::parse(SECRET).unwrap();
        let mut settings = Settings::of_secret(app("shop"), "shop-key", &secret).unwrap();
        settings.trusts.push(Trust { keys: Keys::Fetched(set.clone()), rules, ceiling: Permissions::CLIENT });
        Self { door: Authenticator::new(settings, Arc::new(Memory::default())), set }
    }

    pub(crate) fn verify(&self, token: &str) -> Result<Principal, AuthError> {
        self.door.verify(&Credential::Token(token.into()), NOW_MS)
    }

    /// `token` is let in as `expected`, or refused (`!`) with these words.
    pub(crate) fn check(&self, what: &str, token: &str, expected: &str) {
        let found = show(self.verify(token));
        let same = match expected.strip_prefix("! ") {
            Some(words) => found.starts_with("! ") && found.contains(words),
            None => found == expected,
        };
        assert!(same, "{what}: expected {expected:?}, got {found:?}");
    }
}

/// A principal as `user: pattern=permissions …`, a refusal as `! words`.
pub(crate) fn show(outcome: Result<Principal, AuthError>) -> String {
    match outcome {
        Ok(principal) => {
            let user = principal.user.as_ref().map_or("nobody", |user| user.as_str());
            let grants = principal.grants.iter().map(|grant| format!(" {}={}", grant.pattern, grant.permissions));
            format!("{user}:{}", grants.collect::<String>())
        }
        Err(error) => format!("! {error}"),
    }
}

/// A door that trusts these keys alone.
pub(crate) fn door_of(keys: Vec<VerificationKey>) -> Authenticator {
    let rules = TokenRules::new("shop");
    let mut settings = Settings::open(app("shop"));
    settings.trusts = vec![Trust { keys: Keys::Pinned(keys), rules, ceiling: Permissions::ALL }];
    Authenticator::new(settings, Arc::new(Memory::default()))
}

/// A key of a secret for one algorithm.
pub(crate) fn secret_key(text: &str, algorithm: Algorithm) -> VerificationKey {
    VerificationKey::of_secret(&Secret::parse(text).unwrap(), &[algorithm]).unwrap()
}
