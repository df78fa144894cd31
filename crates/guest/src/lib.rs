//! Process 1 of every compartment: slots, zygotes, sandboxes, limits, streams.
//!
//! The worker tells the guest over one stream to start zygotes and to make sandboxes; the guest places each
//! forked sandbox in a *slot* (a uid, a scratch directory, a cgroup), checks from outside that it is confined,
//! relays its frames, and afterwards kills and wipes all of it.
//!
//! Layout, in reading order: [`config`] is what the wall tells the guest; [`run`] is the event loop;
//! [`zygote_wire`] is what guest and zygote say to each other; [`serve`] is the zygote's loop (the Node addon calls it);
//! [`confine`] is what a forked child does to itself before its first line of tenant code; [`filter`] is the syscall
//! allow-list; [`stages`] is how all of this fails.
//!
//! Behind most walls somebody outside builds the place and starts the guest in it. In a virtual machine there is nobody:
//! the guest is the first program of its kernel, and [`machine`] builds the place from what [`parcel`] brings;
//! [`place`] is what both ways have in common.
//!
//! A kernel behind a wall may not offer everything: [`config::Lack`] is the whole list of what the guest then does in
//! another way. What is not declared there and fails is an error.
//!
//! Invariant: the guest knows nothing of Node.js, tenants or executions, and nothing that comes from a sandbox is
//! parsed beyond a frame's header.

#[cfg(all(any(feature = "weakened-seccomp", feature = "weakened-scratch"), not(debug_assertions)))]
compile_error!("the features `weakened-…` open the sandbox: they are for test builds alone");

pub mod config;
pub mod confine;
pub mod filter;
pub mod machine;
pub mod parcel;
pub mod place;
pub mod serve;
pub mod stages;
pub mod zygote_wire;

mod bundles;
mod children;
mod fdpass;
mod guest;
mod lids;
mod link;
mod pace;
mod reclaim;
mod sample;
mod sandbox;
mod slot;
mod spawn;
mod sys;
mod zygote;

pub use fdpass::{Received, receive, send};
pub use guest::{run, run_by};
pub use sys::exit_now;

/// A runtime image with this file in it has a hole on purpose: servers refuse it, and parts with a hole refuse any other.
pub const WEAKENED_MARK: &str = "/runtime/weakened";

/// File descriptors that the guest is started with.
pub mod fds {
    /// The stream to the worker.
    pub const STREAM: i32 = 3;
    /// The configuration, to be read to its end.
    pub const CONFIG: i32 = 4;
    /// The first of the slots' cgroup files.
    pub const SLOTS_FIRST: i32 = 16;
}
