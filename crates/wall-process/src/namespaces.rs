//! Namespaces, and the user in them.
//!
//! The compartment's mount, process, network, IPC, host-name and cgroup namespaces belong to the **host's** user
//! namespace: they are made first, as the host's root. Only then does process 1 enter a user namespace, whose root
//! therefore has no say over any of them: it can't mount, change the network, or leave. Rejected: making the user
//! namespace first, as rootless containers must; that would hand its root the kernel code behind `mount` and
//! network configuration.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::sys;

/// Uids and gids in a compartment.
pub(crate) const UIDS: u32 = 1 << 16;

/// The first host uid used. No user database hands these out: `useradd` and systemd stay below 2³¹ − 2²⁸.
const HOST_UID_FIRST: u32 = 0x7000_0000;

/// Compartments that can exist at the same time: what fits between the first uid and 2³¹.
pub(crate) const COMPARTMENTS_MAX: u32 = (0x8000_0000 - HOST_UID_FIRST) / UIDS;

/// The uid of zygotes, inside.
pub const ZYGOTE_UID: u32 = 500;

/// The uid of the first slot, inside; the others follow.
pub const SLOT_UID_FIRST: u32 = 10_000;

/// Namespaces that process 1 is born into.
pub(crate) const AT_BIRTH: libc::c_int = libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// What the guest may still do, over its own user namespace only: give uids to zygotes and sandboxes, see, kill and
/// clean up after them.
fn kept() -> CapabilitySet {
    CapabilitySet::SETUID
        | CapabilitySet::SETGID
        | CapabilitySet::SETPCAP
        | CapabilitySet::KILL
        | CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::SYS_PTRACE
        // Writing the uid map of a child's user namespace needs this one.
        | CapabilitySet::SYS_ADMIN
}

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
    for capability in CapabilitySet::all().difference(kept()).iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // This kernel has no such capability, and so nobody holds it.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: kept(), permitted: kept(), inheritable: none };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::clear_ambient_capability_set()?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}
