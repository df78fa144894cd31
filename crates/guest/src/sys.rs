//! The few system calls that no safe crate wraps. Each wrapper is a line or two; nothing is decided here.
#![allow(
    unsafe_code,
    reason = "the only file of the guest with unsafe code: no safe crate wraps these calls"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};

/// A process id.
pub(crate) type RawPid = i32;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Forks through libc, so that its fork handlers run. Returns 0 in the child.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn fork() -> io::Result<RawPid> {
    // SAFETY: guest and zygote fork with exactly one thread, so the child never waits for a lock that a thread
    // which does not exist in it holds.
    check(unsafe { libc::fork() })
}

/// Leaves at once, without exit handlers: in a forked child these belong to the parent.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` touches no memory of the process.
    unsafe { libc::_exit(status) }
}

/// Makes V8's heap part of what forks inherit: V8 marks its mappings `MADV_DONTFORK`, and a child without them dies on
/// its first heap access. Once is enough for a process that runs no JavaScript any more.
///
/// # Errors
/// When the maps can't be read.
pub(crate) fn inherit_heap() -> io::Result<()> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    for line in maps.lines() {
        if let Some((from, length)) = private_mapping(line) {
            // SAFETY: MADV_DOFORK changes what a fork copies, never the contents or the protection of memory, and
            // the range was just listed by the kernel. A mapping that went away meanwhile gives ENOMEM, which is
            // of no matter: there is nothing left to inherit.
            unsafe { libc::madvise(from as *mut libc::c_void, length, libc::MADV_DOFORK) };
        }
    }
    Ok(())
}

fn private_mapping(line: &str) -> Option<(usize, usize)> {
    let (range, rest) = line.split_once(' ')?;
    if rest.as_bytes().get(3) != Some(&b'p') || rest.contains("[v") {
        return None;
    }
    let (from, to) = range.split_once('-')?;
    let from = usize::from_str_radix(from, 16).ok()?;
    let to = usize::from_str_radix(to, 16).ok()?;
    Some((from, to.checked_sub(from)?))
}

/// A process that ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exited {
    /// Which.
    pub(crate) pid: i32,
    /// How.
    pub(crate) status: WaitStatus,
    /// CPU time of it and of those it waited for, microseconds.
    pub(crate) cpu_us: u64,
    /// Peak resident memory, bytes.
    pub(crate) memory_bytes_peak: u64,
}

/// A status as `wait(2)` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaitStatus(pub(crate) i32);

impl WaitStatus {
    /// The exit status, if it left by itself.
    #[must_use]
    pub(crate) fn exited(self) -> Option<i32> {
        libc::WIFEXITED(self.0).then(|| libc::WEXITSTATUS(self.0))
    }

    /// The signal that ended it.
    #[must_use]
    pub(crate) fn signal(self) -> Option<i32> {
        libc::WIFSIGNALED(self.0).then(|| libc::WTERMSIG(self.0))
    }
}

/// Reaps one child that has ended; `pid` of -1 is any. `None` when there is none at present.
///
/// # Errors
/// None but those of `wait4(2)`; "no child" is `None`.
pub(crate) fn reap_one(pid: i32) -> io::Result<Option<Exited>> {
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value of that plain C struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals of the types that wait4 fills in.
    let got = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) };
    match check(got) {
        Ok(0) => Ok(None),
        Ok(pid) => Ok(Some(Exited {
            pid,
            status: WaitStatus(status),
            cpu_us: micros(usage.ru_utime) + micros(usage.ru_stime),
            memory_bytes_peak: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
        })),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        Err(error) => Err(error),
    }
}

fn micros(time: libc::timeval) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0)
}

/// Waits until a descriptor has something to read, at most so long. Whoever reads finds out which it was.
pub(crate) fn await_readable(fd: BorrowedFd<'_>, wait: std::time::Duration) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let wait = Timespec::try_from(wait).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&wait)).ok();
}

/// CPU time of a process, microseconds: of all its threads, and of the children that it waited for. `None` when it
/// is gone.
pub(crate) fn cpu_us_of(pid: RawPid) -> Option<u64> {
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both pointers are to live locals of the types that the calls fill in; the clock is used only if the
    // first call set it.
    let got = unsafe {
        libc::clock_getcpuclockid(pid, &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    let of_children = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| children_ticks(&stat))
        .map_or(0, |ticks| ticks.saturating_mul(1_000_000 / TICKS_PER_SECOND));
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_nsec / 1_000).unwrap_or(0);
    got.then(|| seconds * 1_000_000 + micros + of_children)
}

