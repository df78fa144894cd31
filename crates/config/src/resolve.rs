//! From what was said to what it means. Validation happens here, once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_types::{CPU_UNITS_PER_CORE, Isolation, Limits, WallKind, WallRule};
use ipnet::IpNet;

use crate::error::ConfigError;
use crate::settings;
use crate::sources::{Origin, Raw, RawValue, Surroundings};

/// Everything that can be set, understood.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the HTTP API listens.
    pub listen: SocketAddr,
    /// How callers reach it, without a slash at the end; `None` is `http://` and where it listens.
    pub public_url: Option<String>,
    /// Database, bundles, admin key.
    pub data_dir: PathBuf,
    /// The PostgreSQL database; `None` is SQLite in the data directory.
    pub database_url: Option<Secret>,
    /// The operator's key, when it was set and is not to be taken from the data directory.
    pub admin_key: Option<Secret>,
    /// The runtime image.
    pub runtime_dir: PathBuf,
    /// How compartments are closed off, and the least of it.
    pub walls: WallRule,
    /// The least isolation between executions of one function.
    pub isolation: Isolation,
    /// Whom the server becomes when root starts it.
    pub user: User,
    /// CPU units for attempts to take.
    pub worker_units: u32,
    /// What credentials are sealed with, in hex; `None` is a key file in the data directory.
    pub secret_key: Option<Secret>,
    /// The key before it.
    pub secret_key_old: Option<Secret>,
    /// A file with both, one a line.
    pub secret_key_file: Option<PathBuf>,
    /// A shell command that prints both, one a line.
    pub secret_key_command: Option<String>,
    /// Where bundles and large payloads are shared by several servers, `s3://…`; `None` is in the data directory.
    pub blobs: Option<String>,
    /// CPU units, in percent of all, that are kept for tenants that run nothing.
    pub worker_headroom_percent: u32,
    /// Whether a server runs executions itself.
    pub worker_own: bool,
    /// What a worker is called in lists; `None` is the machine's name.
    pub worker_name: Option<String>,
    /// How long a stop waits for running attempts before it ends them.
    pub worker_drain: Duration,
    /// What a worker joins a server with.
    pub worker_token: Option<Secret>,
    /// A file with that token.
    pub worker_token_file: Option<PathBuf>,
    /// Whether a worker may speak to a server elsewhere without TLS.
    pub worker_plaintext: bool,
    /// Memory, in MiB, for attempts to take.
    pub worker_memory_mib: u64,
    /// Sandboxes forked ahead for each warm function.
    pub worker_parked: u32,
    /// Memory that idle compartments may keep, in MiB.
    pub worker_warm_memory_mib: u64,
    /// An idle compartment goes after this long.
    pub worker_idle: Duration,
    /// Compartments at the same time.
    pub worker_compartments: u32,
    /// Whether what is live is made warm before it is called.
    pub worker_prewarm: bool,
    /// What a commit survives.
    pub synchronous: Synchronous,
    /// What a function may ask for at most. Its `time_ms` is the cap.
    pub ceilings: Limits,
    /// Client connections open at the same time.
    pub http_connections: u32,
    /// Requests under way at the same time.
    pub http_requests: u32,
    /// Egress rules of the operator, in the order in which they are looked at.
    pub egress: Vec<EgressRule>,
    /// The server's own log.
    pub log_level: String,
    /// Whether the server's own log is JSON.
    pub log_json: bool,
    /// What commands talk to.
    pub client: Client,
    /// Programs that `deploy` runs.
    pub tools: Tools,
}

/// What commands talk to.
#[derive(Debug, Clone)]
pub struct Client {
    /// The server's URL, without a slash at the end.
    pub server: String,
    /// The tenant's key.
    pub key: Option<Secret>,
    /// The operator's key, when it was set.
    pub admin_key: Option<Secret>,
}

