//! What can be typed about external APIs.

use clap::Subcommand;

use super::{integration_and_name, rate_limit};

#[derive(Debug, Subcommand)]
pub(crate) enum Providers {
    /// List what the catalogue knows.
    List,
    /// Show one.
    Show {
        /// Such as github.
        provider: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Integrations {
    /// List them.
    List,
    /// Show one.
    Show {
        /// Which.
        integration: String,
    },
    /// Create or replace one.
    Put {
        /// Which.
        integration: String,
        /// Where its API is.
        #[arg(long)]
        base_url: Option<String>,
        /// The kind of API.
        #[arg(long)]
        provider: Option<String>,
        /// JSON, such as {"mode": "bearer"}; over what is known about the provider. @FILE keeps secrets out of the
        /// process list.
        #[arg(long)]
        auth: Option<String>,
        /// JSON, such as {"secret": "…"}; @FILE keeps the secret out of the process list.
        #[arg(long)]
        webhook: Option<String>,
        /// REQUESTS/SECONDS, such as 100/60: no more of one connection within that time.
        #[arg(long, value_parser = rate_limit)]
        rate_limit: Option<(u32, u32)>,
    },
    /// Remove one with its connections.
    Delete {
        /// Which.
        integration: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Connections {
    /// List them.
    List {
        /// Of one integration.
        #[arg(long)]
        integration: Option<String>,
    },
    /// Show one, without credentials.
    Show {
        /// INTEGRATION/CONNECTION.
        #[arg(value_parser = integration_and_name)]
        connection: (String, String),
    },
    /// Create or replace one.
    Put {
        /// INTEGRATION/CONNECTION.
        #[arg(value_parser = integration_and_name)]
        connection: (String, String),
        /// JSON or @FILE, such as {"token": "…"}.
        #[arg(long)]
        credentials: Option<String>,
        /// JSON or @FILE.
        #[arg(long)]
        metadata: Option<String>,
        /// JSON or @FILE with the variables of the integration's URLs, such as {"subdomain": "acme"}.
        #[arg(long)]
        config: Option<String>,
    },
    /// Print a link on which an end user connects.
    Connect {
        /// INTEGRATION/CONNECTION.
        #[arg(value_parser = integration_and_name)]
        connection: (String, String),
        /// JSON or @FILE with the variables of the integration's URLs, such as {"subdomain": "acme"}.
        #[arg(long)]
        config: Option<String>,
        /// Where the user goes in the end.
        #[arg(long)]
        redirect_url: Option<String>,
    },
    /// Print or merge metadata.
    Metadata {
        /// INTEGRATION/CONNECTION.
        #[arg(value_parser = integration_and_name)]
        connection: (String, String),
        /// JSON or @FILE to merge.
        #[arg(long)]
        merge: Option<String>,
    },
    /// Remove one.
    Delete {
        /// INTEGRATION/CONNECTION.
        #[arg(value_parser = integration_and_name)]
        connection: (String, String),
    },
}
