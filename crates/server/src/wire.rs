//! Domain values as wire values.

use bulkhead_api as api;
use bulkhead_platform as platform;
use bulkhead_types::{Attempt, ErrorInfo, Execution, TimelineEvent, Timestamp, Usage, Version};
use serde_json::Value;

/// RFC 3339 in UTC, with milliseconds.
pub(crate) fn time(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.as_millis()) {
        Ok(time) => format!("{time:.3}"),
        // Beyond year 9999: no clock of ours says so, and a caller's "since" is not printed.
        Err(_) => "9999-12-31T23:59:59.999Z".to_owned(),
    }
}

fn error(error: &ErrorInfo) -> api::ErrorDetail {
    api::ErrorDetail {
        code: error.code.clone(),
        message: error.message.clone(),
        payload: error.payload.clone(),
        upstream: None,
    }
}

const fn usage(usage: Usage) -> api::Usage {
    api::Usage {
        wall_ms: usage.wall_ms,
        cpu_us: usage.cpu_us,
        memory_bytes_peak: usage.memory_bytes_peak,
        start_us: usage.start_us,
    }
}

pub(crate) fn execution(execution: &Execution) -> api::Execution {
    let trigger = serde_json::to_value(execution.trigger).ok();
    api::Execution {
        id: execution.id.to_string(),
        integration: execution.function.integration.to_string(),
        kind: execution.function.kind.as_str().to_owned(),
        function: execution.function.name.to_string(),
        version: execution.version.to_string(),
        connection_id: execution.connection.as_ref().map(ToString::to_string),
        trigger: trigger.and_then(|t| t.as_str().map(str::to_owned)).unwrap_or_default(),
        state: execution.state.as_str().to_owned(),
        attempts: execution.attempts,
        error: execution.error.as_ref().map(error),
        created_at: time(execution.created_at),
        started_at: execution.started_at.map(time),
        ended_at: execution.ended_at.map(time),
        usage: usage(execution.usage),
    }
}

pub(crate) fn attempt(attempt: Attempt) -> api::Attempt {
    api::Attempt {
        number: attempt.number,
        worker: attempt.worker.to_string(),
        leased_at: time(attempt.leased_at),
        started_at: attempt.started_at.map(time),
        ended_at: attempt.ended_at.map(time),
        outcome: attempt.outcome,
        error: attempt.error.as_ref().map(error),
        stack: attempt.error.and_then(|error| error.stack),
        usage: usage(attempt.usage),
        start: attempt.start,
        wall: attempt.wall,
    }
}

pub(crate) fn event(event: TimelineEvent) -> api::TimelineEvent {
    api::TimelineEvent {
        at: time(event.at),
        what: event.what,
        attempt: event.attempt,
        detail: event.detail,
    }
}

pub(crate) fn log_line(line: platform::LogEntry) -> api::LogLine {
    api::LogLine {
        seq: line.seq,
        at: time(line.at),
        attempt: line.attempt,
        level: line.level,
        message: line.message,
    }
}

fn change(change: platform::Change) -> api::Change {
    let kind = serde_json::to_value(change.change).ok();
    api::Change {
        change: kind.and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default(),
        integration: change.integration.to_string(),
        kind: change.kind.as_str().to_owned(),
        name: change.name.to_string(),
        details: change.details,
    }
}

pub(crate) fn deployment(deployment: platform::Deployment) -> api::Deployment {
    api::Deployment {
        created_at: deployment.id.as_ref().map(|_| time(deployment.created_at)),
        id: deployment.id.map(String::from),
        changes: deployment.changes.into_iter().map(change).collect(),
    }
}

pub(crate) fn function(version: &Version) -> api::Function {
    api::Function {
        integration: version.spec.integration.to_string(),
        kind: version.spec.kind.as_str().to_owned(),
        name: version.spec.name.to_string(),
        version: version.id.to_string(),
        spec: serde_json::to_value(&version.spec).unwrap_or(Value::Null),
    }
}

pub(crate) fn sync(sync: platform::SyncStatus) -> api::Sync {
    api::Sync {
        integration: sync.integration.to_string(),
        name: sync.name.to_string(),
        connection_id: sync.connection.map(String::from),
        frequency: sync.frequency,
        paused: sync.paused,
        next_at: sync.next_at.map(time),
        last_execution_id: sync.last_execution.map(String::from),
    }
}

