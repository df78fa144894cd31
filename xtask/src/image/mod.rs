//! The runtime image: the directory that becomes the read-only root of every compartment.
//!
//! It holds Node.js, the libraries it is linked with, our harness, fork addon and guest, certificates, a minimal
//! `/etc` and the places where the wall mounts things. No shell, no package manager, nothing set-uid.
//!
//! ```text
//! target/runtime/
//!   manifest.json      what is in it, with a hash of everything
//!   rootfs/
//!     runtime/         node, guest, fork.node, harness/zygote.js
//!     lib, lib64, …    shared libraries, at the paths where this machine's loader found them
//!     etc/             passwd, group, hosts, nsswitch.conf, resolv.conf, ssl/certs/ca-certificates.crt
//!     proc dev scratch bundle guest      empty: mount points
//!     tmp -> /proc/self/cwd              so that a hard-coded /tmp is the sandbox's own scratch directory
//!   microvm/           kernel and initramfs of virtual machines, the same root in it; where a kernel was fetched
//! ```
//!
//! The same inputs give the same image, byte for byte, names, modes and times included; an image that is up to date is left alone.

mod cpio;
mod entries;
mod libraries;
mod manifest;
mod microvm;

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::build::Parts;
use crate::image::entries::Entry;
use crate::image::manifest::Manifest;
use crate::image::microvm::Kernel;
use crate::workspace::Workspace;

/// Puts the image together below the target directory, unless what is there is already made of the same parts.
pub(crate) fn assemble(workspace: &Workspace, parts: &Parts) -> anyhow::Result<()> {
    let image = workspace.target.join("runtime");
    let entries = entries::collect(&workspace.node()?, parts)?;
    let manifest = Manifest::of(&entries)?;
    let kernel = Kernel::find(&workspace.target, &manifest.hash)?;
    let is_same = Manifest::read(&image).is_some_and(|there| there.hash == manifest.hash);
    if is_same && kernel.as_ref().is_none_or(|kernel| kernel.is_built(&image)) {
        println!("runtime image {} is up to date", manifest.short());
        return Ok(());
    }
    // Built beside and moved into place: whoever looks never sees half an image.
    let fresh = workspace.target.join("runtime.new");
    remove(&fresh)?;
    write(&fresh.join("rootfs"), &entries)?;
    manifest.write(&fresh)?;
    match &kernel {
        Some(kernel) => kernel.build(&fresh, &entries)?,
        None => println!(
            "no kernel in target/kernel (`make setup` fetches it): no image for virtual machines"
        ),
    }
    replace(&image, &fresh, &workspace.target.join("runtime.old"))?;
    println!("runtime image {} is in {}", manifest.short(), image.display());
    Ok(())
}

fn write(root: &Path, entries: &[Entry]) -> anyhow::Result<()> {
    fs::create_dir_all(root).with_context(|| format!("create {}", root.display()))?;
    for entry in entries {
        entry.write(root).with_context(|| format!("write /{} of the image", entry.path))?;
    }
    // Last and inside out, for writing into a directory changes its time.
    for entry in entries.iter().rev() {
        entry.set_time(root).with_context(|| format!("set the time of /{}", entry.path))?;
    }
    entries::set_root_time(root)
}

fn replace(image: &Path, fresh: &Path, old: &Path) -> anyhow::Result<()> {
    remove(old)?;
    if image.exists() {
        fs::rename(image, old).with_context(|| format!("move {} away", image.display()))?;
    }
    fs::rename(fresh, image).with_context(|| format!("move the image to {}", image.display()))?;
    remove(old)
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn entries() -> Vec<Entry> {
        let mut entries = entries::skeleton();
        entries.push(Entry::text("etc/motd", "hello\n"));
        entries::complete(entries).unwrap()
    }

    #[test]
    fn an_image_is_what_its_entries_say() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("rootfs");
        write(&root, &entries()).unwrap();

        assert_eq!(fs::read_to_string(root.join("etc/motd")).unwrap(), "hello\n");
        let motd = fs::metadata(root.join("etc/motd")).unwrap();
        assert_eq!(motd.permissions().mode() & 0o7777, 0o644);
        assert_eq!(motd.mtime(), 0);
        for mount_point in ["proc", "dev", "scratch", "bundle", "guest"] {
            let meta = fs::metadata(root.join(mount_point)).unwrap();
            assert!(meta.is_dir(), "{mount_point}");
            assert_eq!(meta.permissions().mode() & 0o7777, 0o755, "{mount_point}");
            assert_eq!(meta.mtime(), 0, "{mount_point}");
            assert_eq!(fs::read_dir(root.join(mount_point)).unwrap().count(), 0, "{mount_point}");
        }
        assert_eq!(fs::read_link(root.join("tmp")).unwrap(), Path::new("/proc/self/cwd"));
        for absent in ["bin", "usr/bin/env", "sbin", "etc/shadow"] {
            assert!(!root.join(absent).exists(), "{absent}");
        }
    }

    #[test]
    fn the_hash_covers_content_name_and_mode() {
        let hash = |entries: &[Entry]| Manifest::of(entries).unwrap().hash;
        let plain = hash(&entries());
        assert_eq!(plain, hash(&entries()));

        let with = |entry: Entry| {
            let mut changed = entries();
            changed.retain(|e| e.path != "etc/motd");
            changed.push(entry);
            hash(&entries::complete(changed).unwrap())
        };
        assert_eq!(plain, with(Entry::text("etc/motd", "hello\n")));
        assert_ne!(plain, with(Entry::text("etc/motd", "hullo\n")));
        assert_ne!(plain, with(Entry::text("etc/note", "hello\n")));
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "hello\n").unwrap();
        assert_ne!(plain, with(Entry::file("etc/motd", file.path(), 0o755)));
        assert_eq!(plain, with(Entry::file("etc/motd", file.path(), 0o644)));
    }

    #[test]
    fn two_entries_of_one_name_are_refused() {
        let twice = vec![Entry::text("etc/motd", "a"), Entry::text("etc/motd", "b")];
        assert!(entries::complete(twice).unwrap_err().to_string().contains("etc/motd"));
    }

    #[test]
    fn an_old_image_gives_way_to_the_fresh_one() {
        let directory = tempfile::tempdir().unwrap();
        let [image, fresh, old] = ["image", "fresh", "old"].map(|name| directory.path().join(name));
        for (path, content) in [(&image, "one"), (&fresh, "two"), (&old, "left over")] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("file"), content).unwrap();
        }
        replace(&image, &fresh, &old).unwrap();
        assert_eq!(fs::read_to_string(image.join("file")).unwrap(), "two");
        assert!(!fresh.exists() && !old.exists());
    }
}