/// The kernel's USER_HZ on x86-64, in which `/proc/PID/stat` counts: proc(5).
const TICKS_PER_SECOND: u64 = 100;

/// `cutime` and `cstime`, the 16th and 17th field. The second is a name in parentheses, which may hold any byte.
fn children_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(13);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// Waits for one child.
pub(crate) fn wait_for(pid: RawPid) -> io::Result<WaitStatus> {
    let mut status = 0;
    loop {
        // SAFETY: the pointer is to a live local of the type that waitpid fills in.
        match check(unsafe { libc::waitpid(pid, &raw mut status, 0) }) {
            Ok(_) => return Ok(WaitStatus(status)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Takes a uid and gid for good: real, effective and saved, and no supplementary groups.
pub(crate) fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: setgroups with a count of 0 reads nothing from the pointer.
    check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: plain integers.
    check(unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: plain integers.
    check(unsafe { libc::setresuid(uid, uid, uid) })?;
    Ok(())
}

/// Takes `uid` to act with and `own` to be known by, without supplementary groups.
pub(crate) fn become_killer(own: u32, uid: u32) -> io::Result<()> {
    // SAFETY: setgroups with a count of 0 reads nothing from the pointer.
    check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: plain integers.
    check(unsafe { libc::setresgid(own, own, own) })?;
    // SAFETY: plain integers.
    check(unsafe { libc::setresuid(own, uid, own) })?;
    Ok(())
}

/// Sets a resource limit, soft and hard alike.
pub(crate) fn limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    limits(resource, value, value)
}

/// Checks that somebody has set a resource limit to this, soft and hard alike.
pub(crate) fn is_limited_to(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: u64::MAX, rlim_max: u64::MAX };
    // SAFETY: the pointer is to a live local of the type that getrlimit fills in.
    check(unsafe { libc::getrlimit(resource, &raw mut limit) })?;
    if limit.rlim_cur == value && limit.rlim_max == value {
        return Ok(());
    }
    Err(io::Error::other(format!("limit {resource} is {}, not {value}", limit.rlim_max)))
}

/// Sets a resource limit.
pub(crate) fn limits(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the pointer is to a live local of the type that setrlimit reads.
    check(unsafe { libc::setrlimit(resource, &raw const limit) })?;
    Ok(())
}

/// Enters a new user namespace, and if asked a network and an IPC namespace that belong to it; the caller has one
/// thread.
pub(crate) fn unshare_user(own_network: bool) -> io::Result<()> {
    let network = if own_network { libc::CLONE_NEWNET | libc::CLONE_NEWIPC } else { 0 };
    // SAFETY: these flags change credentials and what sockets see; file descriptors and memory stay shared with
    // nobody, since the caller has one thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER | network) })?;
    Ok(())
}

/// Enters a new mount namespace, with what the caller's own user namespace allows.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: CLONE_NEWNS changes what paths mean to the caller, which has one thread; memory stays as it is.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    Ok(())
}

/// Enters a mount, a network and an IPC namespace of the caller's own.
pub(crate) fn unshare_for_zygote() -> io::Result<()> {
    let apart = libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC;
    // SAFETY: these flags change what paths and sockets' names mean to the caller, which has one thread; memory and
    // descriptors stay as they are.
    check(unsafe { libc::unshare(apart) })?;
    Ok(())
}

/// Waits until any of the descriptors is readable or hung up, `at_most` so long; says which.
///
/// # Errors
/// Those of `poll(2)`, but for interruptions.
pub(crate) fn poll_readable(
    fds: &[BorrowedFd<'_>],
    at_most: Option<std::time::Duration>,
) -> io::Result<Vec<bool>> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let at_most = at_most.and_then(|wait| Timespec::try_from(wait).ok());
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    match poll(&mut polled, at_most.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect())
}

/// Makes `from` appear as descriptor `to`, not closed on exec.
pub(crate) fn place(from: RawFd, to: RawFd) -> io::Result<()> {
    if from == to {
        // SAFETY: fcntl on a number; F_SETFD takes an integer.
        check(unsafe { libc::fcntl(from, libc::F_SETFD, 0) })?;
        return Ok(());
    }
    // SAFETY: whatever `to` was is given up on purpose: callers pass the fixed numbers of a new process.
    check(unsafe { libc::dup2(from, to) })?;
    Ok(())
}

/// Makes `to` the same as `from`, closed on exec, if it is still open.
pub(crate) fn replace(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: what `to` was is given up on purpose, and it stays open: nobody's descriptor changes its owner.
    check(unsafe { libc::dup3(from, to, libc::O_CLOEXEC) })?;
    Ok(())
}

/// The numbers of all open descriptors.
pub(crate) fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open("/proc/self/fd", flags, Mode::empty())?;
    let mut numbers = Vec::new();
    for entry in rustix::fs::Dir::read_from(&dir)? {
        numbers
            .extend(entry?.file_name().to_str().ok().and_then(|name| name.parse::<RawFd>().ok()));
    }
    // Reading opened a copy of the directory, which is closed again by now.
    numbers.retain(|fd| *fd != dir.as_raw_fd() && rustix::io::fcntl_getfd(borrowed(*fd)).is_ok());
    Ok(numbers)
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: only called right before exec or in a fresh child that keeps no handle to those descriptors.
    // No descriptor is above i32::MAX, and gVisor's kernel takes no range beyond it.
    check(unsafe { libc::close_range(first, i32::MAX.unsigned_abs(), 0) })?;
    Ok(())
}

