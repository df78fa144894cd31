//! What a machine is handed at its start, packed into an anonymous file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use bulkhead_guest::config::{RUNTIME_TASKS, SlotCgroup, SlotConfig};
use bulkhead_guest::parcel::{FILES_MAX, File as Packed, Head, write_head};
use bulkhead_guest::place::{SLOT_UID_FIRST, scratch_of};
use bulkhead_wall::CompartmentSpec;
use bulkhead_wall_process::kind::guest_config;
use bulkhead_wall_process::mounts::open_below;
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create};

/// Directories below one another in a bundle.
const DEPTH_MAX: usize = 16;

/// Packs what `spec` asks for, of files below `bundles` alone. `rootfs` is the runtime image that the machine has a copy
/// of. The file can only be read.
pub(crate) fn pack(spec: &CompartmentSpec, bundles: &Path, rootfs: &Path) -> io::Result<OwnedFd> {
    let slot = |slot: u32| SlotConfig {
        uid: SLOT_UID_FIRST + slot,
        scratch: scratch_of(slot),
        cgroup: SlotCgroup::default(),
    };
    let slots = (0..spec.slots).map(slot).collect();
    let mut found = Vec::new();
    for mount in &spec.mounts {
        let source = std::path::absolute(&mount.source)?;
        gather(bundles, (&source, &mount.target), 0, &mut found)?;
    }
    let files =
        found.iter().map(|it| Packed { path: it.inside.clone(), bytes: it.bytes }).collect();
    let head = Head {
        guest: guest_config(slots, Vec::new(), rootfs),
        zygotes: spec.zygotes,
        memory_mib: spec.memory_mib,
        tasks: u64::from(spec.processes) + RUNTIME_TASKS,
        scratch_mib: spec.scratch_mib,
        scratch_inodes: spec.scratch_inodes,
        files,
    };
    let mut packed = File::from(memfd_create("parcel", MemfdFlags::CLOEXEC)?);
    write_head(&head, &mut packed)?;
    for file in found {
        let copied = io::copy(&mut file.open.take(file.bytes), &mut packed)?;
        if copied < file.bytes {
            return Err(io::Error::other(format!("{} has become shorter", file.inside.display())));
        }
    }
    packed.seek(SeekFrom::Start(0))?;
    // Who gets it can't write to it.
    let path = format!("/proc/self/fd/{}", packed.as_raw_fd());
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

struct Found {
    inside: PathBuf,
    open: File,
    bytes: u64,
}

/// The files below a directory of the host. Links are not followed, and nothing but files and directories is taken.
fn gather(
    bundles: &Path,
    (source, target): (&Path, &Path),
    depth: usize,
    found: &mut Vec<Found>,
) -> io::Result<()> {
    let refuse = |why: &str| Err(io::Error::other(format!("{}: {why}", source.display())));
    if depth > DEPTH_MAX || found.len() > FILES_MAX {
        return refuse("too deep, or too many files");
    }
    let kind = std::fs::symlink_metadata(source)?.file_type();
    if kind.is_dir() {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(source)? {
            names.push(entry?.file_name());
        }
        names.sort();
        return names.iter().try_for_each(|name| {
            let pair = (source.join(name), target.join(name));
            gather(bundles, (&pair.0, &pair.1), depth + 1, found)
        });
    }
    if !kind.is_file() {
        return refuse("neither a file nor a directory");
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = File::from(open_below(bundles, source, flags)?);
    if !open.metadata()?.is_file() {
        return refuse("not the file that it was");
    }
    let bytes = open.metadata()?.len();
    found.push(Found { inside: target.to_owned(), open, bytes });
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bulkhead_guest::parcel::read_head;
    use bulkhead_wall::Mount;

    fn spec(source: &Path) -> CompartmentSpec {
        let mount = Mount { source: source.to_owned(), target: "/bundle/it".into() };
        CompartmentSpec {
            mounts: vec![mount],
            slots: 2,
            scratch_mib: 16,
            scratch_inodes: 256,
            memory_mib: 128,
            processes: 32,
            zygotes: 0,
        }
    }

    #[test]
    fn a_bundle_is_packed_whole() {
        let bundle = tempfile::tempdir().unwrap();
        std::fs::create_dir(bundle.path().join("more")).unwrap();
        std::fs::write(bundle.path().join("bundle.js"), "one").unwrap();
        std::fs::write(bundle.path().join("more/data"), "two").unwrap();
        let mut packed =
            File::from(pack(&spec(bundle.path()), bundle.path(), Path::new("/")).unwrap());
        let head = read_head(&mut packed).unwrap();
        let paths: Vec<_> = head.files.iter().map(|file| file.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/bundle/it/bundle.js", "/bundle/it/more/data"]);
        assert_eq!(head.guest.slots.len(), 2);
        let mut rest = String::new();
        packed.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "onetwo");
    }

    #[test]
    fn a_link_in_a_bundle_leads_nowhere() {
        let bundle = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", bundle.path().join("bundle.js")).unwrap();
        assert!(pack(&spec(bundle.path()), bundle.path(), Path::new("/")).is_err());
    }
}
