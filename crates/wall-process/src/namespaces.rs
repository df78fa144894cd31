//! Namespaces, and the user in them.
//!
//! The compartment's mount, process, network, IPC, host-name and cgroup namespaces belong to the **host's** user
//! namespace: they are made first, as the host's root. Only then does process 1 enter a user namespace, whose root
//! therefore has no say over any of them: it can't mount, change the network, or leave. Rejected: making the user
//! namespace first, as rootless containers must; that would hand its root the kernel code behind `mount` and
//! network configuration.

use std::io;

use crate::sys;

pub use bulkhead_guest::place::{SLOT_UID_FIRST, ZYGOTE_UID};

/// Uids and gids in a compartment.
pub(crate) const UIDS: u32 = 1 << 16;

/// The first host uid used. No user database hands these out: `useradd` and systemd stay below 2³¹ − 2²⁸.
const HOST_UID_FIRST: u32 = 0x7000_0000;

/// Compartments that can exist at the same time: what fits between the first uid and 2³¹.
pub(crate) const COMPARTMENTS_MAX: u32 = (0x8000_0000 - HOST_UID_FIRST) / UIDS;

/// Namespaces that process 1 is born into.
pub(crate) const AT_BIRTH: libc::c_int = libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// The host uid of root in the compartment with this place among those that exist.
pub(crate) fn host_uid(place: u32) -> u32 {
    HOST_UID_FIRST + place * UIDS
}

/// The line for `uid_map` and `gid_map`.
pub(crate) fn mapping(place: u32) -> String {
    format!("0 {} {UIDS}\n", host_uid(place))
}

/// Enters the user namespace; the mapping comes from outside afterwards.
///
/// # Errors
/// Those of `unshare(2)`.
pub fn enter_user_namespace() -> io::Result<()> {
    sys::unshare(libc::CLONE_NEWUSER)
}

/// Becomes root of the user namespace, with no capability but those the guest needs.
pub(crate) fn become_guest() -> io::Result<()> {
    sys::become_user(0, 0)?;
    bulkhead_guest::place::keep_capabilities()
}