/// Closes a descriptor that the process was started with.
pub(crate) fn close(fd: RawFd) -> io::Result<()> {
    // SAFETY: called once, with one of `fds` that nothing keeps a handle to: `borrowed` ends with its statement.
    check(unsafe { libc::close(fd) })?;
    Ok(())
}

/// A descriptor by its number, for as long as the process keeps it.
pub(crate) fn borrowed(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: used for the descriptors the guest is started with; it never closes those.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Kills every process that this one may signal, but itself and process 1.
pub(crate) fn kill_all() -> io::Result<()> {
    // SAFETY: plain integers.
    match check(unsafe { libc::kill(-1, libc::SIGKILL) }) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
        _ => Ok(()),
    }
}

/// Kills one process; one that is gone already is as good.
pub(crate) fn kill(pid: RawPid) -> io::Result<()> {
    // SAFETY: plain integers; a positive id names one process, and the guest has not reaped it yet.
    match check(unsafe { libc::kill(pid, libc::SIGKILL) }) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
        _ => Ok(()),
    }
}

/// A descriptor that becomes readable when a child ends.
pub(crate) fn child_events() -> io::Result<OwnedFd> {
    // SAFETY: an all-zero signal set is a valid value; sigemptyset and sigaddset fill it in.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointers are to that live local.
    unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
    }
    // SAFETY: as above; a null old set is allowed.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) })?;
    // SAFETY: as above; the result is checked before it is owned.
    let fd = check(unsafe {
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    })?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes what waits on [`child_events`]' descriptor.
pub(crate) fn drain_child_events(fd: &OwnedFd) -> io::Result<()> {
    let mut buffer = [0_u8; 1024];
    match rustix::io::read(fd, &mut buffer) {
        Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Lets every signal through again, in a new process that inherited the guest's mask.
pub(crate) fn unblock_signals() -> io::Result<()> {
    // SAFETY: an all-zero signal set is a valid value, and sigemptyset makes it the empty one.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointers are to that live local; a null old set is allowed.
    check(unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_time_of_waited_for_children_is_found_behind_any_name() {
        let fields: Vec<String> = (3..=20).map(|n| n.to_string()).collect();
        let stat = format!("7 (a) b (c)) {}", fields.join(" "));
        assert_eq!(children_ticks(&stat), Some(16 + 17));
        assert_eq!(children_ticks("7 (node"), None);
    }

    #[test]
    fn only_private_mappings_are_made_inheritable() {
        let check = |line| private_mapping(line);
        assert_eq!(check("1000-3000 rw-p 00000000 00:00 0 "), Some((0x1000, 0x2000)));
        assert_eq!(check("1000-3000 rw-s 00000000 00:00 0 "), None);
        assert_eq!(check("7fff000-7fff100 r-xp 00000000 00:00 0 [vdso]"), None);
        assert_eq!(check(""), None);
        assert_eq!(check("3000-1000 rw-p 0"), None);
    }
}