/// Programs that `deploy` runs.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Node.js.
    pub node: PathBuf,
    /// The compiler's entry.
    pub compiler: PathBuf,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// Whom a server that root started becomes before it speaks to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// These.
    Ids {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// Nobody else, because it was not started by root.
    AsStarted,
    /// Nobody else, because the operator said so: the process that speaks HTTP keeps root.
    Off,
}

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// A crash of the process; a power cut may take the last moments.
    Normal,
    /// A power cut too.
    Full,
}

/// One egress rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressRule {
    /// What denials are logged with.
    pub name: String,
    /// Whether it opens or closes.
    pub allow: bool,
    /// Host names and patterns.
    pub hosts: Vec<String>,
    /// Networks of the address.
    pub networks: Vec<IpNet>,
    /// Ports and ranges.
    pub ports: Vec<String>,
    /// Where it was said.
    pub origin: Origin,
}

/// Takes settings one by one, so that an error can name key, value and origin.
struct Reader<'a> {
    raw: &'a Raw,
}

impl Reader<'_> {
    fn text(&self, key: &'static str) -> (String, Origin) {
        let setting = settings::find(key);
        debug_assert!(setting.is_some(), "{key} is not in the table");
        match setting.map(|setting| self.raw.get(setting)) {
            Some((RawValue::One(text), origin)) => (text, origin),
            _ => (String::new(), Origin::Default),
        }
    }

    fn list(&self, key: &'static str) -> (Vec<String>, Origin) {
        match settings::find(key).map(|setting| self.raw.get(setting)) {
            Some((RawValue::List(texts), origin)) => (texts, origin),
            _ => (Vec::new(), Origin::Default),
        }
    }

    fn get<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let (value, origin) = self.text(key);
        parse(&value).map_err(|why| ConfigError::Invalid { key, value, origin, why })
    }

    fn number(&self, key: &'static str, min: u64, max: u64) -> Result<u64, ConfigError> {
        self.get(key, |text| match text.parse() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err(format!("it must be a whole number from {min} to {max}")),
        })
    }

    fn small(&self, key: &'static str, min: u32, max: u32) -> Result<u32, ConfigError> {
        let number = self.number(key, min.into(), max.into())?;
        Ok(u32::try_from(number).unwrap_or(max))
    }

    /// Memory; `usual` where nothing is said.
    fn mib(&self, key: &'static str, min: u32, usual: u64) -> Result<u64, ConfigError> {
        match self.text(key).0.as_str() {
            "" => Ok(usual),
            _ => Ok(u64::from(self.small(key, min, 1 << 30)?)),
        }
    }

    fn secret(&self, key: &'static str, length_min: usize) -> Result<Option<Secret>, ConfigError> {
        let (value, origin) = self.text(key);
        if value.is_empty() {
            return Ok(None);
        }
        if value.len() < length_min || !value.bytes().all(|b| b.is_ascii_graphic()) {
            let why = format!("it must be at least {length_min} visible ASCII characters");
            return Err(ConfigError::Invalid { key, value: "(secret)".to_owned(), origin, why });
        }
        Ok(Some(Secret(value)))
    }
}

