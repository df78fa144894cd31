//! [`Platform`]: what it is made of, and how it is opened.

use std::path::PathBuf;
use std::sync::Arc;

use bulkhead_egress::{Gateway, Rule};
use bulkhead_engine::Engine;
use bulkhead_store::Db;
use bulkhead_types::{Clock, Entropy, FunctionKey, Timestamp, Version, WallKind, WallRule};
use serde_json::Value;
use tokio::sync::broadcast;

use crate::blobs::Blobs;
use crate::caches::Caches;
use crate::children::Children;
use crate::error::PlatformError;
use crate::follow::Followers;
use crate::proxy::Paces;
use crate::seal::{Sealer, SecretKey};

/// What the binary decides.
#[derive(Debug, Clone, Default)]
pub struct PlatformConfig {
    /// The data directory; bundles, source maps and the key file are below it.
    pub data: PathBuf,
    /// The operator's egress rules.
    pub egress: Vec<Rule>,
    /// What the server listens on: denied to functions whatever the rules say.
    pub listeners: Vec<std::net::SocketAddr>,
    /// This machine's addresses ([`bulkhead_egress::local_addresses`]).
    pub addresses: Vec<std::net::IpAddr>,
    /// What secrets are sealed with: the first seals, the others open what they sealed before. None is a key file in
    /// the data directory, made at the first start.
    pub secret_keys: Vec<SecretKey>,
    /// Where bundles and source maps are besides this machine's disk, when other machines share them.
    pub blobs: Option<bulkhead_blobs::Store>,
    /// Which walls the operator wants.
    pub walls: WallRule,
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
    /// The wall that it runs behind.
    pub wall: WallKind,
}

/// The platform. Shared behind its `Arc`.
pub struct Platform {
    pub(crate) config: PlatformConfig,
    pub(crate) db: Db,
    pub(crate) engine: Engine,
    pub(crate) gateway: Gateway,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) blobs: Blobs,
    pub(crate) caches: Caches,
    pub(crate) children: Children,
    pub(crate) followers: Followers,
    pub(crate) paces: Paces,
    /// Told of what becomes live. Who is too slow to hear it misses it.
    pub(crate) deployed: broadcast::Sender<Arc<Deployed>>,
}

/// What a deployment made live: functions that are new or have another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// Which, in the order of their names.
    pub functions: Vec<FunctionKey>,
}

/// Deployments that are remembered for who listens to them.
const DEPLOYED_KEPT: usize = 64;

impl Platform {
    /// Opens it: makes the directories and the key file that are missing, and brings schedules in line with what
    /// is live, should a server have died in between.
    ///
    /// # Errors
    /// When the data directory can't be used.
    pub async fn open(
        config: PlatformConfig,
        db: Db,
        engine: Engine,
        gateway: Gateway,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Arc<Self>, PlatformError> {
        let sealer = match &config.secret_keys[..] {
            keys @ [_, ..] => Sealer::new(keys)?,
            [] => Sealer::open(&config.data.join("secret.key"), entropy.as_ref())?,
        };
        let blobs = Blobs::open(&config.data, config.blobs.clone(), Arc::clone(&entropy))?;
        let platform = Self {
            config,
            db,
            engine,
            gateway,
            clock,
            entropy,
            sealer: Arc::new(sealer),
            blobs,
            caches: Caches::default(),
            children: Children::default(),
            followers: Followers::default(),
            paces: Paces::default(),
            deployed: broadcast::Sender::new(DEPLOYED_KEPT),
        };
        for tenant in platform.tenants().await? {
            platform.align_limits(&tenant.id).await?;
            platform.align_schedules(&tenant.id).await?;
        }
        Ok(Arc::new(platform))
    }

    /// Hears of deployments of this server from now on.
    #[must_use]
    pub fn deployed(&self) -> broadcast::Receiver<Arc<Deployed>> {
        self.deployed.subscribe()
    }

    /// The generation of what is kept in memory of the catalog.
    pub(crate) fn generation(&self) -> u64 {
        self.caches.generation(self.engine.catalog_generation())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn random_hex(&self, bytes: usize) -> String {
        let mut random = vec![0; bytes];
        self.entropy.fill(&mut random);
        hex::encode(random)
    }
}

impl std::fmt::Debug for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Platform").field("data", &self.config.data).finish_non_exhaustive()
    }
}
