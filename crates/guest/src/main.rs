//! The guest's program: see the library.

fn main() -> std::process::ExitCode {
    match bulkhead_guest::run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(_) => std::process::ExitCode::FAILURE,
    }
}
