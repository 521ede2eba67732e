//! The machinery behind the one definition of all settings.
//!
//! [`settings!`] turns a table such as
//!
//! ```text
//! tables {
//!     /// Where the server listens.
//!     server: Server, since "0.1" {
//!         /// Addresses that accept clients.
//!         listen: Vec<SocketAddr> = vec![LOOPBACK];
//!     }
//! }
//! ```
//!
//! into a typed struct per section, their defaults, and the rows that the parser, the environment, `--help`, the sample file, the
//! reference and the JSON schema are made from. Invariant: there is no second list of settings anywhere.

use toml::de::DeValue;

use super::value::{Kind, Value};

/// One row of the definition.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The key inside its section.
    pub(crate) key: &'static str,
    /// What it means, in sentences.
    doc: &'static str,
    /// The first version that has it.
    pub(crate) since: &'static str,
    /// Its shape.
    pub(crate) kind: Kind,
    /// Whether an entry of a list must give it.
    pub(crate) required: bool,
    /// The default as TOML; `None` when unset.
    pub(crate) default: fn() -> Option<String>,
}

impl Setting {
    pub(crate) const fn new(
        key: &'static str,
        doc: &'static str,
        since: &'static str,
        kind: Kind,
        required: bool,
        default: fn() -> Option<String>,
    ) -> Self {
        Self { key, doc, since, kind, required, default }
    }

    /// What it means, in sentences.
    pub(crate) fn doc(&self) -> &'static str {
        self.doc.trim()
    }

    /// The unit that the end of the key names.
    pub(crate) fn unit(&self) -> Option<&'static str> {
        [("_ms", "milliseconds"), ("_bytes", "bytes"), ("_per_second", "per second")]
            .into_iter()
            .find_map(|(suffix, unit)| self.key.ends_with(suffix).then_some(unit))
            .or_else(|| self.key.contains("_bytes_").then_some("bytes"))
    }
}

/// A table `[name]`, or a list of tables `[[name]]`.
#[derive(Debug)]
pub(crate) struct Section {
    /// Its name in the file.
    pub(crate) name: &'static str,
    doc: &'static str,
    /// Whether it is a list, written `[[name]]`.
    pub(crate) repeated: bool,
    /// Its settings in the order of the definition.
    pub(crate) settings: &'static [Setting],
}

impl Section {
    pub(crate) const fn new(name: &'static str, doc: &'static str, repeated: bool, settings: &'static [Setting]) -> Self {
        Self { name, doc, repeated, settings }
    }

    /// What the section is for.
    pub(crate) fn doc(&self) -> &'static str {
        self.doc.trim()
    }

    /// The section's heading in a file.
    pub(crate) fn heading(&self) -> String {
        if self.repeated { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }

    /// The environment variable of a setting; entries of lists have none, because they have no name of their own.
    pub(crate) fn variable(&self, setting: &Setting) -> Option<String> {
        (!self.repeated).then(|| format!("OMNIVOX_{}_{}", self.name, setting.key).to_uppercase())
    }

    /// The flag of a setting, without its dashes; entries of lists have none.
    pub(crate) fn flag(&self, setting: &Setting) -> Option<String> {
        (!self.repeated).then(|| format!("{}-{}", self.name, setting.key).replace('_', "-"))
    }
}

/// A value as somebody wrote it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Written<'a> {
    /// In a TOML file.
    Toml(&'a DeValue<'a>),
    /// In an environment variable or a flag.
    Text(&'a str),
}

impl Written<'_> {
    pub(crate) fn read<T: Value>(self) -> Result<T, String> {
        match self {
            Self::Toml(value) => T::from_toml(value),
            Self::Text(text) => T::from_text(text),
        }
    }
}

/// Why a key could not be assigned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The section has no such key.
    Unknown,
    /// The value does not fit; the text says what was expected.
    Value(String),
}

