//! Schedules of syncs: which there should be follows from what is live, the connections there are, and what was set
//! for one of them. They are brought in line after every change, and once at start.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_engine::{EngineError, Frequency, Schedule, ScheduleKey, ScheduleSpec};
use bulkhead_store::catalog;
use bulkhead_types::{
    ConnectionId, FunctionKey, FunctionKind, FunctionName, FunctionSpec, IntegrationId, TenantId,
};

use crate::error::PlatformError;
use crate::model::{FunctionInfo, SyncStatus};
use crate::platform::Platform;
use crate::run::sync_key;

/// Connections looked at in one go.
const CONNECTIONS_AT_ONCE: usize = 200;

/// What should be done about the schedule of one sync for one connection. Pure.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Should {
    Be(String),
    NotBe,
    Stay,
}

fn should(declared: Option<&str>, set: Option<&str>, auto_start: bool, exists: bool) -> Should {
    match set.or(declared) {
        None => Should::NotBe,
        Some(frequency) if exists || auto_start => Should::Be(frequency.to_owned()),
        Some(_) => Should::Stay,
    }
}

type Settings = BTreeMap<(IntegrationId, FunctionName, ConnectionId), String>;

impl Platform {
    /// Brings a tenant's schedules in line with what is live and which connections there are. Doing it twice does
    /// nothing more.
    pub(crate) async fn align_schedules(&self, tenant: &TenantId) -> Result<(), PlatformError> {
        let syncs = self.live_syncs(tenant).await?;
        let settings = self.sync_settings(tenant).await?;
        let mut stale: BTreeSet<ScheduleKey> =
            self.engine.schedules(tenant).await?.into_iter().map(|schedule| schedule.key).collect();
        let existing = stale.clone();
        for sync in &syncs {
            let integration = &sync.version.spec.integration;
            let mut cursor: Option<String> = None;
            loop {
                let limit = CONNECTIONS_AT_ONCE;
                let page =
                    self.connections(tenant, Some(integration), cursor.as_deref(), limit).await?;
                for connection in &page.connections {
                    let key = schedule_key(sync, &connection.id);
                    stale.remove(&key);
                    self.align(sync, key.clone(), existing.contains(&key), &settings).await?;
                }
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
        }
        for key in stale.into_iter().filter(|key| key.function.kind == FunctionKind::Sync) {
            self.engine.remove_schedule(&key).await?;
        }
        Ok(())
    }

    /// As [`Self::align_schedules`], for one connection.
    pub(crate) async fn align_schedules_of(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        connection: &ConnectionId,
    ) -> Result<(), PlatformError> {
        let settings = self.sync_settings(tenant).await?;
        for sync in self.live_syncs(tenant).await? {
            if sync.version.spec.integration == *integration {
                let key = schedule_key(&sync, connection);
                let exists = self.engine.schedule(&key).await?.is_some();
                self.align(&sync, key, exists, &settings).await?;
            }
        }
        Ok(())
    }

    async fn align(
        &self,
        sync: &FunctionInfo,
        key: ScheduleKey,
        exists: bool,
        settings: &Settings,
    ) -> Result<(), PlatformError> {
        let spec = &sync.version.spec;
        let connection = key.connection.clone();
        let set = connection
            .and_then(|id| settings.get(&(spec.integration.clone(), spec.name.clone(), id)));
        match should(spec.frequency.as_deref(), set.map(String::as_str), spec.auto_start, exists) {
            Should::Be(frequency) => {
                self.engine.put_schedule(schedule_spec(spec, key, frequency, true)).await?;
            }
            Should::NotBe if exists => {
                self.engine.remove_schedule(&key).await?;
            }
            Should::NotBe | Should::Stay => {}
        }
        Ok(())
    }

    /// Removes the schedules of a connection, and what was set for them.
    pub(crate) async fn remove_schedules_of(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        connection: &ConnectionId,
    ) -> Result<(), PlatformError> {
        for Schedule { key, .. } in self.engine.schedules(tenant).await? {
            if key.function.integration == *integration
                && key.connection.as_ref() == Some(connection)
            {
                self.engine.remove_schedule(&key).await?;
            }
        }
        let (of, to, id) = (tenant.clone(), integration.clone(), connection.clone());
        let work = move |tx: &_| catalog::remove_frequencies_of(tx, &of, &to, &id);
        Ok(self.db.write(move |tx| work(tx)).await?)
    }

    async fn live_syncs(&self, tenant: &TenantId) -> Result<Vec<FunctionInfo>, PlatformError> {
        let functions = self.functions(tenant).await?;
        Ok(functions
            .into_iter()
            .filter(|info| info.version.spec.kind == FunctionKind::Sync)
            .collect())
    }

    async fn sync_settings(&self, tenant: &TenantId) -> Result<Settings, PlatformError> {
        let of = tenant.clone();
        let rows = self.db.read(move |db| catalog::frequencies(db, &of)).await?;
        Ok(rows
            .into_iter()
            .map(|(integration, name, id, text)| ((integration, name, id), text))
            .collect())
    }

    /// Lets a sync's schedule for a connection rest. What runs already goes on.
    ///
    /// # Errors
    /// `sync_not_scheduled`; when the store fails.
    pub async fn pause_sync(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        name: &FunctionName,
        connection: &ConnectionId,
    ) -> Result<(), PlatformError> {
        let function = sync_key(tenant, integration, name);
        let key = ScheduleKey { function, connection: Some(connection.clone()) };
        match self.engine.pause(&key).await {
            Ok(_) => Ok(()),
            Err(EngineError::ScheduleNotFound) => Err(not_scheduled(name, connection)),
            Err(error) => Err(error.into()),
        }
    }

    /// Wakes a sync's schedule for a connection, or makes it.
    ///
    /// # Errors
    /// `function_not_found`, `connection_not_found`, `sync_not_scheduled` when neither the function nor the
    /// connection says how often; when the store fails.
    pub async fn resume_sync(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        name: &FunctionName,
        connection: &ConnectionId,
    ) -> Result<(), PlatformError> {
        let function = sync_key(tenant, integration, name);
        let version = self.live_version(&function).await?;
        self.connection(tenant, Some(integration), connection).await?;
        let key = ScheduleKey { function, connection: Some(connection.clone()) };
        match self.engine.resume(&key).await {
            Ok(_) => return Ok(()),
            Err(EngineError::ScheduleNotFound) => {}
            Err(error) => return Err(error.into()),
        }
        let settings = self.sync_settings(tenant).await?;
        let set = settings.get(&(integration.clone(), name.clone(), connection.clone()));
        let frequency = set
            .or(version.spec.frequency.as_ref())
            .ok_or_else(|| not_scheduled(name, connection))?;
        let spec = schedule_spec(&version.spec, key, frequency.clone(), true);
        self.engine.put_schedule(spec).await?;
        Ok(())
    }

    /// Sets how often a sync runs for a connection; `None` goes back to what the function declares.
    ///
    /// # Errors
    /// `invalid_frequency`, `function_not_found`, `connection_not_found`, `sync_not_scheduled` when nothing is left
    /// that says how often; when the store fails.
    pub async fn set_frequency(
        &self,
        tenant: &TenantId,
        integration: &IntegrationId,
        name: &FunctionName,
        connection: &ConnectionId,
        frequency: Option<&str>,
    ) -> Result<(), PlatformError> {
        if let Some(frequency) = frequency {
            Frequency::parse(frequency).map_err(EngineError::from)?;
        }
        let function = sync_key(tenant, integration, name);
        let version = self.live_version(&function).await?;
        self.connection(tenant, Some(integration), connection).await?;
        let (of, to, sync, id) =
            (tenant.clone(), integration.clone(), name.clone(), connection.clone());
        let set = frequency.map(ToOwned::to_owned);
        let work = move |tx: &_| catalog::put_frequency(tx, &of, (&to, &sync, &id), set.as_deref());
        self.db.write(move |tx| work(tx)).await?;
        let frequency = frequency.or(version.spec.frequency.as_deref());
        let frequency = frequency.ok_or_else(|| not_scheduled(name, connection))?.to_owned();
        let key = ScheduleKey { function, connection: Some(connection.clone()) };
        let spec = schedule_spec(&version.spec, key, frequency, false);
        self.engine.put_schedule(spec).await?;
        Ok(())
    }

    /// Every live sync, with each connection that it is scheduled for; one that is scheduled for none is listed
    /// once, without.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn syncs(&self, tenant: &TenantId) -> Result<Vec<SyncStatus>, PlatformError> {
        let mut schedules: BTreeMap<FunctionKey, Vec<Schedule>> = BTreeMap::new();
        for schedule in self.engine.schedules(tenant).await? {
            schedules.entry(schedule.key.function.clone()).or_default().push(schedule);
        }
        let mut listed = Vec::new();
        for sync in self.live_syncs(tenant).await? {
            let scheduled = schedules.remove(&sync.version.function()).unwrap_or_default();
            if scheduled.is_empty() {
                listed.push(status(&sync, None));
            }
            listed.extend(scheduled.into_iter().map(|schedule| status(&sync, Some(schedule))));
        }
        Ok(listed)
    }
}

