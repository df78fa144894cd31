//! Records that syncs save: change detection, one cursor per stream that only grows, and deletes of what was not
//! seen again.
//!
//! A *stream* is the records of one model of one connection. Each change takes the stream's next cursor, so a
//! reader that asks for "after this cursor" misses nothing and sees each change once. Saving the same content
//! again changes nothing but when it was last seen: an attempt that is repeated after a crash leaves no trace.
//!
//! A *run* is what one sync remembers of a stream while it goes over it. It lives as long as the execution, over
//! all its attempts, and is handed on to the next execution if that one resumes from a checkpoint: otherwise
//! records that the earlier one saw before its checkpoint would look unseen, and be deleted though they exist. What a
//! sync's `onWebhook` writes meanwhile is a run of its own: see [`runner`].

mod bodies;
mod change;
mod read;
mod run;
mod upkeep;
mod write;

pub use bodies::{Bodies, InClear, Place, does_not_open};
pub use change::deep_merge;
pub use read::{Filter, PageOf, RecordRow, StreamCounts, by_ids, since, stream_counts};
pub use run::{Run, open_run, runner, set_keep_after, track_end, track_start};
pub use upkeep::{
    Expired, StreamRow, forget_ended_runs, remove_connection_records, remove_expired,
    remove_sync_records, reseal, streams,
};
pub use write::{Counts, delete, delete_unseen, save, update};

use bulkhead_types::{ConnectionId, IntegrationId, TenantId};

/// What names a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// Whose.
    pub tenant: TenantId,
    /// From which API.
    pub integration: IntegrationId,
    /// Of which connection.
    pub connection: ConnectionId,
    /// Which model.
    pub model: String,
}

#[cfg(test)]
mod tests;
