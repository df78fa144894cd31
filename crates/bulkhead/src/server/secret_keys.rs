//! The keys that credentials are sealed with, as the operator gives them: in a setting, in a file, or by a command.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bulkhead_config::{Config, read_secret_file};
use bulkhead_platform::SecretKey;

/// Bytes of what a command may print: two keys and some white space.
const PRINTED_BYTES_MAX: u64 = 1_024;

/// How long a command may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);

/// The key that seals, then those that only open; none means a key file in the data directory.
pub(super) fn of(config: &Config) -> anyhow::Result<Vec<SecretKey>> {
    let said = [
        config.secret_key.is_some(),
        config.secret_key_file.is_some(),
        config.secret_key_command.is_some(),
    ];
    if said.iter().filter(|said| **said).count() > 1 {
        bail!("only one of `secret_key`, `secret_key_file` and `secret_key_command` can be set");
    }
    let text = if let Some(path) = &config.secret_key_file {
        read_secret_file(path)?
    } else if let Some(command) = &config.secret_key_command {
        printed(command).context("`secret_key_command` gave no key")?
    } else {
        config.secret_key.as_ref().map(|key| key.reveal().to_owned()).unwrap_or_default()
    };
    let mut keys: Vec<SecretKey> = text.split_whitespace().map(key).collect::<Result<_, _>>()?;
    let old = config.secret_key_old.as_ref().map(|old| key(old.reveal())).transpose()?;
    match (keys.is_empty(), said.contains(&true)) {
        (true, true) => bail!("there is no secret key where it should be"),
        (true, false) if old.is_some() => {
            bail!("`secret_key_old` is of no use without `secret_key`")
        }
        (true, false) if config.database_url.is_some() => tracing::warn!(
            "credentials are sealed with this machine's key: other servers over the same database can't open \
             them; give all of them the same `secret_key`"
        ),
        _ => {}
    }
    keys.extend(old);
    Ok(keys)
}

fn key(text: &str) -> anyhow::Result<SecretKey> {
    let mut key = [0; 32];
    // The cause would say which characters were wrong.
    if hex::decode_to_slice(text, &mut key).is_err() {
        bail!("a secret key must have 64 hexadecimal digits");
    }
    Ok(SecretKey(key))
}

/// What the operator's own command prints, run with the server's environment: that is where it finds its service.
#[allow(
    clippy::disallowed_methods,
    reason = "it is the operator's own command, with their environment"
)]
fn printed(command: &str) -> anyhow::Result<String> {
    let mut process = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = process.stdout.take().context("it has no output")?;
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = output.take(PRINTED_BYTES_MAX).read_to_string(&mut text).map(|_| text);
        // Nobody listens after the deadline.
        drop(sender.send(read));
    });
    let Ok(text) = receiver.recv_timeout(COMMAND_DEADLINE) else {
        process.kill()?;
        process.wait()?;
        bail!("it took more than {} s", COMMAND_DEADLINE.as_secs());
    };
    let status = process.wait()?;
    if !status.success() {
        bail!("it ended with {status}");
    }
    Ok(text?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use bulkhead_config::{Raw, Surroundings};

    use super::*;

    #[test]
    fn a_command_prints_a_key() {
        assert_eq!(printed("echo a; echo b").unwrap(), "a\nb\n");
        assert!(printed("echo a; exit 3").unwrap_err().to_string().contains('3'));
        assert_eq!(printed("yes").map_or(0, |text| text.len()), 0, "it is cut off, and fails");
    }

    #[test]
    fn a_key_has_64_digits_and_is_not_repeated_in_the_error() {
        assert_eq!(key(&"ab".repeat(32)).unwrap().0, [0xab; 32]);
        let wrong = key("hunter2").unwrap_err();
        assert!(!format!("{wrong:?}").contains("hunter2"));
    }

    /// The keys that a server with these settings has, by their first byte.
    fn keys(environment: &[(&str, &str)], flags: &[(&str, &str)]) -> anyhow::Result<Vec<u8>> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let env = environment.iter().map(owned).collect();
        let around = Surroundings { env, cores: 1, ..Surroundings::default() };
        let flags: Vec<_> = flags.iter().map(owned).collect();
        let raw = Raw::gather(&around, None, &flags)?;
        Ok(of(&Config::resolve(&raw, &around)?)?.iter().map(|key| key.0[0]).collect())
    }

    #[test]
    fn a_key_comes_from_the_environment_a_file_or_a_command_and_from_one_of_them() {
        let (new, old) = ("cd".repeat(32), "ab".repeat(32));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, format!("{new}\n{old}\n")).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, private).unwrap();
        let file = file.to_str().unwrap();
        let command = format!("echo {new}");

        assert_eq!(keys(&[], &[]).unwrap(), [0; 0], "the data directory has it");
        let both = [("BULKHEAD_SECRET_KEY", new.as_str()), ("BULKHEAD_SECRET_KEY_OLD", &old)];
        assert_eq!(keys(&both, &[]).unwrap(), [0xcd, 0xab]);
        assert_eq!(keys(&[], &[("secret_key_file", file)]).unwrap(), [0xcd, 0xab]);
        let by_command = [("secret_key_command", command.as_str()), ("secret_key_old", &old)];
        assert_eq!(keys(&[], &by_command).unwrap(), [0xcd, 0xab]);
        for wrong in [
            keys(&both, &[("secret_key_file", file)]),
            keys(&[], &[("secret_key_command", "true")]),
            keys(&[], &[("secret_key_command", "false")]),
            keys(&both[1..], &[]),
        ] {
            assert!(wrong.is_err(), "{wrong:?}");
        }
    }
}
