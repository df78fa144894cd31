//! [`Platform`]: what it is made of, and how it is opened.

use std::path::PathBuf;
use std::sync::Arc;

use bulkhead_egress::{Gateway, Rule};
use bulkhead_store::Db;
use bulkhead_types::{Clock, Entropy, Version};
use serde_json::Value;

use crate::error::PlatformError;

/// What the binary decides.
#[derive(Debug, Clone)]
pub struct PlatformConfig {
    /// The data directory; bundles, blobs and the key file are below it.
    pub data: PathBuf,
    /// The operator's egress rules.
    pub egress: Vec<Rule>,
    /// What the server listens on: denied to functions whatever the rules say.
    pub listeners: Vec<std::net::SocketAddr>,
    /// This machine's addresses ([`bulkhead_egress::local_addresses`]).
    pub addresses: Vec<std::net::IpAddr>,
    /// Where callers reach the server, such as `https://bulkhead.example.com`; for webhook URLs.
    pub public_url: String,
}

/// What an attempt needs besides its lease; same shape as the worker's.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The build to run.
    pub version: Arc<Version>,
    /// A directory with the bundle in it as `bundle.js`.
    pub bundle: PathBuf,
    /// Values of the context's properties.
    pub context: Value,
}

/// The platform. Shared behind its `Arc`.
pub struct Platform {
    pub(crate) config: PlatformConfig,
    pub(crate) db: Db,
    pub(crate) gateway: Gateway,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl Platform {
    /// Opens it: makes the directories and the key file that are missing. (The engine joins as a parameter after
    /// `db` as soon as it is there.)
    ///
    /// # Errors
    /// When the data directory can't be used.
    pub async fn open(
        config: PlatformConfig,
        db: Db,
        gateway: Gateway,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Arc<Self>, PlatformError> {
        Ok(Arc::new(Self { config, db, gateway, clock, entropy }))
    }
}
