//! The operator's key: made at the first start and kept in the data directory.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use bulkhead_types::Entropy;

use crate::error::ConfigError;
use crate::resolve::{Config, Secret};

/// The operator's key, and whether it was made just now.
#[derive(Debug, Clone)]
pub struct AdminKey {
    /// The key.
    pub secret: Secret,
    /// Whether this start made it: then it is told once.
    pub created: bool,
}

const KEY_BYTES_MAX: u64 = 4096;

/// The key that was set, else the one in `DATA_DIR/admin.key`, else a new one that is written there with mode 0600.
///
/// # Errors
/// When the file can't be read or written, can be read by others, or has no key in it.
pub fn load_or_create_admin_key(
    config: &Config,
    entropy: &dyn Entropy,
) -> Result<AdminKey, ConfigError> {
    if let Some(secret) = &config.admin_key {
        return Ok(AdminKey { secret: secret.clone(), created: false });
    }
    let path = config.data_dir.join("admin.key");
    let failed = |why: String| ConfigError::DataDir { path: path.clone(), why };
    match std::fs::File::open(&path) {
        Ok(file) => read(file).map(|secret| AdminKey { secret, created: false }).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret = generate(entropy);
            write(&path, &secret).map_err(|error| failed(format!("can't be written: {error}")))?;
            Ok(AdminKey { secret, created: true })
        }
        Err(error) => Err(failed(format!("can't be read: {error}"))),
    }
}

/// The operator's key, if it was set or the data directory has it and lets us read it: for commands on the server's
/// own machine.
#[must_use]
pub fn find_admin_key(config: &Config) -> Option<Secret> {
    let kept = || std::fs::File::open(config.data_dir.join("admin.key")).ok();
    config.admin_key.clone().or_else(|| kept().and_then(|file| read(file).ok()))
}

/// What a worker joins a server with: the token that was set, else the one in the file that was named.
///
/// # Errors
/// When neither was, or the file can't be read, can be read by others, or has no token in it.
pub fn find_worker_token(config: &Config) -> Result<Secret, ConfigError> {
    if let Some(secret) = &config.worker_token {
        return Ok(secret.clone());
    }
    let Some(path) = &config.worker_token_file else { return Err(ConfigError::NoWorkerToken) };
    let failed = |why: String| ConfigError::DataDir { path: path.clone(), why };
    let file = std::fs::File::open(path);
    let file = file.map_err(|error| failed(format!("can't be read: {error}")))?;
    read(file).map_err(failed)
}

/// The text of a file that nobody else may read: one secret a line.
///
/// # Errors
/// When the file can't be read or can be read by others.
pub fn read_secret_file(path: &Path) -> Result<String, ConfigError> {
    let failed = |why: String| ConfigError::DataDir { path: path.to_owned(), why };
    let file = std::fs::File::open(path);
    let file = file.map_err(|error| failed(format!("can't be read: {error}")))?;
    read_text(file).map_err(failed)
}

fn read(file: std::fs::File) -> Result<Secret, String> {
    let text = read_text(file)?;
    let text = text.trim();
    if text.len() < 24 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("there is no key in it; a key has 24 characters at least".to_owned());
    }
    Ok(Secret::new(text.to_owned()))
}

fn read_text(file: std::fs::File) -> Result<String, String> {
    let readable = |error| format!("can't be read: {error}");
    let mode = file.metadata().map_err(readable)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("others can read it (mode {mode:o}): make a new one, then chmod 600"));
    }
    let mut text = String::new();
    file.take(KEY_BYTES_MAX).read_to_string(&mut text).map_err(readable)?;
    Ok(text)
}

/// 32 random bytes in hex, behind a prefix that secret scanners can look for.
fn generate(entropy: &dyn Entropy) -> Secret {
    let mut bytes = [0_u8; 32];
    entropy.fill(&mut bytes);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Secret::new(format!("bhadmin_{hex}"))
}

/// Written beside and renamed, so that a crash leaves no half key.
fn write(path: &Path, secret: &Secret) -> std::io::Result<()> {
    let beside = path.with_extension("key.new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    writeln!(file, "{}", secret.reveal())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::sources::{Raw, Surroundings};
    use bulkhead_types::SystemEntropy;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_key_is_made_once_and_kept_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let flags = [("data_dir".to_owned(), dir.path().display().to_string())];
        let around = Surroundings::default();
        let config =
            Config::resolve(&Raw::gather(&around, None, &flags).unwrap(), &around).unwrap();
        let first = load_or_create_admin_key(&config, &SystemEntropy).unwrap();
        let second = load_or_create_admin_key(&config, &SystemEntropy).unwrap();
        assert!(first.created && !second.created);
        assert_eq!(first.secret, second.secret);
        let path = dir.path().join("admin.key");
        let mode = std::fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = load_or_create_admin_key(&config, &SystemEntropy).unwrap_err();
        assert!(refused.to_string().contains("others can read it"), "{refused}");
    }
}
