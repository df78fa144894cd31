//! Bundles that come over the stream, where a machine has room for the zygotes of several versions of one tenant.
//!
//! Zygotes run what authors wrote, and one function's is hostile to the next. So each has a uid that no other one ever gets,
//! a cgroup, a mount namespace in which the place of bundles shows its own alone, and a network and an IPC namespace, since
//! names of abstract sockets belong to everybody in one. Bundles are kept on one file system of limited size, to which the
//! guest alone may write.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bulkhead_protocol::{BUNDLES_BYTES_MAX, BundleHead, GuestError, ZYGOTES_EVER_MAX, ZygoteSpec};
use rustix::mount::{MountFlags, mount, mount_bind, mount_remount};
use sha2::{Digest, Sha256};

use crate::config::{GuestConfig, ZygotePlace};
use crate::place::{self, DATA, SLOT_UID_FIRST, ZYGOTE_UID};
use crate::sys;

/// Where bundles are. A zygote finds its own directly below.
const TOP: &str = "/bundle";

/// The bundle's directory and name below that, as behind every wall.
const DIRECTORY: &str = "function";
const NAME: &str = "bundle.js";

/// The stage at which a transfer fails: the platform's fault, unlike a bundle that does not load.
const TRANSFER: &str = "bundle_transfer";

/// Mounts the file system of bundles.
pub(crate) fn mount_room(top: &Path) -> io::Result<()> {
    // Each file's last page, and directories.
    let kib = BUNDLES_BYTES_MAX / 1024 + 1024;
    let inodes = 8_192;
    let limits = place::options(format!("size={kib}k,nr_inodes={inodes},mode=0755"))?;
    Ok(mount("tmpfs", top, "tmpfs", DATA, &*limits)?)
}

/// What makes a zygote's place its own; all that is `None` belongs to the whole compartment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lodging {
    pub(crate) uid: u32,
    /// What it shall see as the place of bundles.
    pub(crate) bundles: Option<PathBuf>,
    /// The cgroup's `cgroup.procs`.
    pub(crate) join: Option<i32>,
}

/// The bundles that are here or on their way.
#[derive(Debug)]
pub(crate) struct Bundles {
    top: PathBuf,
    uid_first: u32,
    places: Vec<ZygotePlace>,
    lodged: HashMap<u32, Lodged>,
    /// Numbers that are not given again. Not the highest alone: they come in any order.
    known: HashSet<u32>,
}

/// Uids of zygotes stay clear of those of slots.
const _: () = assert!(ZYGOTE_UID + ZYGOTES_EVER_MAX <= SLOT_UID_FIRST);

#[derive(Debug)]
struct Lodged {
    place: usize,
    bytes: u64,
    incoming: Option<Incoming>,
}

#[derive(Debug)]
struct Incoming {
    spec: ZygoteSpec,
    file: File,
    left: u64,
    seen: Sha256,
    sha256: String,
}

impl Bundles {
    pub(crate) fn new(config: &GuestConfig) -> Self {
        let (uid_first, places) = (config.zygote_uid, config.zygotes.clone());
        Self { top: TOP.into(), uid_first, places, lodged: HashMap::new(), known: HashSet::new() }
    }

    /// Makes room for the bundle of a zygote that shall start once all of it is here.
    pub(crate) fn begin(
        &mut self,
        zygote: u32,
        spec: ZygoteSpec,
        head: BundleHead,
    ) -> Result<(), GuestError> {
        if !(1..=ZYGOTES_EVER_MAX).contains(&zygote) || !self.known.insert(zygote) {
            return Err(refused("its number was used before, or is too large"));
        }
        let taken = |place: &usize| self.lodged.values().any(|it| it.place == *place);
        let place = (0..self.places.len()).find(|place| !taken(place));
        let place = place.ok_or_else(|| refused("there is no room for one more zygote"))?;
        let used: u64 = self.lodged.values().map(|it| it.bytes).sum();
        if used.saturating_add(head.bytes) > BUNDLES_BYTES_MAX {
            return Err(refused("there is no room for its bundle"));
        }
        let failed = |error: io::Error| refused(&error.to_string());
        let file = create(&self.directory(zygote)).map_err(failed)?;
        let BundleHead { bytes, sha256 } = head;
        let incoming = Incoming { spec, file, left: bytes, seen: Sha256::new(), sha256 };
        self.lodged.insert(zygote, Lodged { place, bytes, incoming: Some(incoming) });
        Ok(())
    }

    /// Takes the next bytes. What to start, once they are all here and are what was announced; nothing before, and nothing
    /// for a zygote that was given up.
    pub(crate) fn feed(
        &mut self,
        zygote: u32,
        bytes: &[u8],
    ) -> Option<Result<ZygoteSpec, GuestError>> {
        let incoming = &mut self.lodged.get_mut(&zygote)?.incoming;
        let mut it = incoming.take()?;
        match it.take(bytes) {
            Err(error) => Some(Err(refused(&error.to_string()))),
            Ok(()) if it.left > 0 => {
                *incoming = Some(it);
                None
            }
            Ok(()) if hex(&it.seen.finalize()) == it.sha256 => Some(Ok(it.spec)),
            Ok(()) => Some(Err(refused("what came is not what was announced"))),
        }
    }

