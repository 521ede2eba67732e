//! Defaults, then OpenTelemetry's own variables (for `[traces]`), then the file, then the environment, then flags: the later one wins, setting by setting.
//!
//! Nothing here reads the environment or a file by itself: the caller hands in what it read, so a test is a few strings.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::otel;
use super::problem::{Place, Problem, Problems};
use super::settings::Config;
use super::suggest::nearest;
use super::table::{Assign, Refused, Section, Written};

/// What was written, layer by layer.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    /// The settings file: its name and its text.
    pub(crate) file: Option<(PathBuf, String)>,
    /// Environment variables; others than ours are ignored.
    pub(crate) environment: Vec<(String, String)>,
    /// Flags without their dashes, and their values.
    pub(crate) flags: Vec<(String, String)>,
}

impl Layers {
    /// Lays the layers over the given defaults.
    pub(crate) fn over(&self, defaults: Config) -> Result<Config, Problems> {
        let mut config = defaults;
        let mut problems = Vec::new();
        for (key, text, variable) in otel::conventions(&self.environment) {
            if let Err(Refused::Value(what)) = config.traces.assign(key, Written::Text(&text)) {
                problems.push(Problem::new(Place::Variable(variable.to_owned()), what));
            }
        }
        if let Some((path, source)) = &self.file {
            File { path, source, problems: &mut problems }.apply(&mut config);
        }
        for section in Config::SECTIONS {
            for setting in section.settings {
                let (Some(variable), Some(flag)) = (section.variable(setting), section.flag(setting)) else {
                    continue;
                };
                let table = config.table(section.name).expect("a section that is no list is a table");
                let from_environment = find(&self.environment, &variable);
                let from_flag = find(&self.flags, &flag);
                let texts = [(from_environment, Place::Variable(variable)), (from_flag, Place::Flag(flag))];
                for (text, place) in texts {
                    let Some(text) = text else { continue };
                    if let Err(Refused::Value(what)) = table.assign(setting.key, Written::Text(text)) {
                        problems.push(Problem::new(place, what));
                    }
                }
            }
        }
        if problems.is_empty() { Ok(config) } else { Err(Problems::new(problems)) }
    }

    /// Environment variables that look like settings and are none, each with the nearest known name.
    ///
    /// They are a warning, not an error: orchestrators put variables such as `OMNIVOX_PORT` into every container beside a
    /// service of that name.
    pub(crate) fn strangers(&self) -> Vec<(&str, Option<String>)> {
        let known: Vec<String> = Config::SECTIONS
            .iter()
            .flat_map(|section| section.settings.iter().filter_map(|setting| section.variable(setting)))
            .chain(CLIENT_VARIABLES.map(str::to_owned))
            .collect();
        self.environment
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| name.starts_with("OMNIVOX_") && !known.iter().any(|word| word == name))
            .filter(|name| !name.contains("_PORT_") && !name.ends_with("_PORT") && !name.contains("_SERVICE_"))
            .map(|name| (name, nearest(name, known.iter().map(String::as_str)).map(str::to_owned)))
            .collect()
    }
}

/// Variables that are flags of commands rather than settings.
const CLIENT_VARIABLES: [&str; 3] = ["OMNIVOX_CONFIG", "OMNIVOX_URL", "OMNIVOX_TOKEN"];

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The file layer: walks the document and assigns what it finds, noting the place of everything that does not fit.
struct File<'a> {
    path: &'a Path,
    source: &'a str,
    problems: &'a mut Vec<Problem>,
}

impl File<'_> {
    fn apply(mut self, config: &mut Config) {
        let document = match DeTable::parse(self.source) {
            Ok(document) => document,
            Err(error) => {
                let place = Place::in_file(self.path, self.source, error.span().unwrap_or(0..0));
                self.problems.push(Problem::new(place, format!("not valid TOML: {}", error.message())));
                return;
            }
        };
        for (name, value) in document.get_ref() {
            let Some(section) = Config::SECTIONS.iter().find(|section| section.name == name.get_ref()) else {
                let known = Config::SECTIONS.iter().map(|section| section.name);
                let problem = self.problem(name, format!("unknown section `{}`", name.get_ref()));
                self.problems.push(problem.suggest(nearest(name.get_ref(), known)));
                continue;
            };
            match (value.get_ref(), section.repeated) {
                (DeValue::Table(table), false) => {
                    let target = config.table(section.name).expect("a section that is no list is a table");
                    self.section(section, table, target);
                }
                (DeValue::Array(entries), true) => {
                    for entry in entries {
                        self.entry(section, entry, config);
                    }
                }
                (other, _) => {
                    let what = format!("`{}` is {}, expected {}", section.name, other.type_str(), section.heading());
                    let problem = self.problem(name, what).mend(format!("write it as {}", section.heading()));
                    self.problems.push(problem);
                }
            }
        }
    }

    fn entry(&mut self, section: &Section, entry: &Spanned<DeValue<'_>>, config: &mut Config) {
        let DeValue::Table(table) = entry.get_ref() else {
            let what = format!("an entry of `{}` is {}", section.name, entry.get_ref().type_str());
            let problem = self.problem(entry, what).mend(format!("write it as {}", section.heading()));
            self.problems.push(problem);
            return;
        };
        let target = config.push(section.name).expect("a repeated section is a list");
        self.section(section, table, target);
        for setting in section.settings.iter().filter(|setting| setting.required) {
            if !table.contains_key(setting.key) {
                let what = format!("{} needs `{}`", section.heading(), setting.key);
                let problem = self.problem(entry, what).mend(setting.doc());
                self.problems.push(problem);
            }
        }
    }

    fn section(&mut self, section: &Section, table: &DeTable<'_>, target: &mut dyn Assign) {
        for (key, value) in table {
            match target.assign(key.get_ref(), Written::Toml(value.get_ref())) {
                Ok(()) => {}
                Err(Refused::Value(what)) => {
                    let problem = self.problem(value, format!("`{}.{}`: {what}", section.name, key.get_ref()));
                    self.problems.push(problem);
                }
                Err(Refused::Unknown) => {
                    let known = section.settings.iter().map(|setting| setting.key);
                    let what = format!("unknown setting `{}.{}`", section.name, key.get_ref());
                    let problem = self.problem(key, what).suggest(nearest(key.get_ref(), known));
                    self.problems.push(problem);
                }
            }
        }
    }

    fn problem<T>(&self, at: &Spanned<T>, what: String) -> Problem {
        Problem::new(Place::in_file(self.path, self.source, at.span()), what)
    }
}
