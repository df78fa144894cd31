//! The launcher that keeps root, and the process wall: namespaces, cgroups, seccomp, Landlock, mounts.
//!
//! [`launcher::start`] forks the *launcher*, a small single-threaded program that stays root, has no network and
//! parses nothing of a tenant. The rest of the server drops its privileges ([`privileges::drop_to`]) and asks the
//! launcher over a socketpair to build and tear down compartments; [`LaunchedWall`] is that as a `Wall`.
//!
//! Layout, in reading order: `process` lists the stages from a fork of the launcher to the guest, each stage in a
//! file named after the kernel facility ([`namespaces`], [`mounts`], [`cgroup`]); [`build`] is what surrounds them;
//! [`kind`] is the seam for other walls that need root for their stages; [`launcher`] is the loop; `wall` is the
//! asynchronous side; [`probe`] tells what this machine can do.
//!
//! Invariant: knows no tenants, no queues, and nothing of Node.js; a restriction that can't be applied is an error
//! that names its stage, and undoes what was built.

pub mod build;
pub mod cgroup;
pub mod kind;
pub mod launcher;
pub mod mounts;
pub mod namespaces;
pub mod privileges;
pub mod probe;
pub mod sys;

mod process;
mod wall;
mod wire;

pub use process::Process;
pub use wall::{LaunchedWall, walls};
