//! Merges the sources of settings: a flag beats the environment, the environment beats the file,
//! the file beats the default.
//!
//! Owns names and precedence: unknown names, and one setting given twice by two of its names, are
//! refused here. What a text means is [`super::value`]'s.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::retention_rules::{self, RawRule};
use super::table::{self, CONFIG_FILE, SETTINGS, Setting};

/// The one setting that is a list in the file.
const RETENTION: &str = "retention";

/// What the command line gave.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Path of the YAML file.
    pub config_file: Option<String>,
    /// Pairs of a name (or alias) and its text, at most one per name.
    pub values: Vec<(String, String)>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By this flag.
    Flag(String),
    /// By this variable.
    Environment(String),
    /// By this key of this file.
    File {
        key: String,
        path: String,
    },
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::File { key, path } => write!(f, "key {key} of {path}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One setting as it counts.
#[derive(Clone, Debug)]
pub struct Effective {
    pub name: &'static str,
    pub value: String,
    pub origin: Origin,
}

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{origin}: {value:?} is not valid for {name}: expected {expected}{}", because(.why))]
    BadValue { name: &'static str, origin: Origin, value: Box<str>, expected: &'static str, why: Box<str> },
    #[error("unknown key {key} in {path}: settings are named as flags are, see onggi serve --help")]
    UnknownKey { key: String, path: String },
    #[error("unknown environment variable {0}: no setting has this name, see onggi serve --help")]
    UnknownVariable(String),
    #[error("unknown flag --{0}: see onggi serve --help")]
    UnknownFlag(String),
    #[error("{first} and {second} name the same setting: give one of them")]
    Twice { first: Origin, second: Origin },
    #[error("read configuration file {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("configuration file {path} is not a flat YAML map of settings: {message}")]
    Yaml { path: String, message: String },
}

fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(" ({why})") }
}

/// Every setting's text and origin.
#[derive(Debug)]
pub(super) struct Raw {
    values: BTreeMap<&'static str, (String, Origin)>,
    /// Which of them [`super::Config`] has asked for.
    read: RefCell<BTreeSet<&'static str>>,
}

impl Raw {
    pub fn merge(
        flags: &Flags,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut from_environment = BTreeMap::new();
        let mut config_file = None;
        for (variable, text) in environment {
            if variable == table::environment_name(CONFIG_FILE) {
                config_file = Some(text);
            } else if variable.starts_with(table::ENVIRONMENT_PREFIX) {
                let setting = find_by_variable(&variable)
                    .ok_or_else(|| ConfigError::UnknownVariable(variable.clone()))?;
                set(&mut from_environment, setting, text, Origin::Environment(variable))?;
            }
        }
        let mut from_flags = BTreeMap::new();
        for (name, text) in &flags.values {
            let setting = table::find(name).ok_or_else(|| ConfigError::UnknownFlag(name.clone()))?;
            set(&mut from_flags, setting, text.clone(), Origin::Flag(name.clone()))?;
        }
        let from_file = match flags.config_file.clone().or(config_file) {
            Some(path) => read_file(&path)?,
            None => BTreeMap::new(),
        };

        let mut values: BTreeMap<&'static str, (String, Origin)> =
            SETTINGS.iter().map(|s| (s.name, (s.default.to_owned(), Origin::Default))).collect();
        values.extend(from_file);
        values.extend(from_environment);
        values.extend(from_flags);
        Ok(Self { values, read: RefCell::default() })
    }

    /// The setting's text; empty where neither a source nor the table has one.
    pub fn text(&self, name: &'static str) -> &str {
        self.read.borrow_mut().insert(name);
        &self.values.get(name).expect("config asks only for settings of the table").0
    }

    /// The setting's value, as `parse` reads it.
    pub fn get<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let text = self.text(name);
        parse(text).map_err(|why| ConfigError::BadValue {
            name,
            origin: self.values[name].1.clone(),
            value: text.into(),
            expected: table::find(name).map_or("", |setting| setting.expected),
            why: why.into(),
        })
    }

    pub fn effective(&self) -> Vec<Effective> {
        let effective = |(name, (value, origin)): (&&'static str, &(String, Origin))| Effective {
            name,
            value: value.clone(),
            origin: origin.clone(),
        };
        self.values.iter().map(effective).collect()
    }

    /// A setting that nobody reads would be one that does nothing.
    pub fn assert_all_read(&self) {
        let read = self.read.borrow();
        let unread: Vec<_> = self.values.keys().filter(|name| !read.contains(*name)).collect();
        debug_assert!(unread.is_empty(), "settings without effect: {unread:?}");
    }
}

type Values = BTreeMap<&'static str, (String, Origin)>;

fn set(values: &mut Values, setting: &Setting, text: String, origin: Origin) -> Result<(), ConfigError> {
    if let Some((_, first)) = values.get(setting.name) {
        return Err(ConfigError::Twice { first: first.clone(), second: origin });
    }
    values.insert(setting.name, (text, origin));
    Ok(())
}

fn find_by_variable(variable: &str) -> Option<&'static Setting> {
    let named = |name: &str| table::environment_name(name) == variable;
    SETTINGS.iter().find(|s| named(s.name) || s.aliases.iter().any(|alias| named(alias)))
}

fn read_file(path: &str) -> Result<Values, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse_file(path, &text)
}

fn parse_file(path: &str, text: &str) -> Result<Values, ConfigError> {
    let mut values = Values::new();
    if super::is_blank_yaml(text) {
        return Ok(values);
    }
    let FileMap(pairs) = serde_saphyr::from_str(text)
        .map_err(|e| ConfigError::Yaml { path: path.to_owned(), message: e.to_string() })?;
    for (key, text) in pairs {
        let setting = table::find(&key)
            .ok_or_else(|| ConfigError::UnknownKey { key: key.clone(), path: path.to_owned() })?;
        set(&mut values, setting, text, Origin::File { key, path: path.to_owned() })?;
    }
    Ok(values)
}

/// The file's keys with their texts, as they are written; of the one list, as JSON.
struct FileMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for FileMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FileVisitor)
    }
}

struct FileVisitor;

impl<'de> Visitor<'de> for FileVisitor {
    type Value = FileMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FileMap, A::Error> {
        let mut pairs = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let text = if key == RETENTION {
                retention_rules::text_of(&map.next_value::<Vec<RawRule>>()?)
            } else {
                map.next_value::<String>()?
            };
            pairs.insert(key, text);
        }
        Ok(FileMap(pairs))
    }
}
