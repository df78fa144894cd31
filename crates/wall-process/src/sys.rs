//! The few system calls that no safe crate wraps. Nothing is decided here.
#![allow(
    unsafe_code,
    reason = "the only file of this crate with unsafe code: no safe crate wraps these calls"
)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Forks into new namespaces; the child is process 1 of a new process-id namespace. Returns 0 in the child.
pub(crate) fn clone_into(namespaces: libc::c_int) -> io::Result<i32> {
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD);
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: without CLONE_VM the child has a copy of memory, as after fork; with a null stack it goes on on the
    // copied one. The launcher has one thread, so no lock is held by anybody who is missing in the child.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(pid).unwrap_or(-1)) }
}

/// Forks. Returns 0 in the child.
pub(crate) fn fork() -> io::Result<i32> {
    // SAFETY: called before the process has a second thread (`launcher::start` checks that).
    check(unsafe { libc::fork() })
}

/// Leaves without exit handlers.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` touches no memory of the process.
    unsafe { libc::_exit(status) }
}

/// Moves the calling process into new namespaces; it has one thread.
///
/// # Errors
/// Those of `unshare(2)`.
pub fn unshare(namespaces: libc::c_int) -> io::Result<()> {
    // SAFETY: no memory is involved; with one thread nothing is shared with anybody who could be surprised.
    check(unsafe { libc::unshare(namespaces) }).map(drop)
}

/// Takes a uid and gid for good, on every thread of the process (libc sees to that), without supplementary groups.
///
/// # Errors
/// Those of the system calls.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: setgroups with a count of 0 reads nothing from the pointer.
    check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: plain integers.
    check(unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: plain integers.
    check(unsafe { libc::setresuid(uid, uid, uid) }).map(drop)
}

/// Sets a resource limit, soft and hard alike.
///
/// # Errors
/// Those of `setrlimit(2)`.
pub fn limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the pointer is to a live local of the type that setrlimit reads.
    check(unsafe { libc::setrlimit(resource, &raw const limit) }).map(drop)
}

/// Raises a resource limit to `value`, or to what the host allows if that is less: raising the hard limit would take
/// a capability that a container's root may lack.
///
/// # Errors
/// Those of the system calls.
pub fn limit_at_most(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live local of the type that getrlimit fills in.
    check(unsafe { libc::getrlimit(resource, &raw mut now) })?;
    limit(resource, value.min(now.rlim_max))
}

/// Moves a descriptor to a fixed number that survives exec.
///
/// # Errors
/// Those of `dup2(2)`.
pub fn place(from: OwnedFd, to: RawFd) -> io::Result<()> {
    if from.as_raw_fd() == to {
        // SAFETY: plain integers.
        check(unsafe { libc::fcntl(to, libc::F_SETFD, 0) })?;
        std::mem::forget(from);
        return Ok(());
    }
    // SAFETY: whatever `to` was is given up on purpose: the numbers are those the guest is started with.
    check(unsafe { libc::dup2(from.as_raw_fd(), to) }).map(drop)
}

/// Has the kernel kill this process when its parent, the launcher, ends.
///
/// # Errors
/// Those of `prctl(2)`.
pub fn die_with_launcher() -> io::Result<()> {
    // Cleared by every change of user, so it comes after those. A launcher that is gone by now has closed the
    // stream, and the guest leaves at its first read.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(())
}

/// Closes on exec every descriptor from `first` to `last`.
///
/// # Errors
/// Those of `close_range(2)`.
pub fn close_on_exec(first: u32, last: u32) -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
    // SAFETY: CLOSE_RANGE_CLOEXEC closes nothing, it only sets a flag.
    check(unsafe { libc::close_range(first, last, flags) }).map(drop)
}

/// Closes every descriptor but the standard ones and `keep`, which becomes 3.
pub(crate) fn keep_only(keep: OwnedFd) -> io::Result<OwnedFd> {
    place(keep, 3)?;
    // SAFETY: the launcher has just been forked and uses none of the descriptors it inherited.
    check(unsafe { libc::close_range(4, u32::MAX, 0) })?;
    // SAFETY: 3 is open, and nobody else in this process owns it: `place` gave it up.
    let kept = unsafe { OwnedFd::from_raw_fd(3) };
    rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::CLOEXEC)?;
    Ok(kept)
}

/// Whether a child has ended; it is reaped then.
pub(crate) fn has_ended(pid: i32) -> io::Result<bool> {
    let mut status = 0;
    // SAFETY: the pointer is to a live local of the type that waitpid fills in.
    match check(unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) }) {
        Ok(reaped) => Ok(reaped == pid),
        // Reaped before.
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Kills a child that has not been reaped.
pub(crate) fn kill(pid: i32) -> io::Result<()> {
    // SAFETY: plain integers.
    match check(unsafe { libc::kill(pid, libc::SIGKILL) }) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
        _ => Ok(()),
    }
}

/// How fast the processor's time stamp counter counts, kHz: what an emulated machine, which sees the same counter, is
/// told so that it need not measure it while this machine is busy.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "it measures a clock by another")]
pub fn time_stamp_khz() -> u64 {
    use std::time::{Duration, Instant};
    // SAFETY: every x86-64 processor has the instruction, and it touches no memory.
    let count = || unsafe { std::arch::x86_64::_rdtsc() };
    // Of several looks the one that nothing came between.
    let look = || {
        let looks = (0..16).map(|_| {
            let (before, counted) = (Instant::now(), count());
            (before.elapsed(), before, counted)
        });
        looks
            .min_by_key(|(took, ..)| *took)
            .map_or((Instant::now(), 0), |(_, at, counted)| (at, counted))
    };
    let (from, first) = look();
    std::thread::sleep(Duration::from_millis(20));
    let (to, last) = look();
    let nanoseconds = to.duration_since(from).as_nanos().max(1);
    u64::try_from(u128::from(last.wrapping_sub(first)) * 1_000_000 / nanoseconds).unwrap_or(0)
}