impl Config {
    /// Gives what was said its meaning.
    ///
    /// # Errors
    /// When a setting can't be understood; the error names it and where it was said.
    pub fn resolve(raw: &Raw, around: &Surroundings) -> Result<Self, ConfigError> {
        let read = Reader { raw };
        let all_mib = memory_of(around.memory_mib);
        let runtime_dir = runtime_dir(&read, around);
        let beside = |text: &str| (!text.is_empty()).then(|| around.directory.join(text));
        let file = |key| read.get(key, |text| Ok(beside(text)));
        Ok(Self {
            listen: read.get("listen", |text| {
                text.parse()
                    .map_err(|_| "it must be ADDRESS:PORT, such as 127.0.0.1:8686".to_owned())
            })?,
            public_url: read.get("public_url", |text| url(text).transpose())?,
            data_dir: read.get("data_dir", |text| path(text, around))?,
            database_url: database_url(&read)?,
            admin_key: read.secret("admin_key", 24)?,
            walls: WallRule {
                usual: read.get("wall", wall)?,
                floor: read.get("wall_floor", wall)?,
            },
            isolation: read.get("isolation", isolation)?,
            user: read.get("user", |text| user(text, around))?,
            worker_units: match read.text("worker.units").0.as_str() {
                "" => around.cores.max(1) * CPU_UNITS_PER_CORE,
                _ => read.small("worker.units", 1, 100_000)?,
            },
            secret_key: read.secret("secret_key", 64)?,
            secret_key_old: read.secret("secret_key_old", 64)?,
            secret_key_file: file("secret_key_file")?,
            secret_key_command: Some(read.text("secret_key_command").0)
                .filter(|command| !command.is_empty()),
            blobs: Some(read.text("blobs").0).filter(|place| !place.is_empty()),
            worker_headroom_percent: read.small("worker.headroom_percent", 0, 90)?,
            worker_own: read.get("worker.own", yes_or_no)?,
            worker_name: Some(read.text("worker.name").0).filter(|name| !name.is_empty()),
            worker_drain: read.get("worker.drain", drain)?,
            worker_token: read.secret("worker.token", 24)?,
            worker_token_file: file("worker.token_file")?,
            worker_plaintext: read.get("worker.plaintext", yes_or_no)?,
            worker_memory_mib: read.mib("worker.memory_mib", 64, all_mib / 4 * 3)?,
            worker_parked: read.small("worker.parked", 0, 1_000)?,
            worker_warm_memory_mib: read.mib("worker.warm_memory_mib", 0, all_mib / 6)?,
            worker_idle: read.get("worker.idle", drain)?,
            worker_compartments: read.small("worker.compartments", 1, 10_000)?,
            worker_prewarm: read.get("worker.prewarm", yes_or_no)?,
            synchronous: read.get("sqlite.synchronous", synchronous)?,
            ceilings: ceilings(&read)?,
            http_connections: read.small("http.connections", 1, 1_000_000)?,
            http_requests: read.small("http.requests", 1, 1_000_000)?,
            egress: [rules(&read, "egress.deny")?, rules(&read, "egress.allow")?].concat(),
            log_level: read.get("log.level", |text| match text {
                "error" | "warn" | "info" | "debug" | "trace" => Ok(text.to_owned()),
                _ => Err("it must be error, warn, info, debug or trace".to_owned()),
            })?,
            log_json: read.get("log.format", |text| match text {
                "text" => Ok(false),
                "json" => Ok(true),
                _ => Err("it must be text or json".to_owned()),
            })?,
            client: Client {
                server: read.get("server", |text| {
                    url(text).unwrap_or_else(|| Err("it must be a URL".to_owned()))
                })?,
                key: read.secret("key", 8)?,
                admin_key: read.secret("admin_key", 24)?,
            },
            tools: tools(&read, around, &runtime_dir),
            runtime_dir,
        })
    }
}

fn synchronous(text: &str) -> Result<Synchronous, String> {
    match text {
        "normal" => Ok(Synchronous::Normal),
        "full" => Ok(Synchronous::Full),
        _ => Err("it must be normal or full".to_owned()),
    }
}

fn isolation(text: &str) -> Result<Isolation, String> {
    match text {
        "fork" => Ok(Isolation::Fork),
        "compartment" => Ok(Isolation::Compartment),
        _ => Err("it must be fork or compartment".to_owned()),
    }
}

fn wall(text: &str) -> Result<WallKind, String> {
    WallKind::parse(text).ok_or_else(|| "it must be process, gvisor or microvm".to_owned())
}

fn drain(text: &str) -> Result<Duration, String> {
    let range = Duration::ZERO..=Duration::from_secs(24 * 3_600);
    humantime::parse_duration(text)
        .ok()
        .filter(|time| range.contains(time))
        .ok_or_else(|| "it must be a time from 0s to 24h, such as 30s".to_owned())
}

