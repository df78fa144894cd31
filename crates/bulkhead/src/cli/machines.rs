//! What can be typed about servers and workers.

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address and port; port 0 takes a free one.
    #[arg(long)]
    pub(crate) listen: Option<String>,
    /// Database, bundles, admin key.
    #[arg(long)]
    pub(crate) data_dir: Option<String>,
    /// PostgreSQL that several servers share; SQLite in the data directory without it. Others can read a command
    /// line: give it in BULKHEAD_DATABASE_URL where it has a password.
    #[arg(long, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// Whom a server started by root becomes.
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// How callers reach the server.
    #[arg(long)]
    pub(crate) public_url: Option<String>,
    /// Where bundles and large payloads are, such as s3://bucket/prefix [default: the data directory].
    #[arg(long, value_name = "URL")]
    pub(crate) blobs: Option<String>,
    /// Run no executions here: leave them to workers elsewhere.
    #[arg(long)]
    pub(crate) no_worker: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// A file with the token that `bulkhead workers token` printed, which nobody else may read.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<String>,
    /// What it is called in lists [default: the machine's name].
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Bundles that it fetched.
    #[arg(long)]
    pub(crate) data_dir: Option<String>,
    /// Whom a worker started by root becomes.
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Speak to a server on another machine without TLS.
    #[arg(long)]
    pub(crate) plaintext: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Workers {
    /// List those that the server has heard of lately.
    List,
    /// Make a token for workers to join with. It is printed this once.
    Token {
        /// What it is for.
        #[arg(long, default_value = "")]
        label: String,
    },
    /// List tokens, without secrets.
    Tokens,
    /// Revoke a token: its workers are refused from then on.
    Revoke {
        /// Such as 12ab34cd.
        token: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Egress {
    /// Say what would happen if a function connected to a host now, and why. Exits with 1 when it would be denied.
    Explain {
        /// A name or an address, with `:PORT`, else 443. IPv6 with a port in brackets.
        target: String,
        /// Whose functions (admin key) [default: the key's tenant].
        #[arg(long)]
        tenant: Option<String>,
        /// Which function, for rules of its own: INTEGRATION/KIND/NAME.
        #[arg(long)]
        function: Option<String>,
    },
}
