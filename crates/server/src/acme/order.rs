//! One order: account, names, proofs, certificate.

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use omnivox_hub::outgoing::Outgoing;

use super::challenge::{Proofs, Shown};
use super::store::Store;
use super::transport::Transport;
use super::{AcmeError, AcmeSettings, Challenge};

/// Asks for a certificate, and gives it with its key as PEM.
pub(super) async fn certificate(settings: &AcmeSettings, store: &Store, proofs: &Proofs, outgoing: &Outgoing) -> Result<String, AcmeError> {
    let account = account(settings, store, outgoing).await?;
    let names: Vec<Identifier> = settings.names.iter().map(|name| identifier(name)).collect();
    let mut order = account.new_order(&NewOrder::new(&names)).await?;
    let mut shown: Vec<Shown> = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            _ => return Err(Error::Str("the authority has refused one of the names").into()),
        }
        let kind = match settings.challenge {
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Challenge::Http01 => ChallengeType::Http01,
        };
        let Some(mut challenge) = authorization.challenge(kind) else {
            return Err(Error::Unsupported("the kind of proof that `acme.challenge` names, for one of the names").into());
        };
        let proof = challenge.key_authorization();
        shown.push(match settings.challenge {
            Challenge::TlsAlpn01 => proofs.in_handshake(&challenge.identifier().to_string(), &proof)?,
            Challenge::Http01 => proofs.at_path(&challenge.token, &proof),
        });
        challenge.set_ready().await?;
    }
    let status = order.poll_ready(&RetryPolicy::default()).await?;
    if status != OrderStatus::Ready {
        return Err(Error::Str("a proof was not accepted").into());
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&RetryPolicy::default()).await?;
    drop(shown);
    Ok(format!("{}\n{chain}", key.trim_end()))
}

/// An address is written as one, everything else is a name of DNS.
fn identifier(name: &str) -> Identifier {
    name.parse().map_or_else(|_| Identifier::Dns(name.to_owned()), Identifier::Ip)
}

/// The account with the authority, which is made once.
async fn account(settings: &AcmeSettings, store: &Store, outgoing: &Outgoing) -> Result<Account, AcmeError> {
    let builder = || Account::builder_with_http(Box::new(Transport(outgoing.clone())));
    if let Some(kept) = store.account()? {
        let credentials: AccountCredentials = serde_json::from_str(&kept).map_err(Error::from)?;
        return Ok(builder().from_credentials(credentials).await?);
    }
    let contact: Vec<&str> = settings.contacts.iter().map(String::as_str).collect();
    let wish = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) = builder().create(&wish, settings.directory.clone(), None).await?;
    store.keep_account(&serde_json::to_string(&credentials).map_err(Error::from)?)?;
    Ok(account)
}
