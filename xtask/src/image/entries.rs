//! What is in the image: one entry per name, and where each comes from.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};

use crate::build::Parts;
use crate::image::libraries;

/// The certificate authorities of the machine that builds the image (Debian: package `ca-certificates`). Node.js
/// brings its own list; this file is for programs that look at the usual place.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Empty directories on which the wall mounts something.
const MOUNT_POINTS: [&str; 5] = ["proc", "dev", "scratch", "bundle", "guest"];

/// Small files of `/etc`. Names are resolved by the egress gateway, so `resolv.conf` names no server.
const ETC: [(&str, &str); 5] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/:/nonexistent\nsandbox:x:1000:1000:sandbox:/tmp:/nonexistent\n",
    ),
    ("etc/group", "root:x:0:\nsandbox:x:1000:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    ("etc/resolv.conf", "# No server: names are resolved outside, by the egress gateway.\n"),
];

/// One name in the image.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Relative to the image's root.
    pub(super) path: String,
    /// What is there.
    pub(super) content: Content,
}

/// What an entry is. Everything belongs to whoever builds the image (root, for a server that runs as root) and
/// nothing can be written by anyone else.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Directory,
    Text(String),
    Copy { of: PathBuf, mode: u32 },
    Link(String),
}

impl Entry {
    /// A small file.
    pub(super) fn text(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), content: Content::Text(text.to_owned()) }
    }

    /// A copy of `of`.
    pub(super) fn file(path: &str, of: &Path, mode: u32) -> Self {
        Self { path: path.to_owned(), content: Content::Copy { of: of.to_owned(), mode } }
    }

    fn directory(path: &str) -> Self {
        Self { path: path.to_owned(), content: Content::Directory }
    }

    /// The permission bits; none for links.
    pub(super) const fn mode(&self) -> u32 {
        match self.content {
            Content::Directory => 0o755,
            Content::Text(_) => 0o644,
            Content::Copy { mode, .. } => mode,
            Content::Link(_) => 0,
        }
    }

    /// Makes the entry below `root`, where its parent exists already.
    pub(super) fn write(&self, root: &Path) -> anyhow::Result<()> {
        let path = root.join(&self.path);
        match &self.content {
            Content::Directory => fs::create_dir(&path)?,
            Content::Text(text) => fs::write(&path, text)?,
            Content::Copy { of, .. } => {
                fs::copy(of, &path).with_context(|| format!("copy {}", of.display()))?;
            }
            Content::Link(target) => return Ok(symlink(target, &path)?),
        }
        // Set, not merely asked for at creation, where the umask would have its say.
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(self.mode()))?)
    }

    /// Gives the entry the time that all have.
    pub(super) fn set_time(&self, root: &Path) -> anyhow::Result<()> {
        match self.content {
            Content::Link(_) => Ok(()),
            _ => set_time(&root.join(&self.path)),
        }
    }
}

/// Gives the root the time that all have.
pub(super) fn set_root_time(root: &Path) -> anyhow::Result<()> {
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    set_time(root)
}

fn set_time(path: &Path) -> anyhow::Result<()> {
    Ok(fs::File::open(path)?.set_modified(SystemTime::UNIX_EPOCH)?)
}

/// Everything that goes into the image.
pub(super) fn collect(node: &Path, parts: &Parts) -> anyhow::Result<Vec<Entry>> {
    if !libraries::of(&parts.guest)?.is_empty() {
        bail!("{} is linked dynamically; it must run without a loader", parts.guest.display());
    }
    let mut entries = skeleton();
    entries.push(Entry::file("runtime/node", node, 0o755));
    entries.push(Entry::file("runtime/guest", &parts.guest, 0o755));
    entries.push(Entry::file("runtime/fork.node", &parts.addon, 0o644));
    entries.push(Entry::file("runtime/harness/zygote.js", &parts.harness, 0o644));
    if !Path::new(CERTIFICATES).is_file() {
        bail!("{CERTIFICATES} is missing: install Debian's ca-certificates, or run `make setup`");
    }
    entries.push(Entry::file("etc/ssl/certs/ca-certificates.crt", Path::new(CERTIFICATES), 0o644));

    let mut found = BTreeMap::new();
    for program in [node, &parts.addon] {
        found.extend(libraries::of(program)?);
    }
    for path in found.into_values() {
        let inside = path.to_string_lossy().trim_start_matches('/').to_owned();
        entries.push(Entry::file(&inside, &path, 0o755));
    }
    complete(entries)
}

/// What is there whatever runs inside.
pub(super) fn skeleton() -> Vec<Entry> {
    let mut entries: Vec<Entry> = MOUNT_POINTS.into_iter().map(Entry::directory).collect();
    entries.extend(ETC.into_iter().map(|(path, text)| Entry::text(path, text)));
    entries.push(Entry {
        path: "tmp".to_owned(),
        content: Content::Link("/proc/self/cwd".to_owned()),
    });
    entries
}

/// Adds the directories that entries are in, and sorts: a parent comes before what is in it.
pub(super) fn complete(entries: Vec<Entry>) -> anyhow::Result<Vec<Entry>> {
    let mut by_path = BTreeMap::new();
    for entry in entries {
        for parent in Path::new(&entry.path).ancestors().skip(1) {
            let parent = parent.to_string_lossy().into_owned();
            if !parent.is_empty() {
                by_path.entry(parent.clone()).or_insert_with(|| Entry::directory(&parent));
            }
        }
        let path = entry.path.clone();
        let earlier = by_path.insert(path.clone(), entry);
        if earlier.is_some_and(|earlier| !matches!(earlier.content, Content::Directory)) {
            bail!("two entries for /{path}");
        }
    }
    Ok(by_path.into_values().collect())
}
