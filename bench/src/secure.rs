//! What a server needs for a run over TLS: settings in which everybody may do everything, as in `dev`, and a certificate that lasts as long as the run.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

use anyhow::{Context, Result};
use rcgen::CertifiedKey;

use crate::wire::Trust;

/// The files of one server. They are removed with this value.
#[derive(Debug)]
pub(crate) struct SecureFiles {
    folder: PathBuf,
    pub(crate) trust: Trust,
}

impl SecureFiles {
    /// Writes them; `more` is a further part of the settings.
    pub(crate) fn write(more: &str) -> Result<Self> {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("omnivox-bench-{}-{number}", process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let files = Self { folder, trust: Trust::of(cert.der().clone())? };
        fs::write(files.path("certificate.pem"), cert.pem())?;
        fs::write(files.path("key.pem"), signing_key.serialize_pem())?;
        fs::write(files.path("omnivox.toml"), format!("{SETTINGS}{more}"))?;
        Ok(files)
    }

    /// The command that starts a server with them: on `{port}` plainly, on `{tls_port}` over TLS.
    pub(crate) fn command(&self, program: String) -> Vec<String> {
        let path = |name: &str| self.path(name).to_string_lossy().into_owned();
        let words = [
            ("serve", String::new()),
            ("--config", path("omnivox.toml")),
            ("--server-listen", "127.0.0.1:{port}".to_owned()),
            ("--tls-listen", "127.0.0.1:{tls_port}".to_owned()),
            ("--tls-certificate-file", path("certificate.pem")),
            ("--tls-private-key-file", path("key.pem")),
        ];
        let words = words.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).filter(|word| !word.is_empty());
        std::iter::once(program).chain(words).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for SecureFiles {
    fn drop(&mut self) {
        // What can't be removed is left to whoever clears the temporary folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// As in `dev`.
const SETTINGS: &str = r#"
[server]
deflate = true

[[app]]
id = "demo"
open = true

[[namespace]]
channels = "*"
anonymous = ["subscribe", "publish", "presence", "history"]

[[route]]
path = "/ws"
to = "ws"

[[route]]
path = "/sse"
to = "sse"

[[route]]
path = "/poll"
to = "poll"

[[route]]
path = "/echo"
to = "echo"
"#;