/// The machine's memory, in MiB. Attempts may take three quarters of it and idle compartments keep a sixth; the server,
/// its caches and the kernel have the rest.
const fn memory_of(machine_mib: u64) -> u64 {
    if machine_mib == 0 { MEMORY_MIB_UNKNOWN } else { machine_mib }
}

/// What a machine that does not tell is taken to have.
const MEMORY_MIB_UNKNOWN: u64 = 4_096;

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("it must be yes or no".to_owned()),
    }
}

fn path(text: &str, around: &Surroundings) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("it must be a path".to_owned());
    }
    Ok(around.directory.join(text))
}

/// `None` for an empty text.
fn url(text: &str) -> Option<Result<String, String>> {
    if text.is_empty() {
        return None;
    }
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    Some(match rest {
        Some(rest) if !rest.is_empty() && !rest.contains(['?', '#', ' ', '@']) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("it must begin with http:// or https:// and have no query".to_owned()),
    })
}

/// What stands in it is not shown: it has a password.
fn database_url(read: &Reader<'_>) -> Result<Option<Secret>, ConfigError> {
    let url = read.secret("database_url", 12)?;
    match &url {
        Some(Secret(text))
            if !text.starts_with("postgres://") && !text.starts_with("postgresql://") =>
        {
            let (_, origin) = read.text("database_url");
            let why = "it must begin with postgres://".to_owned();
            Err(ConfigError::Invalid {
                key: "database_url",
                value: "(secret)".to_owned(),
                origin,
                why,
            })
        }
        _ => Ok(url),
    }
}

fn runtime_dir(read: &Reader<'_>, around: &Surroundings) -> PathBuf {
    let (said, _) = read.text("runtime_dir");
    if !said.is_empty() {
        return around.directory.join(said);
    }
    // Beside the program where it is installed; one up where cargo built it.
    let directory = around.program.parent().map(Path::to_owned).unwrap_or_default();
    let beside = [directory.join("runtime"), directory.join("../runtime")];
    let found = beside.into_iter().find(|path| path.join("rootfs").is_dir());
    found.unwrap_or_else(|| around.directory.join("target/runtime"))
}

fn tools(read: &Reader<'_>, around: &Surroundings, runtime_dir: &Path) -> Tools {
    let said = |key| Some(read.text(key).0).filter(|said| !said.is_empty());
    let first = |candidates: Vec<PathBuf>| candidates.into_iter().find(|path| path.is_file());
    let beside = around.program.parent().map(Path::to_owned).unwrap_or_default();
    let node = said("node")
        .map(PathBuf::from)
        .or_else(|| first(vec![runtime_dir.join("rootfs/runtime/node")]));
    let compiler = said("compiler").map(|said| around.directory.join(said)).or_else(|| {
        first(vec![
            beside.join("compiler/compile.mjs"),
            around.directory.join("runtime/node/compiler/compile.mjs"),
            beside.join("../../runtime/node/compiler/compile.mjs"),
        ])
    });
    Tools {
        node: node.unwrap_or_else(|| PathBuf::from("node")),
        compiler: compiler
            .unwrap_or_else(|| around.directory.join("runtime/node/compiler/compile.mjs")),
    }
}

/// The overflow uid, "nobody" on Debian: whom we become when there is no user of ours.
const NOBODY: u32 = 65_534;

fn user(text: &str, around: &Surroundings) -> Result<User, String> {
    let nobody = User::Ids { uid: NOBODY, gid: NOBODY };
    match text {
        "off" if around.root => Ok(User::Off),
        _ if !around.root => Ok(User::AsStarted),
        "auto" => Ok(passwd("bulkhead").unwrap_or(nobody)),
        _ => {
            let (uid, gid) = text.split_once(':').unwrap_or((text, text));
            match (uid.parse(), gid.parse()) {
                (Ok(0), _) | (_, Ok(0)) => {
                    Err("it can't be root; say `off` to keep root".to_owned())
                }
                (Ok(uid), Ok(gid)) => Ok(User::Ids { uid, gid }),
                _ => passwd(text).ok_or_else(|| format!("there is no user {text} in /etc/passwd")),
            }
        }
    }
}

