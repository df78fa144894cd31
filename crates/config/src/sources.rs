//! Gathers what was said about settings, and where. Later sources win: default, file, environment, flag.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::error::ConfigError;
use crate::settings::{self, SETTINGS, Setting, Shape};

/// The largest settings file, in bytes: hand-written, so anything near it is a mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a setting was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// In a file.
    File {
        /// Which.
        path: PathBuf,
        /// In which line, from 1.
        line: usize,
    },
    /// In an environment variable.
    Env(String),
    /// On the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawValue {
    /// One text.
    One(String),
    /// A list of texts.
    List(Vec<String>),
}

/// What the process finds around it. Gathered once, passed in from then on.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The environment, `BULKHEAD_*` only.
    pub env: BTreeMap<String, String>,
    /// The working directory.
    pub directory: PathBuf,
    /// The running program.
    pub program: PathBuf,
    /// Whether it runs as root.
    pub root: bool,
    /// The machine's cores.
    pub cores: u32,
    /// The machine's memory, in MiB; 0 is unknown.
    pub memory_mib: u64,
}

impl Surroundings {
    /// Those of this process; `root` is asked of the kernel by the caller.
    #[must_use]
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    pub fn of_process(root: bool) -> Self {
        let ours = std::env::vars().filter(|(name, _)| name.starts_with("BULKHEAD_"));
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            env: ours.collect(),
            directory: std::env::current_dir().unwrap_or_default(),
            program: std::env::current_exe().unwrap_or_default(),
            root,
            cores: u32::try_from(cores).unwrap_or(1),
            memory_mib: memory_mib(),
        }
    }
}

fn memory_mib() -> u64 {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = told.lines().find_map(|line| line.strip_prefix("MemTotal:")).and_then(|rest| {
        rest.split_whitespace().next().and_then(|number| number.parse::<u64>().ok())
    });
    kib.unwrap_or(0) / 1_024
}

/// Everything that was said, by setting.
#[derive(Debug, Clone, Default)]
pub struct Raw {
    said: BTreeMap<&'static str, (RawValue, Origin)>,
}

impl Raw {
    /// Gathers from all sources. The file is the one `flags` name as `config`, else `BULKHEAD_CONFIG`, else
    /// `bulkhead.toml` in the working directory if there is one.
    ///
    /// # Errors
    /// When a named file can't be read, a file is not TOML, or a setting is unknown.
    pub fn gather(
        around: &Surroundings,
        config: Option<&Path>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let mut raw = Self::default();
        if let Some((path, text)) = settings_file(around, config)? {
            raw.add_file(&path, &text)?;
        }
        raw.add_env(around)?;
        raw.add_flags(flags)?;
        Ok(raw)
    }

    /// What flags alone say: for a server of a demo or a test, which no file of the machine should change.
    ///
    /// # Errors
    /// When a setting is unknown.
    pub fn from_flags(flags: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut raw = Self::default();
        raw.add_flags(flags)?;
        Ok(raw)
    }

    /// What was said about `setting`, or its default.
    #[must_use]
    pub fn get(&self, setting: &Setting) -> (RawValue, Origin) {
        let default = || match setting.shape {
            Shape::List => RawValue::List(Vec::new()),
            Shape::One | Shape::Secret => RawValue::One(setting.default.to_owned()),
        };
        self.said.get(setting.key).cloned().unwrap_or_else(|| (default(), Origin::Default))
    }

    fn add_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let table = DeTable::parse(text).map_err(|error| ConfigError::NotToml {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        self.add_table(path, text, "", table.get_ref())
    }

    fn add_table(
        &mut self,
        path: &Path,
        text: &str,
        prefix: &str,
        table: &DeTable<'_>,
    ) -> Result<(), ConfigError> {
        for (name, value) in table {
            let line =
                1 + text.as_bytes()[..name.span().start].iter().filter(|b| **b == b'\n').count();
            let origin = Origin::File { path: path.to_owned(), line };
            let key = format!("{prefix}{}", name.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) => self.add_table(path, text, &format!("{key}."), inner)?,
                DeValue::Array(items) => {
                    let texts = items.iter().map(|item| plain(item.get_ref())).collect();
                    self.put(&key, RawValue::List(texts), origin)?;
                }
                one => self.put(&key, RawValue::One(plain(one)), origin)?,
            }
        }
        Ok(())
    }

    fn add_env(&mut self, around: &Surroundings) -> Result<(), ConfigError> {
        for (name, value) in &around.env {
            if name == "BULKHEAD_CONFIG" {
                continue;
            }
            let origin = Origin::Env(name.clone());
            let known = SETTINGS.iter().find(|setting| settings::env_name(setting.key) == *name);
            let key = known.map_or(name.as_str(), |setting| setting.key);
            self.put(key, RawValue::One(value.clone()), origin)?;
        }
        Ok(())
    }

    fn add_flags(&mut self, flags: &[(String, String)]) -> Result<(), ConfigError> {
        for (key, value) in flags {
            let origin = Origin::Flag(format!("--{}", key.replace(['.', '_'], "-")));
            self.put(key, RawValue::One(value.clone()), origin)?;
        }
        Ok(())
    }

    fn put(&mut self, key: &str, value: RawValue, origin: Origin) -> Result<(), ConfigError> {
        let Some(setting) = settings::find(key) else {
            let (key, hint) = (key.to_owned(), nearest(key));
            return Err(ConfigError::Unknown { key, origin, hint });
        };
        let value = match (setting.shape, value) {
            (Shape::List, RawValue::One(text)) => {
                let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
                RawValue::List(parts.map(str::to_owned).collect())
            }
            (Shape::One | Shape::Secret, RawValue::List(parts)) => {
                let (value, why) = (parts.join(", "), "it takes one value, not a list".to_owned());
                return Err(ConfigError::Invalid { key: setting.key, value, origin, why });
            }
            (_, value) => value,
        };
        self.said.insert(setting.key, (value, origin));
        Ok(())
    }
}

/// The text of a value as one would write it in the environment.
fn plain(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => "(nested)".to_owned(),
    }
}

fn settings_file(
    around: &Surroundings,
    flag: Option<&Path>,
) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let env = around.env.get("BULKHEAD_CONFIG").map(PathBuf::from);
    let (path, origin) = match (flag, env) {
        (Some(path), _) => (path.to_owned(), Origin::Flag("--config".to_owned())),
        (None, Some(path)) => (path, Origin::Env("BULKHEAD_CONFIG".to_owned())),
        (None, None) => (around.directory.join("bulkhead.toml"), Origin::Default),
    };
    match read_bounded(&path) {
        Ok(Some(text)) => Ok(Some((path, text))),
        Ok(None) => Err(ConfigError::TooLarge { path, max: FILE_BYTES_MAX }),
        Err(error) if origin == Origin::Default && error.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(source) => Err(ConfigError::Unreadable { path, origin, source }),
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Option<String>> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    Ok((text.len() as u64 <= FILE_BYTES_MAX).then_some(text))
}

/// `; did you mean …?` for a key that shares its beginning or its last part with a known one.
fn nearest(key: &str) -> String {
    let wanted = key.trim_start_matches("BULKHEAD_").to_lowercase();
    let shared = |known: &str| {
        let known = known.replace('.', "_");
        known.bytes().zip(wanted.replace('.', "_").bytes()).take_while(|(a, b)| a == b).count()
    };
    let best = SETTINGS.iter().max_by_key(|setting| shared(setting.key));
    match best {
        Some(setting) if shared(setting.key) >= 3 => format!("; did you mean `{}`?", setting.key),
        _ => "; `bulkhead config show` lists them".to_owned(),
    }
}
