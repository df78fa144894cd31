//! Where a sandbox may connect: policy (pure) and gateway.
//!
//! A connection goes through four values: the text a function gave → [`Host`] (one normal form for every way to
//! write it) → the addresses it resolves to → a [`Verdict`] for **each** address → a connection to exactly an
//! address that was judged. So it does not matter how a target is spelled or what a name server answers: judged is
//! where the packets would go.
//!
//! Layout: [`Host`] reads host texts, [`class`] says what kind of address one is, [`Policy`] decides, [`Gateway`]
//! carries out, [`HttpClient`] sends the platform's own requests through it, [`Body`] and [`Upload`] are bodies that are not held.
//!
//! Invariant: this crate knows no executions, tenants' names or credentials; and nothing here dials an address
//! that a policy did not judge.

mod body;
mod class;
mod client;
mod connector;
mod gateway;
mod host;
mod policy;
mod resolve;

pub use body::{Body, BodyLimits, Upload, UploadError};
pub use class::{AddressClass, class, embedded};
pub use client::{HttpClient, SendError};
pub use connector::{ConnectRefused, GatewayConnector, HttpsGatewayConnector, https_connector};
pub use gateway::{Family, Gateway, GatewayLimits};
pub use host::{Host, HostError};
pub use policy::{Effect, HostPattern, Policy, PolicyError, PortRange, Rule, Verdict};
pub use resolve::{FixedResolver, Resolve, ResolveError, SystemResolver, local_addresses};
