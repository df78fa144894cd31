//! Contents on this machine's disk: `DIR/<sha256>/FILE`, alone in its directory, since the directory is what a
//! compartment mounts.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bulkhead_types::Entropy;

use crate::{digest, is_digest, not_its_name};

/// Who may read, whatever the umask says.
#[derive(Debug, Clone, Copy)]
pub struct Who {
    dir: u32,
    file: u32,
}

/// Sandboxes run as users of their own, and have to read their bundle.
pub const ANYONE: Who = Who { dir: 0o755, file: 0o644 };

/// Nobody but ourselves.
pub const OWNER: Who = Who { dir: 0o700, file: 0o600 };

/// A directory of contents.
#[derive(Debug, Clone)]
pub struct Shelf {
    dir: PathBuf,
    file: &'static str,
    who: Who,
}

impl Shelf {
    /// The shelf at `dir`, made where there is none. Each content is a file called `file`.
    ///
    /// # Errors
    /// When the directory can't be made.
    pub fn open(dir: PathBuf, file: &'static str, who: Who) -> io::Result<Self> {
        make_dir(&dir, who)?;
        Ok(Self { dir, file, who })
    }

    /// The directory of a content, whether or not it is there.
    #[must_use]
    pub fn place(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whether a content is there. If it is, it is complete.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        is_digest(name) && self.place(name).is_dir()
    }

    /// Reads a content; `None` when there is none of that name. Blocks.
    ///
    /// # Errors
    /// When the disk fails, or the content is not what its name says.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        if !is_digest(name) {
            return Ok(None);
        }
        match std::fs::read(self.place(name).join(self.file)) {
            Ok(content) if digest(&content) == name => Ok(Some(content)),
            Ok(_) => Err(not_its_name(name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps a content; returns its name. One that is there already is left as it is. The directory appears under its
    /// name only when it is complete and on disk, so whoever finds it may use it. Blocks.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn put(&self, content: &[u8], entropy: &dyn Entropy) -> io::Result<String> {
        let name = digest(content);
        let dir = self.place(&name);
        if dir.exists() {
            return Ok(name);
        }
        let mut random = [0; 8];
        entropy.fill(&mut random);
        let half_done = dir.with_extension(format!("{}.tmp", hex::encode(random)));
        make_dir(&half_done, self.who)?;
        write(&half_done.join(self.file), content, self.who)?;
        match std::fs::rename(&half_done, &dir) {
            Ok(()) => Ok(name),
            // Somebody else put the same content there meanwhile.
            Err(_) if dir.exists() => std::fs::remove_dir_all(&half_done).map(|()| name),
            Err(error) => Err(error),
        }
    }
}

fn write(path: &Path, content: &[u8], who: Who) -> io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(content)?;
    file.set_permissions(std::fs::Permissions::from_mode(who.file))?;
    file.sync_all()
}

fn make_dir(path: &Path, who: Who) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(who.dir))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use bulkhead_types::SystemEntropy;

    use super::*;

    fn shelf(dir: &Path) -> Shelf {
        Shelf::open(dir.join("bundles"), "bundle.js", ANYONE).unwrap()
    }

    #[test]
    fn a_content_is_kept_once_and_readable_by_anyone() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = shelf(dir.path());
        let name = shelf.put(b"module.exports = 1", &SystemEntropy).unwrap();
        assert_eq!(shelf.put(b"module.exports = 1", &SystemEntropy).unwrap(), name);
        let place = shelf.place(&name);
        assert!(shelf.has(&name));
        assert_eq!(shelf.read(&name).unwrap().unwrap(), b"module.exports = 1");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&place), mode(&place.join("bundle.js"))), (0o755, 0o644));
        let left = std::fs::read_dir(dir.path().join("bundles")).unwrap().count();
        assert_eq!(left, 1, "nothing half-done is left");
    }

    #[test]
    fn what_is_not_its_name_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = shelf(dir.path());
        let name = shelf.put(b"good", &SystemEntropy).unwrap();
        std::fs::write(shelf.place(&name).join("bundle.js"), b"evil").unwrap();
        assert!(shelf.read(&name).unwrap_err().to_string().contains("changed"));
        assert_eq!(shelf.read(&digest(b"other")).unwrap(), None);
        for no_name in ["../bundles", "", &"A".repeat(64)] {
            assert_eq!(shelf.read(no_name).unwrap(), None);
            assert!(!shelf.has(no_name));
        }
    }
}
