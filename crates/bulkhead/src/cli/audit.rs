//! What can be typed after `bulkhead audit`.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Only this wall: process, gvisor or microvm; may be said again.
    #[arg(long = "wall", value_name = "WALL", value_parser = ["process", "gvisor", "microvm"])]
    pub(crate) walls: Vec<String>,
    /// Only this case, such as F01; may be said again.
    #[arg(long = "case", value_name = "ID")]
    pub(crate) cases: Vec<String>,
    /// Let sandboxes reach every port of loopback, to see cases fail: N04 and N05 have to.
    #[arg(long, hide = true)]
    pub(crate) weaken_egress: bool,
    /// Use a runtime image that has a hole in it on purpose: to see that the audit notices.
    #[arg(long, hide = true)]
    pub(crate) weakened_image: bool,
    /// Audit this wall in this process, for the process that started it.
    #[arg(long, hide = true, value_name = "WALL")]
    pub(crate) behind: Option<String>,
}
