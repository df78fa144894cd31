//! Bundles and source maps on disk, by the SHA-256 of their content.
//!
//! A bundle is `bundles/<sha256>/bundle.js`, alone in its directory: the directory is what a compartment mounts.
//! Source maps are kept apart, since they show the author's sources and no sandbox needs them.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bulkhead_types::Entropy;
use sha2::{Digest, Sha256};

use crate::error::PlatformError;

/// Who may read, whatever the umask says.
#[derive(Clone, Copy)]
struct Who {
    dir: u32,
    file: u32,
}

/// Sandboxes run as users of their own, and have to read their bundle.
const ANYONE: Who = Who { dir: 0o755, file: 0o644 };

/// Nobody but the server.
const OWNER: Who = Who { dir: 0o700, file: 0o600 };

/// Where blobs are.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    data: PathBuf,
}

/// The name of a content.
pub(crate) fn digest(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

impl Blobs {
    pub(crate) fn open(data: &Path) -> Result<Self, PlatformError> {
        for (name, who) in [("bundles", ANYONE), ("maps", OWNER)] {
            let path = data.join(name);
            make_dir(&path, who).map_err(|source| PlatformError::Io { path, source })?;
        }
        Ok(Self { data: data.to_owned() })
    }

    /// The directory of a bundle, whether or not it is there.
    pub(crate) fn bundle(&self, digest: &str) -> PathBuf {
        self.data.join("bundles").join(digest)
    }

    /// A bundle's content, checked against its name. Blocks.
    pub(crate) fn read_bundle(&self, name: &str) -> Result<Vec<u8>, PlatformError> {
        let is_name = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
        let missing = || PlatformError::not_found("version_not_found", "there is no such bundle");
        if !is_name {
            return Err(missing());
        }
        let path = self.bundle(name).join("bundle.js");
        let content = match std::fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
            Err(source) => return Err(PlatformError::Io { path, source }),
        };
        if digest(&content) != name {
            let source = std::io::Error::other("its content is not what its name says");
            return Err(PlatformError::Io { path, source });
        }
        Ok(content)
    }

    /// Keeps a bundle; returns its name. Blocks.
    pub(crate) fn put_bundle(
        &self,
        content: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<String, PlatformError> {
        let name = digest(content);
        put(&self.bundle(&name), ("bundle.js", content), ANYONE, entropy)?;
        Ok(name)
    }

    /// Keeps a source map; returns its name. Blocks.
    pub(crate) fn put_map(
        &self,
        content: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<String, PlatformError> {
        let name = digest(content);
        put(&self.data.join("maps").join(&name), ("bundle.js.map", content), OWNER, entropy)?;
        Ok(name)
    }
}

/// Makes `dir` with one file in it, or leaves the one there is. The directory appears under its name only when
/// it is complete and on disk, so whoever finds it may use it.
fn put(
    dir: &Path,
    (file, content): (&str, &[u8]),
    who: Who,
    entropy: &dyn Entropy,
) -> Result<(), PlatformError> {
    if dir.exists() {
        return Ok(());
    }
    let mut random = [0; 8];
    entropy.fill(&mut random);
    let half_done = dir.with_extension(format!("{}.tmp", hex::encode(random)));
    let failed = |source| PlatformError::Io { path: half_done.clone(), source };
    make_dir(&half_done, who).map_err(failed)?;
    write(&half_done.join(file), content, who).map_err(failed)?;
    match std::fs::rename(&half_done, dir) {
        Ok(()) => Ok(()),
        // Somebody else put the same content there meanwhile.
        Err(_) if dir.exists() => std::fs::remove_dir_all(&half_done).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

fn write(path: &Path, content: &[u8], who: Who) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(content)?;
    file.set_permissions(std::fs::Permissions::from_mode(who.file))?;
    file.sync_all()
}

fn make_dir(path: &Path, who: Who) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(who.dir))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use bulkhead_types::SystemEntropy;

    use super::*;

    #[test]
    fn a_bundle_is_kept_once_and_readable_by_anyone() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let name = blobs.put_bundle(b"module.exports = 1", &SystemEntropy).unwrap();
        assert_eq!(blobs.put_bundle(b"module.exports = 1", &SystemEntropy).unwrap(), name);
        let place = blobs.bundle(&name);
        assert_eq!(std::fs::read(place.join("bundle.js")).unwrap(), b"module.exports = 1");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&place), mode(&place.join("bundle.js"))), (0o755, 0o644));
        assert_eq!(
            std::fs::read_dir(dir.path().join("bundles")).unwrap().count(),
            1,
            "nothing half-done is left"
        );
    }
}
