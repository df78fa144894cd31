//! Exit codes, as documented in `bulkhead --help`.

use bulkhead_client::ClientError;
use bulkhead_config::ConfigError;

/// All went well.
pub(crate) const DONE: u8 = 0;
/// What was asked for did not go well: the server said no, or the execution failed.
pub(crate) const FAILED: u8 = 1;
// 2 is clap's, for a command line that can't be read.
/// The settings can't be understood.
pub(crate) const SETTINGS: u8 = 3;
/// The server can't be reached.
pub(crate) const UNREACHABLE: u8 = 4;

/// For `--help`.
pub(crate) const HELP: &str = "Exit codes: 0 done; 1 what was asked for did not go well; 2 the command line can't be \
    read; 3 the settings can't be understood; 4 the server can't be reached.\n\
    Data goes to standard output, everything for people to standard error.";

/// The exit code for an error.
pub(crate) fn code_of(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<ConfigError>().is_some() {
        return SETTINGS;
    }
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Unreachable { .. } | ClientError::TimedOut { .. }) => UNREACHABLE,
        Some(ClientError::Url(_) | ClientError::Tls(_)) => SETTINGS,
        _ => FAILED,
    }
}
