//! Bundles and source maps, by the SHA-256 of their content.
//!
//! A bundle's directory is what a compartment mounts. Source maps are kept apart, since they show the author's sources
//! and no sandbox needs them. Where several machines share a blob storage, that is where both are, and this machine's
//! disk has copies of the bundles that were run here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulkhead_blobs::{ANYONE, OWNER, Shelf, Store};
use bulkhead_store::StoreError;
use bulkhead_types::Entropy;
use bytes::Bytes;

use crate::error::PlatformError;

pub(crate) use bulkhead_blobs::digest;

/// Bytes of one bundle.
pub(crate) const BUNDLE_BYTES_MAX: usize = 32 << 20;

/// Folders of the shared storage.
const BUNDLES: &str = "bundles";
const MAPS: &str = "maps";

/// Where blobs are.
#[derive(Clone)]
pub(crate) struct Blobs {
    data: PathBuf,
    bundles: Shelf,
    maps: Shelf,
    shared: Option<Store>,
    entropy: Arc<dyn Entropy>,
}

impl Blobs {
    pub(crate) fn open(
        data: &Path,
        shared: Option<Store>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, PlatformError> {
        let open = |name: &str, file, who| {
            let path = data.join(name);
            Shelf::open(path.clone(), file, who)
                .map_err(|source| PlatformError::Io { path, source })
        };
        Ok(Self {
            data: data.to_owned(),
            bundles: open(BUNDLES, "bundle.js", ANYONE)?,
            maps: open(MAPS, "bundle.js.map", OWNER)?,
            shared,
            entropy,
        })
    }

    /// The directory of a bundle. Fetched where it is not here yet; one that is nowhere has a directory that is not
    /// there, which its compartment's build will say.
    pub(crate) async fn bundle(&self, name: &str) -> Result<PathBuf, PlatformError> {
        if self.shared.is_some() && !self.bundles.has(name) {
            let content = self.bundle_content(name).await?;
            self.keep(self.bundles.clone(), content).await?;
        }
        Ok(self.bundles.place(name))
    }

    /// A bundle's content, checked against its name.
    pub(crate) async fn bundle_content(&self, name: &str) -> Result<Bytes, PlatformError> {
        let (shelf, named) = (self.bundles.clone(), name.to_owned());
        let read = tokio::task::spawn_blocking(move || shelf.read(&named)).await;
        let read = read.map_err(|_| StoreError::Panicked)?.map_err(|source| self.failed(source))?;
        if let Some(content) = read {
            return Ok(content.into());
        }
        let found = match &self.shared {
            Some(shared) => shared.get(BUNDLES, name, BUNDLE_BYTES_MAX).await?,
            None => None,
        };
        let missing = || PlatformError::not_found("version_not_found", "there is no such bundle");
        found.ok_or_else(missing)
    }

    /// Keeps a bundle; returns its name.
    pub(crate) async fn put_bundle(&self, content: Bytes) -> Result<String, PlatformError> {
        if let Some(shared) = &self.shared {
            shared.put(BUNDLES, content.clone()).await?;
        }
        self.keep(self.bundles.clone(), content).await
    }

    /// Keeps a source map; returns its name.
    pub(crate) async fn put_map(&self, content: Bytes) -> Result<String, PlatformError> {
        match &self.shared {
            Some(shared) => Ok(shared.put(MAPS, content).await?),
            None => self.keep(self.maps.clone(), content).await,
        }
    }

    async fn keep(&self, shelf: Shelf, content: Bytes) -> Result<String, PlatformError> {
        let entropy = Arc::clone(&self.entropy);
        let kept = tokio::task::spawn_blocking(move || shelf.put(&content, entropy.as_ref())).await;
        kept.map_err(|_| StoreError::Panicked)?.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> PlatformError {
        PlatformError::Io { path: self.data.clone(), source }
    }
}
