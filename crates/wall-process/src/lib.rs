//! The process wall: namespaces, cgroups, seccomp, Landlock, mounts; and the launcher that keeps root.
//!
//! [`launcher::start`] forks the *launcher*, a small single-threaded program that stays root, has no network and
//! parses nothing of a tenant. The rest of the server drops its privileges ([`privileges::drop_to`]) and asks the
//! launcher over a socketpair to build and tear down compartments; [`ProcessWall`] is that as a `Wall`.
//!
//! Layout, in reading order: [`build`] lists the stages from a fork of the launcher to the guest, each stage in a
//! file named after the kernel facility ([`namespaces`], [`mounts`], [`cgroup`]); [`launcher`] is the loop;
//! `wall` is the asynchronous side; [`probe`] tells what this machine can do.
//!
//! Invariant: knows no tenants, no queues, and nothing of Node.js; a restriction that can't be applied is an error
//! that names its stage, and undoes what was built.

pub mod cgroup;
pub mod launcher;
pub mod privileges;
pub mod probe;

mod build;
mod mounts;
mod namespaces;
mod sys;
mod wall;
mod wire;

pub use wall::ProcessWall;
