//! Starting a zygote: from a fork of the guest to its program, with every privilege gone on the way.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use bulkhead_protocol::{GuestError, ZygoteSpec};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::CapabilitySet;

use crate::bundles::{self, Lodging};
use crate::fdpass;
use crate::filter::{self, Filters};
use crate::sys::{self, RawPid};
use crate::zygote_wire::{FromZygote, ToZygote, ZYGOTE_FD};

/// A zygote that was started.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: RawPid,
    pub(crate) control: OwnedFd,
    pub(crate) output: OwnedFd,
}

/// Starts a zygote. What fails after the fork is told over its control socket.
pub(crate) fn zygote(
    spec: &ZygoteSpec,
    lodging: &Lodging,
    filters: &Filters,
    setup: &ToZygote,
) -> Result<Spawned, GuestError> {
    let failed = |error: String| GuestError { stage: "spawn".to_owned(), message: error };
    let (control, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|error| failed(error.to_string()))?;
    let (output, their_output) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.to_string()))?;
    let setup = serde_json::to_vec(setup).map_err(|error| failed(error.to_string()))?;
    let pid = sys::fork().map_err(|error| failed(error.to_string()))?;
    if pid == 0 {
        become_zygote(spec, lodging, filters, &theirs, &their_output);
    }
    // It loads nothing before it was told what is allowed, and by then it is where its memory is counted.
    if let Some(join) = lodging.join {
        let joined = rustix::io::pwrite(sys::borrowed(join), pid.to_string().as_bytes(), 0);
        if let Err(error) = joined {
            sys::kill(pid).map_err(|error| failed(error.to_string()))?;
            return Err(GuestError { stage: "cgroup".to_owned(), message: error.to_string() });
        }
    }
    fdpass::send(&control, &setup, &[]).map_err(|error| failed(error.to_string()))?;
    for fd in [&control, &output] {
        rustix::io::ioctl_fionbio(fd, true).map_err(|error| failed(error.to_string()))?;
    }
    Ok(Spawned { pid, control, output })
}

fn become_zygote(
    spec: &ZygoteSpec,
    lodging: &Lodging,
    filters: &Filters,
    control: &OwnedFd,
    output: &OwnedFd,
) -> ! {
    let error = stages(spec, lodging, filters, control, output);
    let told = serde_json::to_vec(&FromZygote::Failed(error)).unwrap_or_default();
    // By now the control socket is at its place if that stage was reached, else where it was.
    if fdpass::send(sys::borrowed(ZYGOTE_FD), &told, &[]).is_err() {
        sys::exit_now(126);
    }
    sys::exit_now(127)
}

/// Runs the program. Returns only when something failed, with the stage.
fn stages(
    spec: &ZygoteSpec,
    lodging: &Lodging,
    filters: &Filters,
    control: &OwnedFd,
    output: &OwnedFd,
) -> GuestError {
    let done = (|| {
        stage("descriptors", descriptors(control, output))?;
        if let Some(own) = &lodging.bundles {
            stage("bundles", bundles::show_alone(own))?;
        }
        stage("signals", sys::unblock_signals())?;
        stage("session", rustix::process::setsid())?;
        stage("bounding_set", drop_bounding_set())?;
        stage("uid", sys::become_user(lodging.uid, lodging.uid))?;
        stage("rlimits", sys::limit(libc::RLIMIT_CORE, 0))?;
        stage("no_new_privs", rustix::thread::set_no_new_privs(true))?;
        stage("seccomp", filter::apply(filters))
    })();
    match (done, spec.argv.split_first()) {
        (Err(error), _) => error,
        (Ok(()), None) => GuestError { stage: "exec".to_owned(), message: "no program".to_owned() },
        (Ok(()), Some((program, arguments))) => {
            let environment = spec.env.iter().map(|(name, value)| (name, value));
            #[allow(
                clippy::disallowed_methods,
                reason = "starting zygotes is what the guest is for"
            )]
            let error = Command::new(program).args(arguments).env_clear().envs(environment).exec();
            GuestError { stage: "exec".to_owned(), message: format!("{program}: {error}") }
        }
    }
}

fn stage<T, E: std::fmt::Display>(name: &str, result: Result<T, E>) -> Result<(), GuestError> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => Err(GuestError { stage: name.to_owned(), message: error.to_string() }),
    }
}

fn descriptors(control: &OwnedFd, output: &OwnedFd) -> std::io::Result<()> {
    // Copies above the fixed numbers, which are then given away; the originals are closed with all the rest.
    let high = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 10);
    let low = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())?;
    let (null, control, output) = (high(&low)?, high(control)?, high(output)?);
    drop(low);
    sys::place(null.as_raw_fd(), 0)?;
    sys::place(output.as_raw_fd(), 1)?;
    sys::place(output.as_raw_fd(), 2)?;
    sys::place(control.as_raw_fd(), ZYGOTE_FD)?;
    std::mem::forget((null, control, output));
    sys::close_from(4)
}

fn drop_bounding_set() -> rustix::io::Result<()> {
    for capability in CapabilitySet::all().iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
