//! One cgroup (v2) for each slot, one for each zygote where there is room for several, and one for the guest.

use std::io;
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};

use crate::config::{BASE_MEMORY_MIB, GuestConfig, SlotCgroup, SlotConfig, ZygotePlace};
use crate::parcel::Head;

/// Where the hierarchy is mounted.
pub(super) const TOP: &str = "/cgroup";

/// Processes and threads of a zygote, with the sandboxes that are being forked and have not joined their slot yet.
const ZYGOTE_TASKS_MAX: u64 = 256;

/// Builds them and opens their files, by which alone they are used later.
pub(super) fn build(head: &Head) -> io::Result<GuestConfig> {
    let top = Path::new(TOP);
    for controller in ["+memory", "+pids"] {
        write(&top.join("cgroup.subtree_control"), controller)?;
    }
    std::fs::create_dir(top.join("base"))?;
    write(&top.join("base/cgroup.procs"), "0")?;
    let slots = head.guest.slots.iter().enumerate();
    let slots: io::Result<Vec<SlotConfig>> = slots
        .map(|(number, slot)| Ok(SlotConfig { cgroup: one(head, number)?, ..slot.clone() }))
        .collect();
    let zygotes: io::Result<Vec<ZygotePlace>> = (0..head.zygotes).map(of_zygote).collect();
    Ok(GuestConfig { slots: slots?, zygotes: zygotes?, ..head.guest.clone() })
}

fn of_zygote(number: u32) -> io::Result<ZygotePlace> {
    let path = Path::new(TOP).join(format!("z{number}"));
    std::fs::create_dir(&path)?;
    write(&path.join("memory.max"), &(BASE_MEMORY_MIB << 20).to_string())?;
    write(&path.join("pids.max"), &ZYGOTE_TASKS_MAX.to_string())?;
    Ok(ZygotePlace { join: open(&path.join("cgroup.procs"), true)? })
}

fn one(head: &Head, number: usize) -> io::Result<SlotCgroup> {
    let name = format!("s{number}");
    let path = Path::new(TOP).join(&name);
    std::fs::create_dir(&path)?;
    write(&path.join("memory.max"), &(head.memory_mib << 20).to_string())?;
    write(&path.join("pids.max"), &head.tasks.to_string())?;
    Ok(SlotCgroup {
        name,
        join: vec![open(&path.join("cgroup.procs"), true)?],
        memory_peak: Some(open(&path.join("memory.peak"), true)?),
        memory_events: Some(open(&path.join("memory.events"), false)?),
        pids_events: Some(open(&path.join("pids.events"), false)?),
    })
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    std::fs::write(path, text).map_err(|error| named(path, &error))
}

/// Stays open for as long as the machine runs.
fn open(path: &Path, to_write: bool) -> io::Result<i32> {
    let file = std::fs::OpenOptions::new().read(true).write(to_write).open(path);
    file.map(IntoRawFd::into_raw_fd).map_err(|error| named(path, &error))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", PathBuf::from(path).display()))
}
