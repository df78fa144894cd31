//! The guest's program: see the library.

use std::io::Write as _;

/// As the kernel of a virtual machine calls its first program.
const INIT: &str = "/init";

fn main() -> std::process::ExitCode {
    #[allow(clippy::disallowed_methods, reason = "its own name, which the kernel gave it")]
    let is_init = std::env::args_os().next().is_some_and(|name| name == INIT);
    let done = if is_init { bulkhead_guest::machine::run() } else { bulkhead_guest::run() };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            // Where the wall reads it; to a machine's wall it was said through a port.
            writeln!(std::io::stderr(), "guest: {error}").ok();
            std::process::ExitCode::FAILURE
        }
    }
}
