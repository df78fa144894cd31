//! HTTP routes, authentication, error mapping, webhook ingress.
//!
//! Layout, from the socket inwards: [`serve`] accepts connections under limits; `router` makes a router from the
//! API's table of routes; `gate` is what every request passes (slot, deadline, key, body limit, panics); `extract`
//! reads bodies, queries and names; then one file per noun, and `worker` for what workers on other machines say. `wire` turns domain values into wire values, `error`
//! turns every failure into the one shape.
//!
//! Invariant: no SQL and no decisions here. A handler reads a request, calls the platform or the engine once or
//! twice, and answers; whose request it is comes from its key, never from its body.

mod actions;
mod app;
mod connect;
mod connections;
mod deployments;
mod egress;
mod error;
mod executions;
mod extract;
mod fields;
mod gate;
mod integrations;
mod limits;
mod listen;
mod logs;
mod notifications;
mod ops;
mod proxy;
mod records;
mod router;
mod syncs;
mod tenants;
mod turns;
mod upload;
mod webhooks;
mod wire;
mod worker;
mod workers;

pub use app::{App, AppOptions, RequestCounts};
pub use error::ApiError;
pub use listen::serve;
pub use router::router;