/// A section's struct, as the parser sees it.
pub(crate) trait Assign {
    /// Sets one key.
    fn assign(&mut self, key: &str, written: Written<'_>) -> Result<(), Refused>;

    /// The value of one key as TOML, `None` when unset or unknown.
    fn written(&self, key: &str) -> Option<String>;
}

/// Declares sections as structs, and the rows that describe them.
macro_rules! settings {
    (
        tables { $(
            $(#[doc = $table_doc:literal])+
            $table:ident: $table_type:ident, since $table_since:literal {
                $($(#[doc = $doc:literal])+ $key:ident: $type:ty $(= $default:expr)?;)*
            }
        )* }
        lists { $(
            $(#[doc = $list_doc:literal])+
            $list:ident: $list_type:ident, since $list_since:literal {
                $($(#[doc = $list_key_doc:literal])+ $list_key:ident: $list_key_type:ty $(= $list_default:expr)?;)*
            }
        )* }
    ) => {
        $($crate::config::table::section! {
            $(#[doc = $table_doc])+
            $table: $table_type, $table_since, false {
                $($(#[doc = $doc])+ $key: $type $(= $default)?;)*
            }
        })*
        $($crate::config::table::section! {
            $(#[doc = $list_doc])+
            $list: $list_type, $list_since, true {
                $($(#[doc = $list_key_doc])+ $list_key: $list_key_type $(= $list_default)?;)*
            }
        })*

        /// Everything that can be configured, with every value filled in.
        #[derive(Debug, Clone, PartialEq, Default)]
        pub(crate) struct Config {
            $($(#[doc = $table_doc])+ pub(crate) $table: $table_type,)*
            $($(#[doc = $list_doc])+ pub(crate) $list: Vec<$list_type>,)*
        }

        impl Config {
            /// All sections in the order of the definition.
            pub(crate) const SECTIONS: &[$crate::config::table::Section] =
                &[$($table_type::SECTION,)* $($list_type::SECTION),*];

            /// All sections with what they hold, entry by entry for lists, in the order of the definition.
            pub(crate) fn entries(
                &self,
            ) -> Vec<(&'static $crate::config::table::Section, &dyn $crate::config::table::Assign)> {
                let mut sections = Self::SECTIONS.iter();
                let mut entries = Vec::new();
                $(if let Some(section) = sections.next() {
                    entries.push((section, &self.$table as &dyn $crate::config::table::Assign));
                })*
                $(if let Some(section) = sections.next() {
                    for entry in &self.$list {
                        entries.push((section, entry as &dyn $crate::config::table::Assign));
                    }
                })*
                entries
            }

            /// The struct of a table.
            pub(crate) fn table(&mut self, name: &str) -> Option<&mut dyn $crate::config::table::Assign> {
                match name {
                    $(stringify!($table) => Some(&mut self.$table),)*
                    _ => None,
                }
            }

            /// Appends an entry to a list and gives its struct.
            pub(crate) fn push(&mut self, name: &str) -> Option<&mut dyn $crate::config::table::Assign> {
                match name {
                    $(stringify!($list) => {
                        self.$list.push($list_type::default());
                        self.$list.last_mut().map(|entry| entry as &mut dyn $crate::config::table::Assign)
                    })*
                    _ => None,
                }
            }
        }
    };
}

/// Declares one section; only [`settings!`] uses it.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])+
        $name:ident: $struct:ident, $since:literal, $repeated:literal {
            $($(#[doc = $doc:literal])+ $key:ident: $type:ty $(= $default:expr)?;)*
        }
    ) => {
        $(#[doc = $section_doc])+
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) struct $struct {
            $($(#[doc = $doc])+ pub(crate) $key: $type,)*
        }

        impl Default for $struct {
            fn default() -> Self {
                Self { $($key: $crate::config::table::default_of!($type $(, $default)?),)* }
            }
        }

        impl $struct {
            /// The rows that describe this section.
            pub(crate) const SECTION: $crate::config::table::Section = $crate::config::table::Section::new(
                stringify!($name),
                concat!($($section_doc),+),
                $repeated,
                &[$($crate::config::table::Setting::new(
                    stringify!($key),
                    concat!($($doc),+),
                    $since,
                    <$type as $crate::config::value::Value>::KIND,
                    $crate::config::table::is_required!($($default)?),
                    || $crate::config::value::Value::to_toml(&Self::default().$key),
                ),)*],
            );
        }

        impl $crate::config::table::Assign for $struct {
            fn assign(
                &mut self,
                key: &str,
                written: $crate::config::table::Written<'_>,
            ) -> Result<(), $crate::config::table::Refused> {
                match key {
                    $(stringify!($key) => {
                        self.$key = written.read().map_err($crate::config::table::Refused::Value)?;
                    })*
                    _ => return Err($crate::config::table::Refused::Unknown),
                }
                Ok(())
            }

            fn written(&self, key: &str) -> Option<String> {
                match key {
                    $(stringify!($key) => $crate::config::value::Value::to_toml(&self.$key),)*
                    _ => None,
                }
            }
        }
    };
}

/// The given default, or what stands in for a required key until it is assigned.
macro_rules! default_of {
    ($type:ty) => {
        <$type as $crate::config::value::Placeholder>::placeholder()
    };
    ($type:ty, $default:expr) => {
        $default
    };
}

/// A key without a default must be given.
macro_rules! is_required {
    () => {
        true
    };
    ($default:expr) => {
        false
    };
}

pub(crate) use {default_of, is_required, section, settings};
