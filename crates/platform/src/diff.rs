//! What a deployment changes. Pure.

use bulkhead_types::{FunctionKey, FunctionSpec, Version};

use crate::deploy::Live;
use crate::model::{Change, ChangeKind};

/// The difference between what is live and what is to be, by function.
pub(crate) fn diff(before: &Live, after: &Live) -> Vec<Change> {
    let gone = before.keys().filter(|key| !after.contains_key(key));
    let mut changes: Vec<_> = gone.map(|key| change(key, ChangeKind::Removed, vec![])).collect();
    for (key, version) in after {
        match before.get(key) {
            None => changes.push(change(key, ChangeKind::Added, vec![])),
            Some(old) if old.id != version.id => {
                changes.push(change(key, ChangeKind::Changed, details(old, version)));
            }
            Some(_) => {}
        }
    }
    changes
        .sort_by(|a, b| (&a.integration, a.kind, &a.name).cmp(&(&b.integration, b.kind, &b.name)));
    changes
}

/// How many functions are removed.
pub(crate) fn removed(changes: &[Change]) -> usize {
    changes.iter().filter(|change| change.change == ChangeKind::Removed).count()
}

fn change(key: &FunctionKey, change: ChangeKind, details: Vec<String>) -> Change {
    let FunctionKey { integration, kind, name, .. } = key.clone();
    Change { change, integration, kind, name, details }
}

fn details(old: &Version, new: &Version) -> Vec<String> {
    let mut details = Vec::new();
    if old.bundle != new.bundle {
        details.push("bundle".to_owned());
    }
    let (FunctionSpec { frequency: was, .. }, FunctionSpec { frequency: is, .. }) =
        (&old.spec, &new.spec);
    if was != is {
        let shown =
            |frequency: &Option<String>| frequency.clone().unwrap_or_else(|| "never".to_owned());
        details.push(format!("frequency: {} → {}", shown(was), shown(is)));
    }
    for (what, same) in [
        ("description", old.spec.description == new.spec.description),
        ("auto_start", old.spec.auto_start == new.spec.auto_start),
        ("schedule", old.spec.schedule == new.spec.schedule),
        ("concurrency", old.spec.concurrency == new.spec.concurrency),
        ("event", old.spec.event == new.spec.event),
        ("webhook_subscriptions", old.spec.webhook_subscriptions == new.spec.webhook_subscriptions),
        ("models", old.spec.models == new.spec.models),
        ("input", old.spec.input_schema == new.spec.input_schema),
        ("output", old.spec.output_schema == new.spec.output_schema),
        ("checkpoint", old.spec.checkpoint_schema == new.spec.checkpoint_schema),
        ("limits", old.spec.limits == new.spec.limits),
        ("retry", old.spec.retry == new.spec.retry),
        ("uses", old.spec.uses == new.spec.uses),
        ("isolation", old.spec.isolation == new.spec.isolation),
        ("wall", old.spec.wall == new.spec.wall),
    ] {
        if !same {
            details.push(what.to_owned());
        }
    }
    details
}
