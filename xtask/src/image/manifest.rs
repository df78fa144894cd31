//! What the image is made of, in a form that two images can be compared by.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::image::entries::{Content, Entry};

/// Changes when the same entries would be written differently.
const FORMAT: u32 = 1;

/// What `manifest.json` beside the root says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The shape of this file and of the image.
    pub(super) format: u32,
    /// SHA-256 over everything below, in hex: names the image.
    pub(super) hash: String,
    /// Sorted by path.
    pub(super) entries: Vec<Line>,
}

/// One name in the image.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    path: String,
    /// Octal permission bits, such as `644`; empty for a link.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    mode: String,
    /// SHA-256 of a file's content, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// Where a link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

impl Manifest {
    /// Of what will be written.
    pub(super) fn of(entries: &[Entry]) -> anyhow::Result<Self> {
        let entries = entries.iter().map(line).collect::<anyhow::Result<Vec<_>>>()?;
        let told = serde_json::to_string(&(FORMAT, &entries))?;
        Ok(Self { format: FORMAT, hash: hex::encode(Sha256::digest(told)), entries })
    }

    /// Of the image that is there, if one is.
    pub(super) fn read(image: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(image.join("manifest.json")).ok()?).ok()
    }

    /// Puts it beside the root.
    pub(super) fn write(&self, image: &Path) -> anyhow::Result<()> {
        let path = image.join("manifest.json");
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// The beginning of the hash, for people.
    pub(super) fn short(&self) -> &str {
        &self.hash[..12]
    }
}

fn line(entry: &Entry) -> anyhow::Result<Line> {
    let (sha256, link) = match &entry.content {
        Content::Directory => (None, None),
        Content::Text(text) => (Some(hex::encode(Sha256::digest(text))), None),
        Content::Copy { of, .. } => (Some(hash_file(of)?), None),
        Content::Link(target) => (None, Some(target.clone())),
    };
    let mode = if link.is_some() { String::new() } else { format!("{:o}", entry.mode()) };
    Ok(Line { path: entry.path.clone(), mode, sha256, link })
}

fn hash_file(path: &Path) -> anyhow::Result<String> {
    let mut file = fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).with_context(|| format!("read {}", path.display()))?;
    Ok(hex::encode(hash.finalize()))
}
