//! Chores of this repository: `cargo xtask build`, `image`, `sim`, `crash`, `tidy`, `weaken`.
//!
//! - [`build`] makes what a server needs: the binary and the runtime image.
//! - [`image`] assembles the runtime image, the read-only root of every compartment.
//! - [`sim`] runs seeds of the simulator; [`crash`] kills real processes under load.
//! - [`weaken`] makes holes into walls on purpose, and sees the audit fail.
//! - [`tidy`] holds the repository to the rules that no compiler checks; its tests run with all others.
//!
//! Invariant: nothing here is part of the product; no other crate depends on it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore talks to the person who started it"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "chores start cargo, node and ldd, and read the environment"
)]

mod build;
mod crash;
mod image;
mod sim;
mod tidy;
mod weaken;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::{Profile, Workspace};

#[derive(Parser)]
#[command(about = "Chores of the Bulkhead repository")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build the binary and the runtime image.
    Build {
        /// Cargo's profile.
        #[arg(long, value_enum, default_value_t = Profile::Release)]
        profile: Profile,
    },
    /// Build guest, fork addon and harness, and assemble the runtime image from them.
    Image {
        /// Cargo's profile.
        #[arg(long, value_enum, default_value_t = Profile::Release)]
        profile: Profile,
    },
    /// Run seeds of the simulator (`crates/sim`), or replay one: `cargo xtask sim --help`.
    #[command(disable_help_flag = true)]
    Sim {
        /// What `bulkhead-sim` takes: `--seeds N --from S`, or `--seed S`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Make holes into walls on purpose, as root, and see the audit's cases fail that aim there.
    Weaken {
        /// Which holes; all of them if none is said.
        #[arg(value_parser = weaken::names())]
        holes: Vec<String>,
    },
    /// Kill servers, workers and the database in the middle of a load, then check what they left. As root.
    Crash(crash::Crash),
    /// Check the rules that no compiler checks.
    Tidy,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: &Chore) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match chore {
        Chore::Build { profile } => build::everything(&workspace, *profile),
        Chore::Image { profile } => {
            let parts = build::parts(&workspace, *profile)?;
            image::assemble(&workspace, &parts)
        }
        Chore::Sim { arguments } => sim::run(&workspace, arguments),
        Chore::Weaken { holes } => weaken::run(&workspace, holes),
        Chore::Crash(crash) => crash::run(&workspace, crash),
        Chore::Tidy => tidy::check(&workspace),
    }
}
