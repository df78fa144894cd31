//! Contents by the SHA-256 of their bytes: bundles, source maps, large payloads.
//!
//! Layout: [`Shelf`] keeps directories on this machine's disk, each with one file in it, which compartments can mount;
//! [`Store`] keeps contents in object storage, which machines can share.
//!
//! Invariant: what is read is what its name says, or an error: every read of a whole content is hashed. This crate
//! knows no tenants and no executions.

mod shelf;
mod store;

use sha2::{Digest, Sha256};

pub use shelf::{ANYONE, OWNER, Shelf, Who};
pub use store::{BlobError, Place, Store};

/// The name of a content: its SHA-256 in hex.
#[must_use]
pub fn digest(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

/// Whether a text has the form of a content's name. Only such a text may become part of a path.
#[must_use]
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn not_its_name(name: &str) -> std::io::Error {
    std::io::Error::other(format!("the content kept as {name} is another: it was changed"))
}
