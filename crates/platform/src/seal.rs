//! Secrets at rest: AES-256-GCM under a key file that only the server's user may read. Each value is bound to what
//! it is for, so that a sealed value copied into another row does not open there.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bulkhead_types::Entropy;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::error::PlatformError;

const KEY_BYTES: usize = 32;

/// Format of a sealed value: this byte, the nonce, then the ciphertext with its tag.
const FORMAT: u8 = 1;

/// What secrets are sealed with, given by the operator: servers that share a database share it.
#[derive(Clone)]
pub struct SecretKey(pub [u8; KEY_BYTES]);

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// Seals and opens.
pub(crate) struct Sealer {
    key: LessSafeKey,
}

impl Sealer {
    /// Under a key that was given.
    pub(crate) fn new(key: &SecretKey) -> Result<Self, PlatformError> {
        let key = UnboundKey::new(&AES_256_GCM, &key.0).map_err(|_| PlatformError::Unsealable)?;
        Ok(Self { key: LessSafeKey::new(key) })
    }

    /// Reads the key file, or makes it with mode 0600 when there is none.
    pub(crate) fn open(path: &Path, entropy: &dyn Entropy) -> Result<Self, PlatformError> {
        let failed = |source| PlatformError::Io { path: path.to_owned(), source };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                create(path, entropy).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        let wrong = || {
            failed(std::io::Error::new(ErrorKind::InvalidData, "the key file must have 32 bytes"))
        };
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| wrong())?;
        Ok(Self { key: LessSafeKey::new(key) })
    }

    /// Seals `plain` for `purpose`, such as `connection/acme/github/42`. The nonce is random: at 96 bits and one
    /// key, far more values than a database holds can be sealed before two nonces are likely to be the same.
    pub(crate) fn seal(
        &self,
        purpose: &str,
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, PlatformError> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut sealed = plain.to_vec();
        let used = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(used, Aad::from(purpose.as_bytes()), &mut sealed)
            .map_err(|_| PlatformError::Unsealable)?;
        Ok([&[FORMAT][..], &nonce, &sealed].concat())
    }

    /// Opens what [`Self::seal`] sealed for the same purpose.
    pub(crate) fn open_sealed(
        &self,
        purpose: &str,
        sealed: &[u8],
    ) -> Result<Vec<u8>, PlatformError> {
        let unsealable = PlatformError::Unsealable;
        let Some((&FORMAT, rest)) = sealed.split_first() else { return Err(unsealable) };
        let Some((nonce, cipher)) = rest.split_first_chunk::<NONCE_LEN>() else {
            return Err(unsealable);
        };
        let mut plain = cipher.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut plain);
        let length = opened.map_err(|_| PlatformError::Unsealable)?.len();
        plain.truncate(length);
        Ok(plain)
    }
}

fn create(path: &Path, entropy: &dyn Entropy) -> std::io::Result<Vec<u8>> {
    let mut key = vec![0; KEY_BYTES];
    entropy.fill(&mut key);
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&key)?;
    // Without the key nothing sealed opens again: it has to be on disk before the first value is.
    file.sync_all()?;
    Ok(key)
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
    fn a_key_file_of_another_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.key");
        std::fs::write(&path, b"short").unwrap();
        assert!(Sealer::open(&path, &SystemEntropy).is_err());
    }
}