/// The ids of a user in /etc/passwd; never root's.
fn passwd(name: &str) -> Option<User> {
    let lines = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = lines.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut ids = line.split(':').skip(2).map(|id| id.parse::<u32>().ok().filter(|id| *id != 0));
    Some(User::Ids { uid: ids.next()??, gid: ids.next()?? })
}

fn ceilings(read: &Reader<'_>) -> Result<Limits, ConfigError> {
    let time = read.get("limits.time", |text| match humantime::parse_duration(text) {
        Ok(time) if (Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&time) => {
            Ok(time)
        }
        _ => Err("it must be a time from 1s to 24h, such as 10m".to_owned()),
    })?;
    let mib = |key, max| read.number(key, 1, max).map(|mib| mib << 20);
    Ok(Limits {
        time_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        soft_percent: Limits::default().soft_percent,
        cpu_ms: None,
        memory_mib: read.number("limits.memory_mib", 32, 1 << 20)?,
        processes: read.small("limits.processes", 1, 30_000)?,
        scratch_mib: read.number("limits.scratch_mib", 1, 1 << 20)?,
        scratch_inodes: read.number("limits.scratch_inodes", 16, 1 << 24)?,
        input_bytes: mib("limits.input_mib", 16)?,
        output_bytes: mib("limits.output_mib", 7)?,
        log_bytes: mib("limits.log_mib", 4096)?,
        log_lines: read.number("limits.log_lines", 1, 1 << 30)?,
        connections: read.small("limits.connections", 1, 65_535)?,
        connections_per_minute: read.small("limits.connections_per_minute", 1, 1 << 20)?,
        lookups_per_minute: read.small("limits.lookups_per_minute", 1, 1 << 20)?,
        egress_mib: read.number("limits.egress_mib", 1, 1 << 30)?,
        // Bounded by what a worker has.
        cpu_units: u32::MAX,
        memory_reserved_mib: u64::MAX,
    })
}

fn rules(read: &Reader<'_>, key: &'static str) -> Result<Vec<EgressRule>, ConfigError> {
    let (texts, origin) = read.list(key);
    let rule = |(place, text): (usize, &String)| {
        egress_rule(key, place, text, &origin).map_err(|why| {
            let (value, origin) = (text.clone(), origin.clone());
            ConfigError::Invalid { key, value, origin, why }
        })
    };
    texts.iter().enumerate().map(rule).collect()
}

/// `[name=N] [HOST…] [CIDR…] [:PORTS…]`, told apart by their form.
fn egress_rule(key: &str, place: usize, text: &str, origin: &Origin) -> Result<EgressRule, String> {
    let mut rule = EgressRule {
        name: format!("{key}[{place}]"),
        allow: key == "egress.allow",
        hosts: Vec::new(),
        networks: Vec::new(),
        ports: Vec::new(),
        origin: origin.clone(),
    };
    for part in text.split_whitespace() {
        if let Some(name) = part.strip_prefix("name=") {
            name.clone_into(&mut rule.name);
        } else if let Some(ports) = part.strip_prefix(':').filter(|rest| !rest.contains(':')) {
            rule.ports.push(ports.to_owned());
        } else if part.contains('/') {
            rule.networks.push(part.parse().map_err(|_| format!("{part} is no CIDR"))?);
        } else if let Ok(address) = part.parse::<std::net::IpAddr>() {
            rule.networks.push(address.into());
        } else {
            rule.hosts.push(part.to_owned());
        }
    }
    if rule.hosts.is_empty() && rule.networks.is_empty() && rule.ports.is_empty() {
        return Err("it must name a host, a CIDR or :PORTS".to_owned());
    }
    Ok(rule)
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
