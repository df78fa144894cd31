//! Which of a tenant's executions comes first. A class is a head start in time: whoever has waited for longer than
//! the difference of two head starts goes first whatever its class. So ageing needs no sweep, and the order is one
//! index: the smallest rank.

use std::time::Duration;

use bulkhead_types::{FunctionKind, Timestamp, Trigger};

/// How urgent an execution is; the first is the most urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Somebody waits for the answer.
    Action,
    /// A provider's webhook, answered already.
    Webhook,
    /// Something happened to a connection.
    Event,
    /// Scheduled, long.
    Sync,
}

impl Class {
    /// The class of an execution. A sync's handler for webhooks is as urgent as any webhook.
    #[must_use]
    pub const fn of(kind: FunctionKind, trigger: Trigger) -> Self {
        match (kind, trigger) {
            (FunctionKind::Action, _) => Self::Action,
            (FunctionKind::Webhook, _) | (FunctionKind::Sync, Trigger::Webhook) => Self::Webhook,
            (FunctionKind::Event, _) => Self::Event,
            (FunctionKind::Sync, _) => Self::Sync,
        }
    }

    /// How much longer than an action it waits.
    #[must_use]
    pub const fn handicap(self) -> Duration {
        match self {
            Self::Action => Duration::ZERO,
            Self::Webhook => Duration::from_secs(2),
            Self::Event => Duration::from_secs(10),
            Self::Sync => Duration::from_secs(30),
        }
    }
}

/// The place of an execution that became runnable at `ready_at` among those of its tenant; the smallest is first.
#[must_use]
pub fn rank(class: Class, ready_at: Timestamp) -> Timestamp {
    ready_at.after(class.handicap())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_classes_go_first_until_others_have_waited_for_long() {
        let at = |class, seconds: i64| {
            (rank(class, Timestamp::from_millis(seconds * 1_000)), class, seconds)
        };
        let mut queue = [
            at(Class::Sync, 0),
            at(Class::Event, 0),
            at(Class::Webhook, 0),
            at(Class::Action, 0),
            at(Class::Action, 5),
            at(Class::Action, 29),
            at(Class::Action, 31),
        ];
        queue.sort();
        let order: Vec<String> =
            queue.iter().map(|(_, class, s)| format!("{class:?}@{s}")).collect();
        insta::assert_snapshot!(
            order.join(" "),
            @"Action@0 Webhook@0 Action@5 Event@0 Action@29 Sync@0 Action@31"
        );
    }

    #[test]
    fn the_webhook_handler_of_a_sync_is_a_webhook() {
        assert_eq!(Class::of(FunctionKind::Sync, Trigger::Webhook), Class::Webhook);
        assert_eq!(Class::of(FunctionKind::Sync, Trigger::Schedule), Class::Sync);
        assert_eq!(Class::of(FunctionKind::Action, Trigger::Schedule), Class::Action);
    }
}
