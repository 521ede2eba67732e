//! `omnivox init`: a settings file with every setting explained and a fresh secret.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use crate::cli::Init;
use crate::client::subscription::random;
use crate::config::render;
use crate::exit::{self, Code};

/// Writes the file; one that exists is never touched.
pub(crate) fn run(wish: &Init) -> anyhow::Result<()> {
    let path: &Path = &wish.file;
    // Only its owner may read it: it holds a secret.
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match opened {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(exit::error(Code::Failure, format!("{} exists already; name another file", path.display())));
        }
        other => other.with_context(|| format!("cannot write {}", path.display()))?,
    };
    file.write_all(settings(wish.app.as_str()).as_bytes())?;
    let shown = path.display();
    eprintln!(
        "omnivox: {shown} is written, readable by you alone. Next:
  omnivox check --config {shown}
  omnivox token --config {shown} --user ana --allow 'chat:*=subscribe,publish'
  omnivox serve --config {shown}"
    );
    Ok(())
}

/// The sample with one app behind it, whose secret nobody else has.
fn settings(app: &str) -> String {
    let secret: String = random::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
    let id = render::quoted(app);
    format!("{}\n[[app]]\nid = {id}\nsecret = \"{secret}\"\n", render::sample())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Layers, server_config};

    #[test]
    fn what_is_written_can_be_served_and_no_two_secrets_are_alike() {
        let (one, other) = (settings("shop \"1\""), settings("shop \"1\""));
        assert_ne!(one, other);
        let layers = Layers { file: Some(("omnivox.toml".into(), one)), ..Layers::default() };
        let config = layers.over(Config::default()).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.app[0].id.as_str(), "shop \"1\"");
        assert!(server_config(&config, |path| std::fs::read_to_string(path)).is_ok());
    }
}
