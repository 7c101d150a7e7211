//! Settings: one table, every one documented where it is defined. Built-in defaults, overridden by a file, by the environment, by flags.
//!
//! `FAULTLINE__HTTP__LISTEN=127.0.0.1:8470` sets `http.listen`; `FAULTLINE__HTTP__TOKEN__FILE=/run/secrets/token` reads the value from a
//! file, without its last line break. Every error names the key, where the value came from, the value, and what was expected; all errors
//! are told at once.

mod serving;
mod table;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat, Value, ValueKind};

pub use serving::serving;
pub use table::{SETTINGS, is_secret};
pub use value::{Kafka, Secret, Settings};

/// Before the name of an environment variable that sets something.
const PREFIX: &str = "FAULTLINE__";
/// After the name of an environment variable that names a file with the value.
const IN_FILE: &str = "__FILE";

/// Where a value came from, for `config show --origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    Environment(String),
    Flag,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("{origin}: {key} is {value:?}; expected {expected}")]
    Value { key: String, value: String, expected: &'static str, origin: String },
    #[error("{origin}: there is no setting {key}{}", nearest.as_ref().map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    Unknown { key: String, nearest: Option<String>, origin: String },
    #[error("{path}: {reason}")]
    File { path: String, reason: String },
    /// What `faultline up` cannot listen with.
    #[error("{origin}: {key} {reason}")]
    Serving { key: &'static str, reason: String, origin: String },
}

/// All that is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be used:\n{}", problems.iter().map(|one| format!("  - {one}")).collect::<Vec<_>>().join("\n"))]
pub struct SettingsError {
    pub problems: Vec<Problem>,
}

/// Every setting's text with where it came from.
pub type Layers = BTreeMap<String, (String, Origin)>;

/// What a load begins with.
#[derive(Debug, Default)]
pub struct Sources {
    /// The file that `--config` names; it must exist.
    pub file: Option<PathBuf>,
    /// Settings that flags give, by key.
    pub flags: Vec<(&'static str, String)>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
}

impl Sources {
    /// The process's own environment.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(&'static str, String)>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self { file, flags, environment: std::env::vars_os().filter_map(text).collect() }
    }

    fn folder(&self, variable: &str, below_home: &str) -> PathBuf {
        let named = self.environment.get(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
        let home = || PathBuf::from(self.environment.get("HOME").map_or(".", String::as_str)).join(below_home);
        named.unwrap_or_else(home).join("faultline")
    }

    /// The settings' texts, or everything that is wrong with them.
    pub fn load(&self) -> Result<Layers, SettingsError> {
        let mut problems = Vec::new();
        let mut layers = Layers::new();
        for setting in SETTINGS.iter().filter(|setting| !setting.key.ends_with('*')) {
            layers.insert(setting.key.to_owned(), (setting.default.to_owned(), Origin::Default));
        }
        layers.insert("data.folder".to_owned(), (self.folder("XDG_DATA_HOME", ".local/share").display().to_string(), Origin::Default));
        self.read_file(&mut layers, &mut problems);
        self.read_environment(&mut layers, &mut problems);
        for (key, value) in &self.flags {
            layers.insert((*key).to_owned(), (value.clone(), Origin::Flag));
        }
        for setting in SETTINGS {
            let Some((value, origin)) = layers.get(setting.key) else { continue };
            if !(setting.accepts)(value) {
                let value = if setting.is_secret { "(not shown)".to_owned() } else { value.clone() };
                let key = setting.key.to_owned();
                problems.push(Problem::Value { key, value, expected: setting.expected, origin: origin.to_string() });
            }
        }
        if problems.is_empty() { Ok(layers) } else { Err(SettingsError { problems }) }
    }

    fn read_file(&self, layers: &mut Layers, problems: &mut Vec<Problem>) {
        let usual = self.folder("XDG_CONFIG_HOME", ".config").join("faultline.yaml");
        let path = match &self.file {
            Some(path) => path.clone(),
            None if usual.exists() => usual,
            None => return,
        };
        let origin = Origin::File(path.clone());
        match flat(&path) {
            Ok(values) => {
                for (key, value) in values {
                    set(layers, problems, &key, value, &origin);
                }
            }
            Err(reason) => problems.push(Problem::File { path: path.display().to_string(), reason }),
        }
    }

    fn read_environment(&self, layers: &mut Layers, problems: &mut Vec<Problem>) {
        for (name, value) in self.environment.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            let origin = Origin::Environment(name.clone());
            let bare = name.strip_suffix(IN_FILE).unwrap_or(name);
            let key = bare[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
            if bare.len() == name.len() {
                set(layers, problems, &key, value.clone(), &origin);
                continue;
            }
            match std::fs::read_to_string(value) {
                Ok(text) => set(layers, problems, &key, text.trim_end_matches(['\r', '\n']).to_owned(), &origin),
                Err(error) => problems.push(Problem::File { path: value.clone(), reason: format!("{error} (named by {name})") }),
            }
        }
    }
}

fn set(layers: &mut Layers, problems: &mut Vec<Problem>, key: &str, value: String, origin: &Origin) {
    match table::named(key) {
        Some(_) => {
            layers.insert(key.to_owned(), (value, origin.clone()));
        }
        None => problems.push(Problem::Unknown { key: key.to_owned(), nearest: nearest(key), origin: origin.to_string() }),
    }
}

/// The leaves of a YAML file, by dotted key.
fn flat(path: &Path) -> Result<Vec<(String, String)>, String> {
    let file = File::new(&path.display().to_string(), FileFormat::Yaml).required(true);
    let read = Config::builder().add_source(file).build().map_err(|error| error.to_string())?;
    let mut leaves = Vec::new();
    let root = read.cache.kind;
    walk("", root, &mut leaves)?;
    leaves.sort();
    Ok(leaves)
}

fn walk(key: &str, kind: ValueKind, leaves: &mut Vec<(String, String)>) -> Result<(), String> {
    match kind {
        ValueKind::Table(members) => {
            for (name, Value { kind, .. }) in members {
                let below = if key.is_empty() { name } else { format!("{key}.{name}") };
                walk(&below, kind, leaves)?;
            }
            Ok(())
        }
        ValueKind::Array(_) => Err(format!("{key} is a list; no setting is one")),
        ValueKind::Nil => Ok(()),
        leaf => {
            leaves.push((key.to_owned(), leaf.to_string()));
            Ok(())
        }
    }
}

/// The known key that differs least, if it is near at all.
fn nearest(key: &str) -> Option<String> {
    let best = SETTINGS.iter().map(|setting| (distance(key, setting.key), setting.key)).min()?;
    (best.0 <= 1 + key.len() / 3).then(|| best.1.to_owned())
}

/// Levenshtein's.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, b) in other.iter().enumerate() {
            let least = (row[column] + 1).min(row[column + 1] + 1).min(diagonal + usize::from(a != *b));
            diagonal = row[column + 1];
            row[column + 1] = least;
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(file: Option<PathBuf>, environment: &[(&str, &str)]) -> Sources {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sources { file, flags: Vec::new(), environment }
    }

    #[test]
    fn later_layers_win_and_say_where_they_stand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.yaml");
        std::fs::write(&path, "http:\n  listen: 127.0.0.1:1\nstream:\n  workers: 3\n").unwrap();
        let mut from = sources(Some(path.clone()), &[("FAULTLINE__STREAM__WORKERS", "5")]);
        from.flags.push(("log.level", "debug".into()));
        let layers = from.load().unwrap();
        assert_eq!(layers["http.listen"], ("127.0.0.1:1".into(), Origin::File(path)));
        assert_eq!(layers["stream.workers"].0, "5");
        assert_eq!(layers["log.level"], ("debug".into(), Origin::Flag));
        assert_eq!(layers["stream.partitions"].1, Origin::Default);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let from = sources(
            None,
            &[("FAULTLINE__STREAM__WORKER", "5"), ("FAULTLINE__HTTP__LISTEN", "everywhere"), ("FAULTLINE__MEMORY__BUDGET", "lots")],
        );
        let text = from.load().unwrap_err().to_string();
        for part in ["did you mean stream.workers?", "http.listen is \"everywhere\"", "memory.budget is \"lots\"; expected a size"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_secret_is_read_from_a_file_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "short\n").unwrap();
        let name = path.display().to_string();
        let error = sources(None, &[("FAULTLINE__HTTP__TOKEN__FILE", &name)]).load().unwrap_err().to_string();
        assert!(error.contains("http.token") && !error.contains("short"), "{error}");
        std::fs::write(&path, format!("{}\n", "t".repeat(32))).unwrap();
        assert_eq!(sources(None, &[("FAULTLINE__HTTP__TOKEN__FILE", &name)]).load().unwrap()["http.token"].0, "t".repeat(32));
    }
}