    /// Where a zygote lives.
    pub(crate) fn lodging(&self, zygote: u32) -> Lodging {
        let Some(lodged) = self.lodged.get(&zygote) else {
            return Lodging { uid: self.uid_first, bundles: None, join: None };
        };
        let join = self.places.get(lodged.place).map(|place| place.join);
        let uid = self.uid_first + zygote.saturating_sub(1);
        Lodging { uid, bundles: Some(self.directory(zygote)), join }
    }

    /// Whether zygotes have bundles of their own here.
    pub(crate) fn come_over_the_stream(&self) -> bool {
        !self.places.is_empty()
    }

    /// Removes a bundle; whose it was, if there was one.
    pub(crate) fn forget(&mut self, zygote: u32) -> io::Result<Option<u32>> {
        let uid = self.lodging(zygote).uid;
        let Some(_) = self.lodged.remove(&zygote) else { return Ok(None) };
        std::fs::remove_dir_all(self.directory(zygote))?;
        Ok(Some(uid))
    }

    fn directory(&self, zygote: u32) -> PathBuf {
        self.top.join(zygote.to_string())
    }
}

impl Incoming {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.left.checked_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.left = left.ok_or_else(|| io::Error::other("more came than was announced"))?;
        self.seen.update(bytes);
        self.file.write_all(bytes)
    }
}

fn create(directory: &Path) -> io::Result<File> {
    let inside = directory.join(DIRECTORY);
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&inside)?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o644).open(inside.join(NAME))
}

fn refused(message: &str) -> GuestError {
    GuestError { stage: TRANSFER.to_owned(), message: message.to_owned() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes the place of bundles, for the calling process and its children, show what is in `own` alone, read-only; and shuts
/// them off from the sockets of others.
///
/// # Errors
/// Those of the system calls.
pub(crate) fn show_alone(own: &Path) -> io::Result<()> {
    sys::unshare_for_zygote()?;
    mount_bind(own, TOP)?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | DATA;
    Ok(mount_remount(TOP, flags, c"")?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn bundles(top: &Path) -> Bundles {
        let places = vec![ZygotePlace { join: 7 }, ZygotePlace { join: 8 }];
        Bundles {
            top: top.into(),
            uid_first: 500,
            places,
            lodged: HashMap::new(),
            known: HashSet::new(),
        }
    }

    fn spec() -> ZygoteSpec {
        ZygoteSpec { argv: Vec::new(), env: Vec::new(), ready_ms_max: 1 }
    }

    fn head(content: &[u8]) -> BundleHead {
        let bytes = u64::try_from(content.len()).unwrap();
        BundleHead { bytes, sha256: hex(&Sha256::digest(content)) }
    }

    #[test]
    fn a_zygote_starts_once_its_whole_bundle_is_here_and_has_a_place_of_its_own() {
        let top = tempfile::tempdir().unwrap();
        let mut bundles = bundles(top.path());
        // In whichever order they come.
        bundles.begin(2, spec(), head(b"two, longer")).unwrap();
        bundles.begin(1, spec(), head(b"one")).unwrap();
        assert_eq!(bundles.feed(2, b"two,"), None);
        assert_eq!(bundles.feed(1, b"one"), Some(Ok(spec())));
        assert_eq!(bundles.feed(2, b" longer"), Some(Ok(spec())));
        for (number, content) in [(1, "one"), (2, "two, longer")] {
            let lodging = bundles.lodging(number);
            assert_eq!((lodging.uid, lodging.join), (499 + number, Some(9 - number.cast_signed())));
            let file = lodging.bundles.unwrap().join("function/bundle.js");
            assert_eq!(std::fs::read_to_string(file).unwrap(), content);
        }
        assert_eq!(bundles.begin(3, spec(), head(b"")).unwrap_err().stage, TRANSFER);
        assert_eq!(bundles.forget(1).unwrap(), Some(500));
        // The place is free; neither the number nor the uid are ever used again.
        assert!(bundles.begin(1, spec(), head(b"")).is_err());
        bundles.begin(4, spec(), head(b"")).unwrap();
        assert_eq!(bundles.feed(4, b""), Some(Ok(spec())));
        let lodging = bundles.lodging(4);
        assert_eq!((lodging.uid, lodging.join), (503, Some(8)));
    }

    #[test]
    fn what_is_too_much_or_something_else_starts_nothing() {
        let top = tempfile::tempdir().unwrap();
        let mut bundles = bundles(top.path());
        let large = BundleHead { bytes: BUNDLES_BYTES_MAX + 1, sha256: String::new() };
        assert!(bundles.begin(1, spec(), large).is_err());
        bundles.begin(2, spec(), head(b"two")).unwrap();
        assert_eq!(bundles.feed(2, b"tow").unwrap().unwrap_err().stage, TRANSFER);
        // Nothing is taken after that.
        assert_eq!(bundles.feed(2, b"two"), None);
        bundles.begin(3, spec(), head(b"two")).unwrap();
        assert!(bundles.feed(3, b"two and more").unwrap().is_err());
        assert_eq!(bundles.feed(9, b"nobody's"), None);
    }
}
