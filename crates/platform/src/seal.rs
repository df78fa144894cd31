//! Secrets at rest: AES-256-GCM under a key that only the server's user may read. Each value is bound to what it is
//! for, so that a sealed value copied into another row does not open there, and names its key, so that there may be
//! several: the first seals, all of them open. That is how a key is replaced: see `rotate.rs`.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use bulkhead_types::Entropy;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};

use crate::error::PlatformError;

const KEY_BYTES: usize = 32;

/// Bytes that name a key: enough to tell the few that one server has apart.
const NAME_BYTES: usize = 4;

/// Format of a value sealed before keys had names: this byte, the nonce, then the ciphertext with its tag.
const NAMELESS: u8 = 1;

/// Format of a sealed value: this byte, the key's name, the nonce, then the ciphertext with its tag.
const NAMED: u8 = 2;

/// What secrets are sealed with, given by the operator: servers that share a database share it.
#[derive(Clone)]
pub struct SecretKey(pub [u8; KEY_BYTES]);

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

struct Key {
    /// The beginning of the key's SHA-256, which says nothing about the key.
    name: [u8; NAME_BYTES],
    key: LessSafeKey,
}

impl Key {
    fn new(bytes: &[u8]) -> Option<Self> {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).ok()?);
        let digest = Sha256::digest(bytes);
        Some(Self { name: [digest[0], digest[1], digest[2], digest[3]], key })
    }

    fn open(&self, purpose: &str, rest: &[u8]) -> Option<Vec<u8>> {
        let (nonce, cipher) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut plain = cipher.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut plain);
        let length = opened.ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

/// Seals and opens.
pub(crate) struct Sealer {
    /// The first seals. Replaced as a whole.
    keys: RwLock<Arc<Vec<Key>>>,
    /// Where the key is, if it is the server's own.
    path: Option<PathBuf>,
}

impl Sealer {
    /// Under keys that were given: the first seals, the others open what they sealed before.
    pub(crate) fn new(keys: &[SecretKey]) -> Result<Self, PlatformError> {
        let keys: Option<Vec<Key>> = keys.iter().map(|key| Key::new(&key.0)).collect();
        let keys = keys.filter(|keys| !keys.is_empty()).ok_or(PlatformError::Unsealable)?;
        Ok(Self { keys: RwLock::new(Arc::new(keys)), path: None })
    }

    /// Reads the key file, or makes it with mode 0600 when there is none; and the one before it, if it is there.
    pub(crate) fn open(path: &Path, entropy: &dyn Entropy) -> Result<Self, PlatformError> {
        let first = match read(path)? {
            Some(key) => key,
            None => {
                let key = generate(entropy);
                write(path, &key).map_err(|source| failed(path, source))?;
                key
            }
        };
        let mut keys = vec![parse(path, &first)?];
        let old = old_path(path);
        if let Some(before) = read(&old)? {
            keys.push(parse(&old, &before)?);
        }
        Ok(Self { keys: RwLock::new(Arc::new(keys)), path: Some(path.to_owned()) })
    }

    /// Makes a new key the one that seals, and keeps the one before for opening. `false` when there still is an older
    /// one beside, from a change that may not have come to its end, or when the keys are the operator's.
    pub(crate) fn replace(&self, entropy: &dyn Entropy) -> Result<bool, PlatformError> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = self.path.as_ref().filter(|_| keys.len() == 1) else { return Ok(false) };
        let (old, new) = (old_path(path), path.with_extension("key.new"));
        let before = read(path)?.ok_or(PlatformError::Unsealable)?;
        let fresh = generate(entropy);
        let replaced = (|| {
            match std::fs::remove_file(&new) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            write(&new, &fresh)?;
            // At every moment there is a key file, and what it opens is all there: first the old one beside.
            std::fs::hard_link(path, &old)?;
            std::fs::rename(&new, path)?;
            path.parent().map_or(Ok(()), |parent| std::fs::File::open(parent)?.sync_all())
        })();
        replaced.map_err(|source| failed(path, source))?;
        *keys = Arc::new(vec![parse(path, &fresh)?, parse(path, &before)?]);
        Ok(true)
    }

    /// Where the old key is, if it is the server's own.
    pub(crate) fn old_key_file(&self) -> Option<PathBuf> {
        self.path.as_deref().map(old_path).filter(|old| old.exists())
    }

    /// Whether a value is sealed under the key that seals now.
    pub(crate) fn is_current(&self, sealed: &[u8]) -> bool {
        let keys = self.current();
        let Some((&NAMED, rest)) = sealed.split_first() else { return false };
        rest.get(..NAME_BYTES) == Some(&keys[0].name[..])
    }

    /// Seals `plain` for `purpose`, such as `connection/acme/github/42`. The nonce is random: at 96 bits and one
    /// key, far more values than a database holds can be sealed before two nonces are likely to be the same.
    pub(crate) fn seal(
        &self,
        purpose: &str,
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, PlatformError> {
        let keys = self.current();
        let Key { name, key } = &keys[0];
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut sealed = plain.to_vec();
        let used = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(used, Aad::from(purpose.as_bytes()), &mut sealed)
            .map_err(|_| PlatformError::Unsealable)?;
        Ok([&[NAMED][..], name, &nonce, &sealed].concat())
    }

    /// Opens what [`Self::seal`] sealed for the same purpose.
    pub(crate) fn open_sealed(
        &self,
        purpose: &str,
        sealed: &[u8],
    ) -> Result<Vec<u8>, PlatformError> {
        let keys = self.current();
        let opened = match sealed.split_first() {
            Some((&NAMELESS, rest)) => keys.iter().find_map(|key| key.open(purpose, rest)),
            Some((&NAMED, rest)) => {
                rest.split_first_chunk::<NAME_BYTES>().and_then(|(name, rest)| {
                    keys.iter()
                        .filter(|key| key.name == *name)
                        .find_map(|key| key.open(purpose, rest))
                })
            }
            _ => None,
        };
        opened.ok_or(PlatformError::Unsealable)
    }

    fn current(&self) -> Arc<Vec<Key>> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn failed(path: &Path, source: std::io::Error) -> PlatformError {
    PlatformError::Io { path: path.to_owned(), source }
}

/// `secret.key.old` beside `secret.key`.
fn old_path(path: &Path) -> PathBuf {
    path.with_extension("key.old")
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, PlatformError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, error)),
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Key, PlatformError> {
    let wrong = || std::io::Error::new(ErrorKind::InvalidData, "the key file must have 32 bytes");
    Key::new(bytes).ok_or_else(|| failed(path, wrong()))
}

