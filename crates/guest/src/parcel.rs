//! What a virtual machine is handed at its start: how to build the place in which the guest runs, and the files of the
//! bundles. One message, written by the wall outside and read once by [`crate::machine`] inside.
//!
//! ```text
//! u64 (little endian): length of the head │ head: JSON │ contents of the files, one after the other
//! ```

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::GuestConfig;

/// The most bytes of a head.
const HEAD_BYTES_MAX: u64 = 4 << 20;

/// The most bytes of all files.
pub const FILES_BYTES_MAX: u64 = 128 << 20;

/// The most files.
pub const FILES_MAX: usize = 4_096;

/// How to build the place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The guest's configuration; the machine fills in the slots' cgroups.
    pub guest: GuestConfig,
    /// Zygotes at the same time whose bundles come over the stream; 0 if the bundle is among the files.
    pub zygotes: u32,
    /// Memory of each slot, MiB.
    pub memory_mib: u64,
    /// Processes and threads of each slot.
    pub tasks: u64,
    /// Scratch space of each slot, MiB.
    pub scratch_mib: u64,
    /// Files and directories of each slot's scratch.
    pub scratch_inodes: u64,
    /// In the order of their contents.
    pub files: Vec<File>,
}

/// A read-only file inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Absolute, below `/bundle`.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

impl Head {
    /// Bytes of all files.
    ///
    /// # Errors
    /// When they are more, or larger, than may be.
    pub fn file_bytes(&self) -> io::Result<u64> {
        let sum = self.files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.bytes));
        match sum {
            Some(sum) if sum <= FILES_BYTES_MAX && self.files.len() <= FILES_MAX => Ok(sum),
            _ => Err(io::Error::other(format!(
                "bundles of more than {FILES_MAX} files or {} MiB",
                FILES_BYTES_MAX >> 20
            ))),
        }
    }
}

/// Writes the head; the contents follow.
///
/// # Errors
/// When it is too long, or can't be written.
pub fn write_head(head: &Head, mut to: impl Write) -> io::Result<()> {
    head.file_bytes()?;
    let text = serde_json::to_vec(head)?;
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    if length > HEAD_BYTES_MAX {
        return Err(io::Error::other(format!("a parcel's head of {length} bytes")));
    }
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&text)
}

/// Reads the head; the contents follow.
///
/// # Errors
/// When it is too long, or not a head, or can't be read.
pub fn read_head(mut from: impl Read) -> io::Result<Head> {
    let mut length = [0_u8; 8];
    from.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > HEAD_BYTES_MAX {
        return Err(io::Error::other(format!("a parcel's head of {length} bytes")));
    }
    let mut text = Vec::new();
    from.take(length).read_to_end(&mut text)?;
    let head: Head = serde_json::from_slice(&text)?;
    head.file_bytes()?;
    Ok(head)
}

/// Writes the next file's content to `target`, which did not exist.
///
/// # Errors
/// When it can't be written, or the parcel ends too early.
pub fn unpack(file: &File, from: impl Read, target: &Path) -> io::Result<()> {
    let mut here = std::fs::OpenOptions::new().write(true).create_new(true).open(target)?;
    let copied = io::copy(&mut from.take(file.bytes), &mut here)?;
    if copied < file.bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn head(files: Vec<File>) -> Head {
        let guest = GuestConfig {
            slots: Vec::new(),
            zygote_uid: 500,
            zygotes: Vec::new(),
            execute: Vec::new(),
            read: Vec::new(),
            devices: Vec::new(),
            lacks: Vec::new(),
        };
        Head {
            guest,
            zygotes: 0,
            memory_mib: 1,
            tasks: 1,
            scratch_mib: 1,
            scratch_inodes: 1,
            files,
        }
    }

    fn file(bytes: u64) -> File {
        File { path: "/bundle/it/x".into(), bytes }
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let head = head(vec![file(3), file(2)]);
        let mut packed = Vec::new();
        write_head(&head, &mut packed).unwrap();
        packed.extend_from_slice(b"abcde");
        let mut from = packed.as_slice();
        assert_eq!(read_head(&mut from).unwrap(), head);
        let place = tempfile::tempdir().unwrap();
        for (name, content) in [("one", "abc"), ("two", "de")] {
            let bytes = content.len() as u64;
            unpack(&file(bytes), &mut from, &place.path().join(name)).unwrap();
            assert_eq!(std::fs::read_to_string(place.path().join(name)).unwrap(), content);
        }
    }

    #[test]
    fn what_is_too_long_or_too_short_is_refused() {
        assert!(write_head(&head(vec![file(FILES_BYTES_MAX), file(1)]), Vec::new()).is_err());
        assert!(write_head(&head(vec![file(u64::MAX), file(2)]), Vec::new()).is_err());
        assert!(write_head(&head(vec![file(0); FILES_MAX + 1]), Vec::new()).is_err());
        assert!(read_head(&u64::MAX.to_le_bytes()[..]).is_err());
        let place = tempfile::tempdir().unwrap();
        assert!(unpack(&file(3), &b"ab"[..], &place.path().join("short")).is_err());
    }
}
