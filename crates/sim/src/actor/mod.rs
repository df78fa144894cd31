//! Who acts in a run: callers, workers, and the functions that workers run.

pub(crate) mod caller;
pub(crate) mod functions;
pub(crate) mod sync;
pub(crate) mod worker;
