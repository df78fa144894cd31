//! The table of settings. A setting `worker.units` is `units` under `[worker]` in the file, `BULKHEAD_WORKER_UNITS`
//! in the environment and `--set worker.units=…` or its own flag on the command line.

/// How a setting is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One value.
    One,
    /// A list; in the environment and in `--set`, parts are told apart by `;`.
    List,
    /// One value that is never shown.
    Secret,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name, with dots.
    pub key: &'static str,
    /// How it is written.
    pub shape: Shape,
    /// What holds when nobody says anything; empty is "none", or worked out from the surroundings.
    pub default: &'static str,
    /// One line for people.
    pub what: &'static str,
}

const fn one(key: &'static str, default: &'static str, what: &'static str) -> Setting {
    Setting { key, shape: Shape::One, default, what }
}

/// Every setting, in the order in which they are shown.
pub const SETTINGS: &[Setting] = &[
    one("listen", "127.0.0.1:8686", "address and port of the HTTP API; port 0 takes a free one"),
    one(
        "public_url",
        "",
        "how callers reach the API, for status and webhook URLs; else http://LISTEN",
    ),
    one("data_dir", "bulkhead-data", "database, bundles and the admin key"),
    Setting {
        key: "database_url",
        shape: Shape::Secret,
        default: "",
        what: "postgres://USER:PASSWORD@HOST:PORT/DATABASE for several servers; else SQLite in data_dir",
    },
    Setting {
        key: "admin_key",
        shape: Shape::Secret,
        default: "",
        what: "the operator's key; else DATA_DIR/admin.key, made at the first start",
    },
    one(
        "runtime_dir",
        "",
        "the runtime image; else `runtime` beside the program, else target/runtime",
    ),
    one(
        "wall",
        "process",
        "how compartments of functions that ask for no wall are closed off: process, gvisor or microvm",
    ),
    one(
        "wall_floor",
        "process",
        "the least wall, whatever a function asks for; a tenant's own floor can only raise it",
    ),
    one(
        "isolation",
        "fork",
        "the least isolation between executions of a function: `fork`, or `compartment` for a fresh one each",
    ),
    one(
        "user",
        "auto",
        "whom a server started by root becomes: NAME, UID, UID:GID, `auto` (bulkhead, else 65534), or `off`",
    ),
    one(
        "worker.units",
        "",
        "CPU units for attempts to take, one each unless they ask for more; else 16 per core",
    ),
    one(
        "worker.memory_mib",
        "",
        "memory for attempts to take; else three quarters of the machine's",
    ),
    one(
        "worker.warm_memory_mib",
        "",
        "memory that idle compartments may keep, besides half of what attempts leave of theirs; of all that each tenant has its \
         share; else a sixth of the machine's",
    ),
    one("worker.idle", "5m", "an idle compartment goes after this long"),
    one("worker.compartments", "256", "compartments at the same time, idle ones included"),
    one(
        "worker.prewarm",
        "yes",
        "whether what was deployed, and what a schedule is about to run, is made warm before it is called",
    ),
    Setting {
        key: "secret_key",
        shape: Shape::Secret,
        default: "",
        what: "64 hexadecimal digits that credentials are sealed with, the same for all servers over one database; else DATA_DIR/secret.key",
    },
    Setting {
        key: "secret_key_old",
        shape: Shape::Secret,
        default: "",
        what: "the key before `secret_key`, which opens what it sealed until `bulkhead keys rotate` has come to its end",
    },
    one(
        "secret_key_file",
        "",
        "a file with `secret_key`, which nobody else may read; a second line is `secret_key_old`",
    ),
    one(
        "secret_key_command",
        "",
        "a shell command that prints `secret_key`, such as one that asks a key service; a second line is `secret_key_old`",
    ),
    one(
        "blobs",
        "",
        "where bundles and payloads over 64 KiB are: `s3://BUCKET/PREFIX` (the rest from AWS_* variables); else DATA_DIR",
    ),
    one(
        "worker.headroom_percent",
        "12",
        "CPU units kept for tenants that run nothing, so that nobody fills a worker alone",
    ),
    one(
        "worker.own",
        "yes",
        "whether `serve` runs executions itself; `no` leaves them to workers elsewhere",
    ),
    one("worker.name", "", "what a worker is called in lists; else the machine's name"),
    one(
        "worker.drain",
        "30s",
        "how long a stop waits for running attempts before it ends them, to be run again",
    ),
    Setting {
        key: "worker.token",
        shape: Shape::Secret,
        default: "",
        what: "worker: the token it joins with, from `bulkhead workers token`",
    },
    one("worker.token_file", "", "worker: a file with that token, which nobody else may read"),
    one(
        "worker.plaintext",
        "no",
        "worker: `yes` speaks to a server elsewhere without TLS, for a network that is closed otherwise",
    ),
    one("worker.parked", "4", "sandboxes forked ahead for each warm function"),
    one(
        "sqlite.synchronous",
        "full",
        "`full` survives a power cut; `normal` survives a crash of the process",
    ),
    one("limits.time", "10m", "ceiling of `limits.time_ms`: the cap of one attempt"),
    one("limits.memory_mib", "1024", "ceiling of `limits.memory_mib`"),
    one("limits.processes", "256", "ceiling of `limits.processes`"),
    one("limits.scratch_mib", "1024", "ceiling of `limits.scratch_mib`"),
    one("limits.scratch_inodes", "65536", "ceiling of `limits.scratch_inodes`"),
    one("limits.input_mib", "16", "ceiling of `limits.input_bytes`"),
    one("limits.output_mib", "7", "ceiling of `limits.output_bytes`; the protocol carries 8 MiB"),
    one("limits.log_mib", "64", "ceiling of `limits.log_bytes`"),
    one("limits.log_lines", "1000000", "ceiling of `limits.log_lines`"),
    one("limits.connections", "256", "ceiling of `limits.connections`"),
    one("limits.connections_per_minute", "6000", "ceiling of `limits.connections_per_minute`"),
    one("limits.lookups_per_minute", "6000", "ceiling of `limits.lookups_per_minute`"),
    one("limits.egress_mib", "102400", "ceiling of `limits.egress_mib`"),
    one("http.connections", "10000", "client connections open at the same time"),
    one("http.requests", "2000", "requests under way at the same time, waiting actions included"),
    Setting {
        key: "egress.allow",
        shape: Shape::List,
        default: "",
        what: "rules that open more than the public internet: `[name=N] [HOST…] [CIDR…] [:PORTS…]`",
    },
    Setting {
        key: "egress.deny",
        shape: Shape::List,
        default: "",
        what: "rules that close, looked at before `egress.allow`; same form",
    },
    one("log.level", "info", "the server's own log: error, warn, info, debug, trace"),
    one("log.format", "text", "`text` or `json`"),
    one("server", "http://127.0.0.1:8686", "commands: the server they talk to"),
    Setting { key: "key", shape: Shape::Secret, default: "", what: "commands: the tenant's key" },
    one("node", "", "deploy: the Node.js program; else the runtime's, else `node`"),
    one(
        "compiler",
        "",
        "deploy: compile.mjs; else the one beside the program, else runtime/node/compiler/compile.mjs",
    ),
];

/// The setting called `key`.
#[must_use]
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// The environment variable of `key`.
#[must_use]
pub fn env_name(key: &str) -> String {
    format!("BULKHEAD_{}", key.replace('.', "_").to_uppercase())
}
