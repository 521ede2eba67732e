//! `omnivox check`: are the settings right, what would a server do with them, and what is weak?

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use omnivox_server::ServerConfig;
use rustix::fs::Access;

use crate::cli::Settings;
use crate::config::relay::relay_config;
use crate::config::summary::summary;
use crate::config::weaknesses::weaknesses;
use crate::config::{Config, Layers, render, webhooks};
use crate::exit::{self, Code};
use crate::logging;

use super::{documents, judge, load};

/// Reads the settings as `serve` would, and prints those that differ from the defaults and what they lead to. What is wrong is an error, what
/// is weak a word.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let config = load(settings, Config::default())?;
    let server = judge(&config)?;
    relay_config(&config.turn, |path| fs::read_to_string(path)).map_err(|problems| exit::error(Code::Usage, problems.to_string()))?;
    logging::filter(&config.log.level)?;
    let done: String = summary(&config, &server).iter().map(|line| format!("#   {line}\n")).collect();
    documents::print(format!("{}\n# A server with these settings\n{done}", render::changes(&config)).as_bytes())?;
    for note in webhooks::notes(&config) {
        eprintln!("omnivox: note: {note}");
    }
    for weakness in weaknesses(&config).into_iter().chain(on_this_machine(settings, &config, &server)) {
        eprintln!("omnivox: warning: {weakness}");
    }
    let apps = server.apps.len();
    let connections = server.limits.connections_max;
    eprintln!("omnivox: the settings are right: {apps} app(s), at most {connections} connections");
    Ok(())
}

/// What is weak about the files that the settings name, and the time.
fn on_this_machine(settings: &Settings, config: &Config, server: &ServerConfig) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(path) = &settings.config
        && holds_secrets(path)
        && let Ok(mode) = fs::metadata(path).map(|found| found.permissions().mode() & 0o777)
        && mode & 0o004 != 0
    {
        let path = path.display();
        found.push(format!("{path} holds secrets, and its mode {mode:o} lets every user of this machine read it; `chmod 600 {path}`"));
    }
    for app in &config.app {
        let file = app.token_key_set.as_ref().filter(|set| !["https://", "http://"].iter().any(|scheme| set.starts_with(scheme)));
        if let Some(error) = file.and_then(|path| fs::read(path).err()) {
            let set = file.map_or("", String::as_str);
            found.push(format!("[[app]] {}: `token_key_set` {set}: {error}; tokens of its keys are refused until it is there", app.id));
        }
    }
    let folders = [("webhooks.folder", config.webhooks.folder.clone()), ("acme.folder", acme_folder(config))];
    for (setting, folder) in folders {
        let folder = folder.as_deref();
        if let Some((folder, why)) = folder.and_then(|folder| Some((folder, unusable(folder)?))) {
            found.push(format!("{setting}: {}: {why}; the server's user has to make it and write there", folder.display()));
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    found.extend(server.tls.as_ref().and_then(|tls| ending(tls.expires_at(), now)));
    found
}

fn acme_folder(config: &Config) -> Option<PathBuf> {
    (!config.acme.names.is_empty()).then(|| config.acme.folder.clone())
}

/// Whether some secret stands in the file itself.
fn holds_secrets(path: &Path) -> bool {
    let Ok(source) = fs::read_to_string(path) else { return false };
    let Ok(config) = (Layers { file: Some((path.to_owned(), source)), ..Layers::default() }).over(Config::default()) else { return false };
    config.entries().iter().any(|(section, entry)| {
        let secrets = section.settings.iter().filter(|setting| setting.kind.is_secret());
        secrets.into_iter().any(|setting| entry.written(setting.key) != (setting.default)())
    })
}

/// Why nothing can be stored in a folder that is made when it is missing.
fn unusable(folder: &Path) -> Option<String> {
    let whole = std::path::absolute(folder).ok()?;
    let there = whole.ancestors().find(|ancestor| ancestor.exists())?;
    if !there.is_dir() {
        return Some(format!("{} is no folder", there.display()));
    }
    rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK)
        .err()
        .map(|error| format!("{} can't be written: {error}", there.display()))
}

/// What to say of a certificate that ends at a time; 0 is none that is known.
fn ending(expires_at: u64, now: u64) -> Option<String> {
    const DAY: u64 = 86_400;
    const SOON: u64 = 14 * DAY;
    let mend = "put a new one into `tls.certificate_file` and send SIGHUP, or let `acme.names` renew it";
    match expires_at.checked_sub(now) {
        _ if expires_at == 0 => None,
        None | Some(0) => Some(format!("tls.certificate_file: the certificate ended {} days ago; {mend}", (now - expires_at) / DAY)),
        Some(left) if left <= SOON => Some(format!("tls.certificate_file: the certificate ends in {} days; {mend}", left / DAY)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_named_when_its_end_is_near() {
        let check = |expires_at: u64, expected: Option<&str>| {
            let found = ending(expires_at, 100 * 86_400);
            assert!(found.is_some() == expected.is_some() && found.as_deref().unwrap_or("").contains(expected.unwrap_or("")), "{found:?}");
        };
        check(0, None);
        check(98 * 86_400, Some("ended 2 days ago"));
        check(100 * 86_400, Some("ended 0 days ago"));
        check(101 * 86_400, Some("ends in 1 days"));
        check(114 * 86_400, Some("ends in 14 days"));
        check(115 * 86_400, None);
    }

    #[test]
    fn a_folder_can_be_made_in_one_that_can_be_written() {
        let check = |folder: PathBuf, expected: Option<&str>| {
            let found = unusable(&folder);
            assert!(found.is_some() == expected.is_some() && found.as_deref().unwrap_or("").contains(expected.unwrap_or("")), "{found:?}");
        };
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        check(here.to_owned(), None);
        check(here.join("not/there/yet"), None);
        check(here.join("Cargo.toml"), Some("Cargo.toml is no folder"));
        check(here.join("Cargo.toml/below"), Some("Cargo.toml is no folder"));
        check("relative".into(), None);
    }
}