fn status(sync: &FunctionInfo, schedule: Option<Schedule>) -> SyncStatus {
    let spec = &sync.version.spec;
    let none = SyncStatus {
        integration: spec.integration.clone(),
        name: spec.name.clone(),
        version: sync.version.id.clone(),
        connection: None,
        frequency: spec.frequency.clone(),
        paused: false,
        next_at: None,
        last_execution: None,
    };
    let Some(schedule) = schedule else { return none };
    SyncStatus {
        connection: schedule.key.connection,
        frequency: Some(schedule.frequency),
        paused: schedule.paused,
        next_at: (!schedule.paused).then_some(schedule.next_at),
        last_execution: schedule.last_execution,
        ..none
    }
}

fn schedule_key(sync: &FunctionInfo, connection: &ConnectionId) -> ScheduleKey {
    ScheduleKey { function: sync.version.function(), connection: Some(connection.clone()) }
}

fn schedule_spec(
    declared: &FunctionSpec,
    key: ScheduleKey,
    frequency: String,
    first_at_once: bool,
) -> ScheduleSpec {
    ScheduleSpec { key, frequency, options: declared.schedule, paused: false, first_at_once }
}

fn not_scheduled(name: &FunctionName, connection: &ConnectionId) -> PlatformError {
    let message =
        format!("sync {name} has no schedule for connection {connection}: set a frequency first");
    PlatformError::not_found("sync_not_scheduled", message)
}

#[cfg(test)]
mod tests {
    use super::{Should, should};

    #[test]
    fn a_schedule_follows_from_what_was_declared_and_set() {
        let be = |text: &str| Should::Be(text.to_owned());
        let table = [
            // declared, set, auto start, exists
            ((Some("every 5m"), None, true, false), be("every 5m")),
            ((Some("every 5m"), None, false, false), Should::Stay),
            ((Some("every 5m"), None, false, true), be("every 5m")),
            ((Some("every 5m"), Some("every 1h"), true, true), be("every 1h")),
            ((None, Some("every 1h"), false, true), be("every 1h")),
            ((None, None, true, true), Should::NotBe),
        ];
        for ((declared, set, auto_start, exists), expected) in table {
            assert_eq!(should(declared, set, auto_start, exists), expected);
        }
    }
}
