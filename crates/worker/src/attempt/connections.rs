//! All egress connections of one attempt.

use std::collections::HashMap;
use std::sync::Arc;

use bulkhead_protocol::{Frame, Kind, OpenRequest, Refused};
use bulkhead_types::{Lease, Version};
use futures_util::future::BoxFuture;
use tokio::task::JoinSet;

use super::calls::{Done, sending_on};
use super::connection::{Connection, Ended, Inbox};
use crate::egress::Egress;
use crate::mux::Outgoing;

/// The connections. Dropping this breaks them all off.
pub(super) struct Connections {
    egress: Arc<dyn Egress>,
    lease: Arc<Lease>,
    version: Arc<Version>,
    out: Outgoing,
    open: HashMap<u32, Arc<Inbox>>,
    tasks: JoinSet<Ended>,
}

impl Connections {
    pub(super) fn new(
        egress: Arc<dyn Egress>,
        lease: Arc<Lease>,
        version: Arc<Version>,
        out: Outgoing,
    ) -> Self {
        Self { egress, lease, version, out, open: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Takes a frame of an egress channel. What is returned is to be sent.
    ///
    /// # Errors
    /// When the sandbox breaks the rules.
    pub(super) fn take(
        &mut self,
        frame: &Frame,
    ) -> Result<Option<BoxFuture<'static, Done>>, String> {
        if frame.more {
            return Err("a fragment on a connection".to_owned());
        }
        match (frame.kind, self.open.get(&frame.channel)) {
            (Kind::Open, Some(_)) => Err("a channel opened twice".to_owned()),
            (Kind::Open, None) => self.open(frame),
            (kind, Some(inbox)) => inbox.push(kind, &frame.payload).map(|()| None),
            // Closed from here while this was on its way.
            (Kind::Data | Kind::End | Kind::Reset | Kind::Window, None) => Ok(None),
            (kind, None) => Err(format!("{kind:?} on a connection")),
        }
    }

    fn open(&mut self, frame: &Frame) -> Result<Option<BoxFuture<'static, Done>>, String> {
        let request: OpenRequest = serde_json::from_slice(&frame.payload)
            .map_err(|error| format!("an open that is none: {error}"))?;
        let channel = frame.channel;
        let max = self.lease.limits.connections;
        if self.open.len() >= usize::try_from(max).unwrap_or(usize::MAX) {
            let message = format!("an attempt may have {max} connections open at the same time");
            let refused = Refused { code: "EMFILE".to_owned(), message, rule: None };
            let json = serde_json::to_vec(&refused).unwrap_or_default();
            return Ok(Some(sending_on(self.out.clone(), channel, Kind::Refused, json)));
        }
        let inbox: Arc<Inbox> = Arc::default();
        self.open.insert(channel, Arc::clone(&inbox));
        let connection = Connection { channel, out: self.out.clone(), inbox };
        let (egress, lease) = (Arc::clone(&self.egress), Arc::clone(&self.lease));
        self.tasks.spawn(connection.run(egress, lease, Arc::clone(&self.version), request));
        Ok(None)
    }

    /// Waits until one has ended; for ever when there is none.
    pub(super) async fn ended(&mut self) -> Ended {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(ended)) => {
                    self.open.remove(&ended.channel);
                    return ended;
                }
                // A panic of a connection's task: its channel stays taken until the attempt ends.
                Some(Err(error)) => tracing::error!(%error, "a connection's task failed"),
                None => std::future::pending().await,
            }
        }
    }
}
