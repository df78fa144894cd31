//! The start of what needs root. One short sequence, before the process has a second thread:
//! data directory → launcher (which keeps root) → drop to the unprivileged user. Each step fails closed.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use bulkhead_config::{Config, User};
use bulkhead_wall_process::kind::Kind;
use bulkhead_wall_process::launcher::{self, Holes, LauncherConfig, LauncherHandle};
use bulkhead_wall_process::{Process, privileges};
use rustix::fs::Mode;
use rustix::process::{Gid, Uid};

/// What the privileged start leaves behind.
pub(crate) struct Privileged {
    /// The way to the launcher.
    pub(crate) launcher: LauncherHandle,
}

/// Starts the launcher, then gives root away. `instance` names this server among those of the machine, the same
/// at every start, so that a start cleans up what a killed predecessor left.
pub(crate) fn begin(config: &Config, instance: &str) -> anyhow::Result<Privileged> {
    begin_with(config, instance, Holes::Refused)
}

/// The same, also from a runtime image with a hole in it: for the audit alone.
pub(crate) fn begin_with(
    config: &Config,
    instance: &str,
    holes: Holes,
) -> anyhow::Result<Privileged> {
    prepare(config)?;
    let rootfs = config.runtime_dir.join("rootfs");
    let instance = instance.to_owned();
    let bundles = config.data_dir.clone();
    let walls = walls(&config.runtime_dir);
    let launcher = launcher::start(LauncherConfig { rootfs, bundles, holes, instance, walls })?;
    become_user(config.user)?;
    Ok(Privileged { launcher })
}

/// The walls that a launcher builds on this machine. Another one is another line here; one that needs no launcher is
/// added in [`crate::walls`].
fn walls(runtime: &Path) -> Vec<Box<dyn Kind>> {
    let mut walls: Vec<Box<dyn Kind>> = vec![Box::new(Process)];
    if let Some(gvisor) = bulkhead_wall_gvisor::Gvisor::find() {
        walls.push(Box::new(gvisor));
    }
    for microvm in bulkhead_wall_microvm::Microvm::find(runtime) {
        walls.push(Box::new(microvm));
    }
    walls
}

/// The same for a server that builds no compartments: nothing keeps root.
pub(crate) fn drop_root(config: &Config) -> anyhow::Result<()> {
    prepare(config)?;
    become_user(config.user)
}

fn prepare(config: &Config) -> anyhow::Result<()> {
    // Nobody else reads database and keys; what others must read is opened up where it is written.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    own_data_dir(&config.data_dir, config.user)
}

fn become_user(user: User) -> anyhow::Result<()> {
    match user {
        User::Ids { uid, gid } => Ok(privileges::drop_to(uid, gid)?),
        User::AsStarted => Ok(()),
        // Said again in the log, once there is one.
        User::Off => Ok(()),
    }
}

/// The instance name of the server that owns a data directory.
pub(crate) fn instance_of(data_dir: &Path) -> String {
    use sha2::Digest as _;
    let path = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
    let hash = sha2::Sha256::digest(path.as_os_str().as_encoded_bytes());
    format!("srv-{}", hex::encode(&hash[..6]))
}

/// Makes the data directory for the user who will work in it. One that exists must be that user's already: handing
/// over what somebody else put there is the operator's decision.
fn own_data_dir(path: &Path, user: User) -> anyhow::Result<()> {
    let shown = path.display();
    let made = match std::fs::metadata(path) {
        Ok(_) => false,
        Err(_) => {
            // Others may pass through to bundles, and list nothing.
            let mut builder = std::fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o711)
                .create(path)
                .with_context(|| format!("can't make {shown}"))?;
            true
        }
    };
    let User::Ids { uid, gid } = user else { return Ok(()) };
    if made {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chown(path, Some(uid), Some(gid))
            .with_context(|| format!("can't give {shown} away"))?;
        return rustix::fs::chmod(path, Mode::from_raw_mode(0o711))
            .with_context(|| format!("can't set the mode of {shown}"));
    }
    let owner = std::fs::metadata(path).with_context(|| format!("can't look at {shown}"))?.uid();
    if owner != uid {
        bail!(
            "{shown} belongs to uid {owner}, and the server becomes uid {uid}: \
             chown -R {uid}:{gid} it, or choose another `data_dir` or `user`"
        );
    }
    Ok(())
}
