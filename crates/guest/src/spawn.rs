//! Starting a zygote: from a fork of the guest to its program, with every privilege gone on the way.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use bulkhead_protocol::{GuestError, ZygoteSpec};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::CapabilitySet;

use crate::bundles::{self, Lodging};
use crate::fdpass;
use crate::filter::{self, Filters};
use crate::stages::{Run, Sequence, Stages};
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
    (filters, by): (&Filters, &dyn Stages),
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
    let run = Run { by, sequence: Sequence::Zygote };
    if pid == 0 {
        become_zygote(spec, lodging, (filters, run), &theirs, &their_output);
    }
    // It loads nothing before it was told what is allowed, and by then it is where its memory is counted.
    if let Err(error) = join(lodging, pid, run) {
        sys::kill(pid).map_err(|error| failed(error.to_string()))?;
        return Err(error);
    }
    fdpass::send(&control, &setup, &[]).map_err(|error| failed(error.to_string()))?;
    for fd in [&control, &output] {
        rustix::io::ioctl_fionbio(fd, true).map_err(|error| failed(error.to_string()))?;
    }
    Ok(Spawned { pid, control, output })
}

/// Puts it into its cgroup, where it has one to itself.
fn join(lodging: &Lodging, pid: RawPid, run: Run<'_>) -> Result<(), GuestError> {
    let Some(join) = lodging.join else { return Ok(()) };
    run.stage("cgroup", || {
        Ok(rustix::io::pwrite(sys::borrowed(join), pid.to_string().as_bytes(), 0).map(drop)?)
    })
}

fn become_zygote(
    spec: &ZygoteSpec,
    lodging: &Lodging,
    (filters, run): (&Filters, Run<'_>),
    control: &OwnedFd,
    output: &OwnedFd,
) -> ! {
    // Until the control socket is at its place, there is the guest's own stream to the worker.
    let placed = Cell::new(false);
    let place = || {
        descriptors(control, output)?;
        placed.set(true);
        Ok(())
    };
    let done = stages(lodging, filters, run, place);
    let error = done.err().unwrap_or_else(|| exec(spec));
    let told = serde_json::to_vec(&FromZygote::Failed(error)).unwrap_or_default();
    let control = if placed.get() { sys::borrowed(ZYGOTE_FD) } else { control.as_fd() };
    if fdpass::send(control, &told, &[]).is_err() {
        sys::exit_now(126);
    }
    sys::exit_now(127)
}

/// All that is closed before the program runs.
fn stages(
    lodging: &Lodging,
    filters: &Filters,
    run: Run<'_>,
    place: impl FnMut() -> io::Result<()>,
) -> Result<(), GuestError> {
    run.stage("descriptors", place)?;
    if let Some(own) = &lodging.bundles {
        run.stage("bundles", || bundles::show_alone(own))?;
    }
    run.stage("signals", sys::unblock_signals)?;
    run.stage("session", || Ok(rustix::process::setsid().map(drop)?))?;
    run.stage("bounding_set", || Ok(drop_bounding_set()?))?;
    run.stage("uid", || sys::become_user(lodging.uid, lodging.uid))?;
    run.stage("rlimits", || sys::limit(libc::RLIMIT_CORE, 0))?;
    run.stage("no_new_privs", || Ok(rustix::thread::set_no_new_privs(true)?))?;
    run.stage("seccomp", || filter::apply(filters).map_err(io::Error::other))
}

/// Runs the program; returns only when that failed.
fn exec(spec: &ZygoteSpec) -> GuestError {
    let failed = |message: String| GuestError { stage: "exec".to_owned(), message };
    let Some((program, arguments)) = spec.argv.split_first() else {
        return failed("no program".to_owned());
    };
    let environment = spec.env.iter().map(|(name, value)| (name, value));
    #[allow(clippy::disallowed_methods, reason = "starting zygotes is what the guest is for")]
    let error = Command::new(program).args(arguments).env_clear().envs(environment).exec();
    failed(format!("{program}: {error}"))
}

fn descriptors(control: &OwnedFd, output: &OwnedFd) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::filter::Who;
    use crate::stages::tests::each_that_fails_is_the_last;

    #[test]
    fn each_stage_that_fails_is_the_last_before_the_program() {
        let filters = filter::compile(Who::Zygote, &[]).unwrap();
        let names = |lodging: &Lodging| {
            let names = each_that_fails_is_the_last(|by| {
                let run = Run { by, sequence: Sequence::Zygote };
                stages(lodging, &filters, run, || Ok(()))?;
                join(lodging, 1, run)
            });
            names.join(" ")
        };
        let one = Lodging { uid: 500, bundles: None, join: None };
        assert_eq!(
            names(&one),
            "descriptors signals session bounding_set uid rlimits no_new_privs seccomp"
        );
        let several = Lodging { uid: 501, bundles: Some("/bundle/1".into()), join: Some(9) };
        assert_eq!(
            names(&several),
            "descriptors bundles signals session bounding_set uid rlimits no_new_privs seccomp cgroup"
        );
    }
}