fn generate(entropy: &dyn Entropy) -> Vec<u8> {
    let mut key = vec![0; KEY_BYTES];
    entropy.fill(&mut key);
    key
}

fn write(path: &Path, key: &[u8]) -> std::io::Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key)?;
    // Without the key nothing sealed opens again: it has to be on disk before the first value is.
    file.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use std::os::unix::fs::PermissionsExt;

    use bulkhead_types::SystemEntropy;

    use super::*;

    #[test]
    fn what_is_sealed_opens_only_for_its_purpose_with_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.key");
        let sealer = Sealer::open(&path, &SystemEntropy).unwrap();
        let sealed = sealer.seal("a", b"hunter2", &SystemEntropy).unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
        assert_ne!(
            sealed,
            sealer.seal("a", b"hunter2", &SystemEntropy).unwrap(),
            "a new nonce each time"
        );
        let again = Sealer::open(&path, &SystemEntropy).unwrap();
        assert_eq!(again.open_sealed("a", &sealed).unwrap(), b"hunter2");
        assert!(again.open_sealed("b", &sealed).is_err());
        let mut flipped = sealed.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(again.open_sealed("a", &flipped).is_err());
        assert!(again.open_sealed("a", &sealed[..5]).is_err());
        let other = Sealer::open(&dir.path().join("other.key"), &SystemEntropy).unwrap();
        assert!(other.open_sealed("a", &sealed).is_err());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_value_from_before_keys_had_names_still_opens() {
        let key = SecretKey([7; KEY_BYTES]);
        let sealer = Sealer::new(&[key]).unwrap();
        let mut sealed = sealer.seal("a", b"hunter2", &SystemEntropy).unwrap();
        sealed.drain(..=NAME_BYTES);
        sealed.insert(0, NAMELESS);
        assert!(!sealer.is_current(&sealed));
        assert_eq!(sealer.open_sealed("a", &sealed).unwrap(), b"hunter2");
    }

    #[test]
    fn a_key_is_replaced_and_the_one_before_still_opens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.key");
        let sealer = Sealer::open(&path, &SystemEntropy).unwrap();
        let before = sealer.seal("a", b"old", &SystemEntropy).unwrap();
        assert!(sealer.is_current(&before) && sealer.old_key_file().is_none());
        assert!(sealer.replace(&SystemEntropy).unwrap());
        assert!(!sealer.replace(&SystemEntropy).unwrap(), "one at a time");
        let after = sealer.seal("a", b"new", &SystemEntropy).unwrap();
        for sealer in [&sealer, &Sealer::open(&path, &SystemEntropy).unwrap()] {
            assert!(!sealer.is_current(&before) && sealer.is_current(&after));
            assert_eq!(sealer.open_sealed("a", &before).unwrap(), b"old");
            assert_eq!(sealer.open_sealed("a", &after).unwrap(), b"new");
        }
        std::fs::remove_file(sealer.old_key_file().unwrap()).unwrap();
        let alone = Sealer::open(&path, &SystemEntropy).unwrap();
        assert!(alone.open_sealed("a", &before).is_err() && alone.open_sealed("a", &after).is_ok());
    }

    #[test]
    fn a_key_file_of_another_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.key");
        std::fs::write(&path, b"short").unwrap();
        assert!(Sealer::open(&path, &SystemEntropy).is_err());
    }
}
