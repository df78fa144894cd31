//! What came of booting with KVM, kept beyond a server's life: a `/dev/kvm` that opens and hangs costs the first machine of
//! a server all of [`crate::KVM_BOOT_MAX`], and the next server would pay it again.
//!
//! Only "it does not boot" saves anything, and so only that is relied on. A machine that is said to boot is waited for like
//! one of which nothing is known, and if it does not, the server emulates and the file says so from then on.
//!
//! An answer holds for what it was found with: this boot of the host (and so its kernel and modules as they are loaded), its
//! kernel's release, the program that runs machines, and the kernel and initramfs of the image. If any of it is another, the
//! answer is nobody's, and KVM is tried again.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::driver::{INITRAMFS, KERNEL};
use crate::qemu;

/// The file's name in the server's data directory.
const NAME: &str = "microvm-kvm.json";

/// The most bytes of it: a few paths, numbers, and the end of what a machine said.
const BYTES_MAX: u64 = 16 * 1024;

/// The most characters of the reason that are kept.
const WHY_CHARS_MAX: usize = 500;

/// Where answers are kept, and what they hold for.
#[derive(Debug, Clone)]
pub struct Remembered {
    path: PathBuf,
    key: Key,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether KVM booted the guest.
    pub boots: bool,
    /// What was seen.
    pub why: String,
}

/// What an answer holds for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    boot: String,
    release: String,
    /// The program, the kernel, the initramfs.
    files: Vec<Identity>,
}

/// A file as it is: whoever puts another version in its place changes one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    path: PathBuf,
    bytes: u64,
    inode: u64,
    changed_s: i64,
    changed_ns: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    key: Key,
    answer: Answer,
}

impl Remembered {
    /// In the data directory `data`, for machines of the image in `runtime`. `None` where it can't be told what an answer
    /// would hold for: then nothing is remembered.
    #[must_use]
    pub fn of(data: &Path, runtime: &Path) -> Option<Self> {
        let image = runtime.join("microvm");
        let files = [qemu::find()?.program, image.join(KERNEL), image.join(INITRAMFS)];
        Some(Self { path: data.join(NAME), key: Key::of(&files).ok()? })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is known of this very machine. A file that can't be read or understood is ignored, and said.
    #[must_use]
    pub fn recall(&self) -> Option<Answer> {
        match read(&self.path) {
            Ok(kept) => kept.filter(|kept| kept.key == self.key).map(|kept| kept.answer),
            Err(error) => {
                let file = self.path.display();
                tracing::warn!(%file, %error, "what is remembered of KVM can't be read; it is tried again");
                None
            }
        }
    }

    /// Keeps an answer. That this failed costs the next server its time, and nothing else: it is said.
    pub(crate) fn keep(&self, answer: Answer) {
        if let Err(error) = self.write(answer) {
            let file = self.path.display();
            tracing::warn!(%file, %error, "what came of trying KVM can't be kept: the next server tries again");
        }
    }

    /// As a whole or not at all: two servers never share a data directory, but one may be killed in the middle.
    fn write(&self, mut answer: Answer) -> io::Result<()> {
        answer.why = answer.why.chars().take(WHY_CHARS_MAX).collect();
        let text = serde_json::to_vec_pretty(&Kept { key: self.key.clone(), answer })?;
        let beside = self.path.with_extension("new");
        File::create(&beside)?.write_all(&text)?;
        std::fs::rename(beside, &self.path)
    }
}

impl Key {
    fn of(files: &[PathBuf]) -> io::Result<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let uname = rustix::system::uname();
        Ok(Self {
            boot: boot.trim().to_owned(),
            release: uname.release().to_string_lossy().into_owned(),
            files: files.iter().map(|path| Identity::of(path)).collect::<io::Result<_>>()?,
        })
    }
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let found = std::fs::metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            bytes: found.len(),
            inode: found.ino(),
            changed_s: found.ctime(),
            changed_ns: found.ctime_nsec(),
        })
    }
}

#[cfg(test)]
impl Remembered {
    /// Over files in `data` that stand for QEMU, kernel and initramfs.
    pub(crate) fn for_test(data: &Path) -> Self {
        let files = ["qemu", "vmlinux", "initramfs"].map(|name| data.join(name));
        for file in files.iter().filter(|file| !file.exists()) {
            std::fs::write(file, "one").ok();
        }
        let key = Key::of(&files).unwrap_or_else(|error| panic!("{error}"));
        Self { path: data.join(NAME), key }
    }
}

/// `None` when there is no such file.
fn read(path: &Path) -> io::Result<Option<Kept>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(io::Error::other("it is too long"));
    }
    Ok(Some(serde_json::from_slice(&text)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn remembered(data: &Path) -> Remembered {
        Remembered::for_test(data)
    }

    fn answer(boots: bool) -> Answer {
        Answer { boots, why: "no sign of life within 20 s".to_owned() }
    }

    #[test]
    fn an_answer_outlives_whoever_found_it() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(remembered(data.path()).recall(), None);
        for boots in [false, true] {
            remembered(data.path()).keep(answer(boots));
            assert_eq!(remembered(data.path()).recall(), Some(answer(boots)));
        }
    }

    #[test]
    fn whatever_it_was_found_with_is_another_and_it_is_nobodys() {
        let data = tempfile::tempdir().unwrap();
        let it = remembered(data.path());
        it.keep(answer(false));
        let with = |change: fn(&mut Key)| {
            let mut other = it.clone();
            change(&mut other.key);
            other.recall()
        };
        assert_eq!(with(|_| ()), Some(answer(false)));
        assert_eq!(with(|key| key.boot = "another".to_owned()), None);
        assert_eq!(with(|key| key.release = "6.13.0".to_owned()), None);
        assert_eq!(with(|key| key.files[0].path = "/opt/qemu".into()), None);
        for name in ["qemu", "vmlinux", "initramfs"] {
            remembered(data.path()).keep(answer(false));
            // As packages do: a new file in the place of the old one.
            std::fs::write(data.path().join("new"), "two").unwrap();
            std::fs::rename(data.path().join("new"), data.path().join(name)).unwrap();
            assert_eq!(remembered(data.path()).recall(), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_answer_is_ignored_and_written_over() {
        let data = tempfile::tempdir().unwrap();
        let it = remembered(data.path());
        let long = " ".repeat(usize::try_from(BYTES_MAX).unwrap() + 1);
        for text in ["", "{", "null", "{\"key\": 1}", "\u{0}\u{1}", &long] {
            std::fs::write(&it.path, text).unwrap();
            assert_eq!(it.recall(), None, "{text:?}");
            it.keep(answer(false));
            assert_eq!(it.recall(), Some(answer(false)));
        }
        // Neither is what can't be read or written at all.
        std::fs::remove_file(&it.path).unwrap();
        std::fs::create_dir(&it.path).unwrap();
        assert_eq!(it.recall(), None);
        it.keep(answer(false));
        assert_eq!(it.recall(), None);
    }
}
