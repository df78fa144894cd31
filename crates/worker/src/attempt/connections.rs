//! All egress connections of one attempt.

use std::collections::HashMap;
use std::sync::Arc;

use bulkhead_protocol::{Frame, Kind, OpenRequest, Refused};
use bulkhead_types::{Lease, Version};
use futures_util::future::BoxFuture;
use tokio::task::JoinSet;

use super::budget::{Denied, Rate, Traffic, over};
use super::calls::{Done, sending_on};
use super::connection::{Connection, Ended, Inbox};
use crate::clock::Monotonic;
use crate::egress::Egress;
use crate::mux::Outgoing;

/// The connections. Dropping this breaks them all off.
pub(super) struct Connections {
    egress: Arc<dyn Egress>,
    lease: Arc<Lease>,
    version: Arc<Version>,
    out: Outgoing,
    open: HashMap<u32, Arc<Inbox>>,
    rate: Rate,
    traffic: Traffic,
    tasks: JoinSet<Ended>,
}

impl Connections {
    pub(super) fn new(
        egress: Arc<dyn Egress>,
        lease: Arc<Lease>,
        version: Arc<Version>,
        out: Outgoing,
        clock: Arc<dyn Monotonic>,
    ) -> Self {
        let rate = Rate::new(clock, lease.limits.connections_per_minute);
        let traffic = Traffic::new(&lease);
        let (open, tasks) = (HashMap::new(), JoinSet::new());
        Self { egress, lease, version, out, open, rate, traffic, tasks }
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
        if let Some((rule, refused)) = self.refusal() {
            let denied = Denied::connection(&request.host, request.port, rule);
            let json = serde_json::to_vec(&refused).unwrap_or_default();
            let told = sending_on(self.out.clone(), channel, Kind::Refused, json);
            return Ok(Some(Box::pin(async move { told.await.with(denied) })));
        }
        let inbox: Arc<Inbox> = Arc::default();
        self.open.insert(channel, Arc::clone(&inbox));
        let (out, traffic) = (self.out.clone(), self.traffic.clone());
        let connection = Connection { channel, out, inbox, traffic };
        let (egress, lease) = (Arc::clone(&self.egress), Arc::clone(&self.lease));
        self.tasks.spawn(connection.run(egress, lease, Arc::clone(&self.version), request));
        Ok(None)
    }

    /// Why no more connections may be begun now.
    fn refusal(&mut self) -> Option<(&'static str, Refused)> {
        let limits = &self.lease.limits;
        let max = limits.connections;
        if self.open.len() >= usize::try_from(max).unwrap_or(usize::MAX) {
            let message = format!("an attempt may have {max} connections open at the same time");
            // As a program is told that has too many files open; it is no matter of policy.
            let refused = Refused { code: "EMFILE".to_owned(), message, rule: None };
            return Some(("limit.connections", refused));
        }
        if !self.rate.take() {
            let max = limits.connections_per_minute;
            let message = format!("an attempt may begin {max} connections within a minute");
            let rule = "limit.connections_per_minute";
            return Some((rule, over(rule, message)));
        }
        None
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
