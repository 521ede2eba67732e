//! What is kept on disk: the account's key for each authority, and a certificate with its key for each set of names.
//!
//! Names of files hold a digest of what they belong to, so that other names or another authority never meet an old file. Files are written
//! whole under another name and then renamed, readable by the server's user alone.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{AcmeError, AcmeSettings};
use crate::tls::Certificate;

/// The files of one authority and one set of names.
pub(super) struct Store {
    account: PathBuf,
    certificate: PathBuf,
}

impl Store {
    /// Makes the folder where it is missing.
    pub(super) fn open(settings: &AcmeSettings) -> Result<Self, AcmeError> {
        let folder = &settings.folder;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| AcmeError::File { path: folder.clone(), error })?;
        let mut names: Vec<String> = settings.names.iter().map(|name| name.to_ascii_lowercase()).collect();
        names.sort_unstable();
        let of_names = digest(&[settings.directory.as_str(), &names.join(",")]);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        let first: String = settings.names[0].chars().map(|c| if plain(c) { c } else { '_' }).collect();
        Ok(Self {
            account: folder.join(format!("account-{}.json", digest(&[&settings.directory]))),
            certificate: folder.join(format!("{first}-{of_names}.pem")),
        })
    }

    /// The credentials of the account, as they were given to [`Self::keep_account`].
    pub(super) fn account(&self) -> Result<Option<String>, AcmeError> {
        read(&self.account)
    }

    pub(super) fn keep_account(&self, credentials: &str) -> Result<(), AcmeError> {
        write(&self.account, credentials)
    }

    pub(super) fn certificate(&self) -> Result<Option<Certificate>, AcmeError> {
        read(&self.certificate)?.map(|pem| certificate_from(&pem)).transpose()
    }

    /// Keeps a chain and its key, which are one file so that they always fit together.
    pub(super) fn keep_certificate(&self, pem: &str) -> Result<(), AcmeError> {
        write(&self.certificate, pem)
    }
}

/// A chain and its key from PEM.
pub(super) fn certificate_from(pem: &str) -> Result<Certificate, AcmeError> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| AcmeError::Certificate(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| AcmeError::Certificate(error.to_string()))?;
    Certificate::new(chain, key).map_err(|error| AcmeError::Certificate(error.to_string()))
}

fn read(path: &Path) -> Result<Option<String>, AcmeError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(AcmeError::File { path: path.to_owned(), error }),
    }
}

fn write(path: &Path, text: &str) -> Result<(), AcmeError> {
    let temporary = path.with_extension("new");
    let written = || {
        let _ = fs::remove_file(&temporary);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    written().map_err(|error| AcmeError::File { path: path.to_owned(), error })
}

/// Sixteen hexadecimal digits that stand for the texts.
fn digest(texts: &[&str]) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for text in texts {
        context.update(text.as_bytes());
        context.update(b"\0");
    }
    context.finish().as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::acme::Challenge;

    fn settings(folder: &Path, names: &[&str], directory: &str) -> AcmeSettings {
        AcmeSettings {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            directory: directory.to_owned(),
            contacts: Vec::new(),
            folder: folder.to_owned(),
            challenge: Challenge::default(),
        }
    }

    #[test]
    fn what_is_kept_comes_back_to_whom_it_belongs_and_nobody_else_reads_it() {
        let folder = std::env::temp_dir().join(format!("omnivox-acme-{}", std::process::id()));
        let store = Store::open(&settings(&folder, &["a.example", "b.example"], "https://ca/one")).unwrap();
        assert!(store.account().unwrap().is_none() && store.certificate().unwrap().is_none());
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        store.keep_certificate(&format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem())).unwrap();
        store.keep_account("{}").unwrap();
        for file in [&folder, &store.account, &store.certificate] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o077, 0, "{}", file.display());
        }
        let check = |names: &[&str], directory: &str, certificate: bool, account: bool| {
            let other = Store::open(&settings(&folder, names, directory)).unwrap();
            assert_eq!(other.certificate().unwrap().is_some(), certificate, "{names:?} {directory}");
            assert_eq!(other.account().unwrap().is_some(), account, "{names:?} {directory}");
        };
        check(&["a.example", "B.example"], "https://ca/one", true, true);
        check(&["a.example"], "https://ca/one", false, true);
        check(&["a.example", "b.example"], "https://ca/two", false, false);
        fs::write(&store.certificate, made.cert.pem()).unwrap();
        assert!(store.certificate().is_err(), "a certificate without its key");
        fs::remove_dir_all(&folder).unwrap();
    }
}
