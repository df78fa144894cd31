//! Giving up root, for the part of the server that speaks HTTP, SQL and TLS.

use bulkhead_wall::WallError;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::sys;

/// Becomes `uid` and `gid` for good, without supplementary groups, capabilities, or a way to new ones. To be called
/// after [`crate::launcher::start`] and before the process has a second thread.
///
/// # Errors
/// When any of it can't be done or can still be undone.
pub fn drop_to(uid: u32, gid: u32) -> Result<(), WallError> {
    let failed = |error: String| WallError::new("privileges", error);
    if uid == 0 || gid == 0 {
        return Err(failed("root is no unprivileged user".to_owned()));
    }
    sys::become_user(uid, gid).map_err(|error| failed(error.to_string()))?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).map_err(|error| failed(error.to_string()))?;
    rustix::thread::set_no_new_privs(true).map_err(|error| failed(error.to_string()))?;
    if sys::become_user(0, 0).is_ok() {
        return Err(failed("root could be had back".to_owned()));
    }
    Ok(())
}