pub(crate) fn integration(integration: platform::Integration) -> api::Integration {
    let settings = integration.settings;
    let mut webhook = serde_json::to_value(&settings.webhook).unwrap_or(Value::Null);
    if let Some(fields) = webhook.as_object_mut() {
        fields.remove("secret");
        fields.insert("has_secret".to_owned(), integration.has_webhook_secret.into());
        fields.extend(
            integration.verify_token.map(|token| ("verify_token".to_owned(), token.into())),
        );
    }
    let mut auth = serde_json::to_value(&settings.auth).unwrap_or(Value::Null);
    if let Some(fields) = auth.as_object_mut().filter(|_| settings.auth.mode.oauth2().is_some()) {
        fields.remove("client_secret");
        fields.insert("has_client_secret".to_owned(), integration.has_client_secret.into());
    }
    api::Integration {
        unique_key: integration.id.to_string(),
        provider: settings.provider,
        display_name: settings.display_name,
        base_url: settings.base_url,
        auth,
        webhook,
        rate_limit: settings.rate_limit.map(|limit| {
            let platform::RateLimit { requests, per_s } = limit;
            api::RateLimit { requests, per_s }
        }),
        created_at: time(integration.created_at),
    }
}

pub(crate) fn connection(connection: platform::Connection) -> api::Connection {
    api::Connection {
        connection_id: connection.id.to_string(),
        integration: connection.integration.to_string(),
        metadata: connection.metadata,
        connection_config: connection.config.into_iter().collect(),
        failure: connection.failure.and_then(|failure| serde_json::to_value(failure).ok()),
        created_at: time(connection.created_at),
        updated_at: time(connection.updated_at),
    }
}

pub(crate) fn tenant(tenant: platform::Tenant, share: bulkhead_engine::Share) -> api::Tenant {
    let rule = |rule| serde_json::to_value(rule).unwrap_or_default();
    api::Tenant {
        egress: tenant.settings.egress.into_iter().map(rule).collect(),
        id: tenant.id.to_string(),
        display_name: tenant.settings.display_name,
        wall_floor: tenant.settings.wall_floor.map(|wall| wall.as_str().to_owned()),
        records: api::RecordSettings {
            encrypted: tenant.settings.records.encrypted,
            retention: retention_out(tenant.settings.records.retention),
            models: tenant
                .settings
                .records
                .models
                .into_iter()
                .map(|(model, kept)| (model, retention_out(kept)))
                .collect(),
        },
        created_at: time(tenant.created_at),
        share: api::TenantShare {
            weight: share.limits.weight,
            running_max: share.limits.running_max,
            queued_max: share.limits.queued_max,
            paused: share.paused,
            queued: share.queued,
            held: share.held,
            waiting: share.waiting,
            running: share.running,
        },
    }
}

fn retention_out(kept: platform::RecordRetention) -> api::RecordRetention {
    let platform::RecordRetention { unchanged_days, deleted_days } = kept;
    api::RecordRetention { unchanged_days, deleted_days }
}

fn retention_in(said: api::RecordRetention) -> platform::RecordRetention {
    let api::RecordRetention { unchanged_days, deleted_days } = said;
    platform::RecordRetention { unchanged_days, deleted_days }
}

pub(crate) fn record_settings(said: api::RecordSettings) -> platform::RecordSettings {
    platform::RecordSettings {
        encrypted: said.encrypted,
        retention: retention_in(said.retention),
        models: said.models.into_iter().map(|(model, kept)| (model, retention_in(kept))).collect(),
    }
}

pub(crate) fn model_count(counts: platform::ModelCounts) -> api::ModelCount {
    api::ModelCount {
        integration: counts.integration,
        model: counts.model,
        count: counts.present,
        deleted: counts.deleted,
        cursor: counts.cursor,
    }
}

pub(crate) fn key(key: platform::KeyInfo) -> api::Key {
    api::Key { id: key.id, label: key.label, created_at: time(key.created_at) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_utc() {
        assert_eq!(time(Timestamp::from_millis(1_000)), "1970-01-01T00:00:01.000Z");
        assert_eq!(time(Timestamp::from_millis(i64::MAX)), "9999-12-31T23:59:59.999Z");
    }
}
