//! `[tls]` and `[acme]`: where the certificate comes from, which is files or an authority.

use std::net::IpAddr;
use std::sync::Arc;

use omnivox_server::acme::{AcmeSettings, Challenge};
use omnivox_server::tls::{CertificateFiles, Tls};

use super::choices::AcmeChallenge;
use super::problem::{Place, Problem};
use super::settings::{AcmeSection, Config};

/// The certificate of the TLS listeners, if there are any.
pub(super) fn tls(config: &Config, problems: &mut Vec<Problem>) -> Option<Arc<Tls>> {
    if !config.acme.names.is_empty() {
        judge_acme(config, problems);
        return Some(Arc::new(Tls::automatic()));
    }
    let section = &config.tls;
    let place = |key: &str| Place::Section(format!("tls.{key}"));
    match (&section.certificate_file, &section.private_key_file) {
        (Some(certificate), Some(key)) => {
            let files = CertificateFiles { certificate: certificate.clone(), key: key.clone() };
            Tls::load(files).map_err(|error| problems.push(Problem::new(place(error.setting()), error.to_string()))).ok().map(Arc::new)
        }
        (None, None) if section.listen.is_empty() => None,
        _ => {
            let what = "certificate and private key come together, and every address in `tls.listen` needs them";
            problems
                .push(Problem::new(place("certificate_file"), what).mend("set `certificate_file` and `private_key_file`, or `acme.names`"));
            None
        }
    }
}

/// Whom to ask for a certificate, if anyone.
pub(super) fn acme(section: &AcmeSection) -> Option<AcmeSettings> {
    (!section.names.is_empty()).then(|| AcmeSettings {
        names: section.names.clone(),
        directory: section.directory.clone(),
        contacts: section.contacts.clone(),
        folder: section.folder.clone(),
        challenge: match section.challenge {
            AcmeChallenge::TlsAlpn01 => Challenge::TlsAlpn01,
            AcmeChallenge::Http01 => Challenge::Http01,
        },
    })
}

fn judge_acme(config: &Config, problems: &mut Vec<Problem>) {
    let section = &config.acme;
    let mut problem = |key: &str, what: &str| problems.push(Problem::new(Place::Section(format!("acme.{key}")), what));
    if !section.terms_agreed {
        problem("terms_agreed", "the authority gives certificates to those only who agree to its terms; read them, and set it to true");
    }
    if config.tls.listen.is_empty() {
        problem("names", "there is no address in `tls.listen` that the certificate would be for");
    }
    if config.tls.certificate_file.is_some() || config.tls.private_key_file.is_some() {
        problem(
            "names",
            "the certificate comes from an authority or from files; unset `tls.certificate_file` and `tls.private_key_file`, or this",
        );
    }
    for name in &section.names {
        if name.parse::<IpAddr>().is_ok() && section.challenge == AcmeChallenge::TlsAlpn01 {
            problem("names", &format!("{name:?} is an address, which is proven by `challenge = \"http-01\"` only"));
        } else if name.parse::<IpAddr>().is_err() && !is_host(name) {
            problem("names", &format!("{name:?} is no host name; one with `*` would need a proof in DNS, which omnivox does not give"));
        }
    }
    if !section.directory.starts_with("https://") {
        problem("directory", "is no https URL");
    }
}

/// Whether a text is a host name: labels of letters, digits and hyphens.
fn is_host(name: &str) -> bool {
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    name.len() <= 253 && name.split('.').all(label)
}
