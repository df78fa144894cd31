//! Settings: gathered raw from file, environment and flags, each with its origin, then resolved once into a
//! [`Config`] that the rest is handed. Parse → resolve → run.
//!
//! Layout: [`settings`] is the table of all settings; `sources` gathers their texts; `resolve` gives them their
//! meaning; `keys` keeps the operator's key; `show` prints what holds and why.
//!
//! Invariant: nobody else reads the environment or a settings file. A setting that can't be understood stops the
//! start, and the error names the setting and where it was said.

mod error;
mod keys;
mod resolve;
pub mod settings;
mod show;
mod sources;

pub use error::ConfigError;
pub use keys::{
    AdminKey, find_admin_key, find_worker_token, load_or_create_admin_key, read_secret_file,
};
pub use resolve::{Client, Config, EgressRule, Secret, Synchronous, Tools, User};
pub use show::{Shown, show};
pub use sources::{Origin, Raw, RawValue, Surroundings};
