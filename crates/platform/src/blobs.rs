//! Bundles and source maps, by the SHA-256 of their content.
//!
//! A bundle's directory is what a compartment mounts. Source maps are kept apart, since they show the author's sources
//! and no sandbox needs them.

use std::path::{Path, PathBuf};

use bulkhead_blobs::{ANYONE, OWNER, Shelf};
use bulkhead_types::Entropy;

use crate::error::PlatformError;

pub(crate) use bulkhead_blobs::digest;

/// Where blobs are.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    data: PathBuf,
    bundles: Shelf,
    maps: Shelf,
}

impl Blobs {
    pub(crate) fn open(data: &Path) -> Result<Self, PlatformError> {
        let open = |name: &str, file, who| {
            let path = data.join(name);
            Shelf::open(path.clone(), file, who)
                .map_err(|source| PlatformError::Io { path, source })
        };
        Ok(Self {
            data: data.to_owned(),
            bundles: open("bundles", "bundle.js", ANYONE)?,
            maps: open("maps", "bundle.js.map", OWNER)?,
        })
    }

    /// The directory of a bundle, whether or not it is there.
    pub(crate) fn bundle(&self, name: &str) -> PathBuf {
        self.bundles.place(name)
    }

    /// A bundle's content, checked against its name. Blocks.
    pub(crate) fn read_bundle(&self, name: &str) -> Result<Vec<u8>, PlatformError> {
        let missing = || PlatformError::not_found("version_not_found", "there is no such bundle");
        self.bundles.read(name).map_err(|source| self.failed(source))?.ok_or_else(missing)
    }

    /// Keeps a bundle; returns its name. Blocks.
    pub(crate) fn put_bundle(
        &self,
        content: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<String, PlatformError> {
        self.bundles.put(content, entropy).map_err(|source| self.failed(source))
    }

    /// Keeps a source map; returns its name. Blocks.
    pub(crate) fn put_map(
        &self,
        content: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<String, PlatformError> {
        self.maps.put(content, entropy).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> PlatformError {
        PlatformError::Io { path: self.data.clone(), source }
    }
}
