//! Where a sandbox may connect: policy (pure) and gateway.
//!
//! A connection goes through four values: the text a function gave → [`Host`] (one normal form for every way to
//! write it) → the addresses it resolves to → a [`Verdict`] for **each** address → a connection to exactly an
//! address that was judged. So it does not matter how a target is spelled or what a name server answers: judged is
//! where the packets would go.
//!
//! Layout: [`Host`] reads host texts, [`class`] says what kind of address one is, [`Rule`] and [`Policy`] decide,
//! [`Gateway`] carries out, [`NameCheck`] holds a TLS hello against the name that was asked for, [`Explanation`] says what
//! would happen and why, [`HttpClient`] sends the platform's own requests through the gateway,
//! [`Body`] and [`Upload`] are bodies that are not held.
//!
//! Invariant: this crate knows no executions, tenants' names or credentials; and nothing here dials an address
//! that a policy did not judge.

#[cfg(feature = "gateway")]
mod body;
mod class;
#[cfg(feature = "gateway")]
mod client;
#[cfg(feature = "gateway")]
mod connector;
#[cfg(feature = "gateway")]
mod explain;
#[cfg(feature = "gateway")]
mod gateway;
mod host;
mod policy;
#[cfg(feature = "gateway")]
mod resolve;
mod rule;
mod tls;

#[cfg(feature = "gateway")]
pub use body::{Body, BodyLimits, Upload, UploadError};
pub use class::{AddressClass, class, embedded};
#[cfg(feature = "gateway")]
pub use client::{HttpClient, SendError};
#[cfg(feature = "gateway")]
pub use connector::{ConnectRefused, GatewayConnector, HttpsGatewayConnector, https_connector};
#[cfg(feature = "gateway")]
pub use explain::{AddressExplained, Explanation, Resolved, Step};
#[cfg(feature = "gateway")]
pub use gateway::{Dialled, Family, Gateway, GatewayLimits};
pub use host::{Host, HostError};
pub use policy::{Level, Look, Policy, Seen, Verdict};
#[cfg(feature = "gateway")]
pub use resolve::{FixedResolver, Resolve, ResolveError, SystemResolver, local_addresses};
pub use rule::{Effect, HostPattern, PolicyError, PortRange, RULES_MAX, Rule};
pub use tls::{HELLO_WAIT, Hello, HelloError, HelloReader, NameCheck};
