//! Node addon `fork.node`: turns a loaded Node.js process into a zygote whose forks are sandboxes.
//!
//! `serve()` blocks, forks on request and returns in the child only; `failed(stage, message)` tells the guest that
//! the bundle does not load; `exit(status)` leaves without Node's teardown, which would join threads that do not
//! exist in a fork. `docs/protocol.md`, "Zygote", is the contract.
//!
//! Invariant: nothing of this survives into the author's code but `exit`: the harness keeps the object to itself.

mod napi;
