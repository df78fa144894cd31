//! Contents in object storage: a directory of this machine, S3 or what speaks its protocol, or memory for tests.
//!
//! A content is `FOLDER/<sha256>`. It is written whole and never changed, so writing it twice is harmless, and a copy
//! that was damaged, or exchanged by somebody with access to the storage, is noticed by whoever reads it.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_types::Timestamp;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, PutPayload, RetryConfig};

use crate::{digest, is_digest};

/// For all tries of one request. Each has 30 s, and 5 s to connect: `object_store`'s own limits.
const TRIES_WAIT: Duration = Duration::from_secs(60);

/// Contents removed at the same time by a sweep.
const SWEEPS_AT_ONCE: usize = 16;

/// Where contents are kept, as the operator wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a directory of this machine.
    Disk(std::path::PathBuf),
    /// In a bucket, below a prefix. Region, keys and endpoint are those of the environment (`AWS_REGION`,
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`, …), as for every program that speaks S3.
    S3 {
        /// Which bucket.
        bucket: String,
        /// What all names begin with; may be empty.
        prefix: String,
    },
}

impl Place {
    /// From `s3://BUCKET/PREFIX`.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse_s3(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no place for blobs: write s3://BUCKET or s3://BUCKET/PREFIX");
        let rest = text.strip_prefix("s3://").ok_or_else(wrong)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let names =
            |text: &str| text.split('/').all(|part| !part.is_empty() && part.chars().all(safe));
        let prefix = prefix.trim_end_matches('/');
        if !names(bucket) || !(prefix.is_empty() || names(prefix)) || prefix.contains("..") {
            return Err(wrong());
        }
        Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

/// Why a content could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The storage failed.
    #[error("the blob storage failed")]
    Storage(#[from] object_store::Error),
    /// The content kept under a name is another.
    #[error("the content kept as {0} is another: it was changed")]
    Changed(String),
    /// The content is larger than it may be.
    #[error("the content kept as {name} has more than {bytes_max} bytes")]
    TooLarge {
        /// Which.
        name: String,
        /// The limit.
        bytes_max: usize,
    },
}

impl BlobError {
    /// Whether it may go well another time.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Storage(_))
    }
}

/// Contents in object storage. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: String,
}

impl Store {
    /// The contents at a place; nothing is asked of it yet.
    ///
    /// # Errors
    /// When the directory can't be used, or the environment does not say how to reach the bucket.
    pub fn open(place: &Place) -> Result<Self, BlobError> {
        match place {
            Place::Disk(directory) => Self::on_disk(directory),
            Place::S3 { bucket, prefix } => {
                let retry = RetryConfig { retry_timeout: TRIES_WAIT, ..RetryConfig::default() };
                let built = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_retry(retry)
                    .build()?;
                Ok(Self { inner: Arc::new(built), prefix: prefix.clone() })
            }
        }
    }

    fn on_disk(directory: &FilePath) -> Result<Self, BlobError> {
        let failed =
            |source| object_store::Error::Generic { store: "disk", source: Box::new(source) };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let inner = LocalFileSystem::new_with_prefix(directory)?.with_automatic_cleanup(true);
        Ok(Self { inner: Arc::new(inner), prefix: String::new() })
    }

    /// Contents in memory, for tests.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { inner: Arc::new(InMemory::new()), prefix: String::new() }
    }

    /// Keeps a content; returns its name.
    ///
    /// # Errors
    /// When the storage fails; then it may or may not have been kept.
    pub async fn put(&self, folder: &str, content: Bytes) -> Result<String, BlobError> {
        let name = digest(&content);
        self.inner.put(&self.path(folder, &name), PutPayload::from_bytes(content)).await?;
        Ok(name)
    }

    /// Reads a content of at most `bytes_max`; `None` when there is none of that name.
    ///
    /// # Errors
    /// When the storage fails, or what it has is larger, or not what its name says.
    pub async fn get(
        &self,
        folder: &str,
        name: &str,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, BlobError> {
        if !is_digest(name) {
            return Ok(None);
        }
        let found = match self.inner.get(&self.path(folder, name)).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let too_large = || BlobError::TooLarge { name: name.to_owned(), bytes_max };
        if found.meta.size > bytes_max as u64 {
            return Err(too_large());
        }
        let mut content = BytesMut::new();
        let mut pieces = found.into_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            // Counted, whatever was announced.
            if content.len() + piece.len() > bytes_max {
                return Err(too_large());
            }
            content.extend_from_slice(&piece);
        }
        if digest(&content) != name {
            return Err(BlobError::Changed(name.to_owned()));
        }
        Ok(Some(content.freeze()))
    }

    /// Removes the contents of a folder that were last written before `before`. Returns how many.
    ///
    /// # Errors
    /// When the storage fails; some may be removed by then, and the next sweep goes on.
    pub async fn sweep(&self, folder: &str, before: Timestamp) -> Result<usize, BlobError> {
        let old = |at: i64| at < before.as_millis();
        let listed = self.inner.list(Some(&self.folder(folder)));
        let gone = listed
            .try_filter(|found| {
                let is_old = old(found.last_modified.timestamp_millis());
                std::future::ready(is_old)
            })
            .map_ok(|found| async move { self.inner.delete(&found.location).await })
            .try_buffer_unordered(SWEEPS_AT_ONCE)
            .try_fold(0, |count, ()| std::future::ready(Ok(count + 1)));
        Ok(gone.await?)
    }

    fn folder(&self, folder: &str) -> Path {
        Path::from(format!("{}/{folder}", self.prefix))
    }

    fn path(&self, folder: &str, name: &str) -> Path {
        self.folder(folder).child(name)
    }
}
