//! Deploying: what would change is decided first (pure), then kept and made live in one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use bulkhead_egress::Rule;
use bulkhead_engine::Frequency;
use bulkhead_store::catalog::{self, DeploymentRow, LiveRow};
use bulkhead_store::{Conn, StoreError};
use bulkhead_types::{
    DeploymentId, FunctionKey, FunctionKind, FunctionSpec, TenantId, Timestamp, Version, VersionId,
};
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::blobs::{BUNDLE_BYTES_MAX, digest};
use crate::diff::{diff, removed};
use crate::error::PlatformError;
use crate::model::{Change, ChangeKind, DeployRequest, Deployment, FunctionInfo, FunctionUpload};
use crate::platform::{Deployed, Platform};
use crate::text::{from_text, to_text};

/// Functions of one deployment.
const FUNCTIONS_MAX: usize = 2_000;

/// Files kept at the same time.
const FILES_AT_ONCE: usize = 8;

/// Bytes of one source map.
const SOURCE_MAP_BYTES_MAX: usize = 64 << 20;

const DEPLOYMENTS_LISTED: usize = 100;

pub(crate) type Live = BTreeMap<FunctionKey, Version>;

/// What to do once it is known what is live.
struct Step {
    tenant: TenantId,
    /// `None` changes nothing.
    id: Option<DeploymentId>,
    allow_destructive: bool,
    now: Timestamp,
}

impl Platform {
    /// Makes a set of versions live, all at once.
    ///
    /// # Errors
    /// `invalid_spec`; `deployment_destructive`, with the changes as payload, when functions would be removed and
    /// that was not allowed; `tenant_not_found`; when the store or the disk fails.
    pub async fn deploy(
        &self,
        tenant: &TenantId,
        request: DeployRequest,
    ) -> Result<Deployment, PlatformError> {
        self.tenant(tenant).await?;
        let DeployRequest { functions, dry_run, allow_destructive, partial } = request;
        check(&functions)?;
        let wanted = self.versions_of(tenant, functions, dry_run).await?;
        let step = self.step(tenant, dry_run, allow_destructive);
        self.take(step, move |tx, tenant| {
            let mut after = if partial { versions_live(tx, tenant)? } else { Live::new() };
            after.extend(wanted.into_iter().map(|version| (version.function(), version)));
            Ok(after)
        })
        .await
    }

    /// Makes live again what was live after a deployment, as a new deployment.
    ///
    /// # Errors
    /// `deployment_not_found`; when the store fails.
    pub async fn rollback(
        &self,
        tenant: &TenantId,
        to: &DeploymentId,
    ) -> Result<Deployment, PlatformError> {
        let (step, to) = (self.step(tenant, false, true), to.clone());
        self.take(step, move |tx, tenant| {
            let Some(rows) = catalog::deployed(tx, tenant, &to)? else {
                let message = format!("tenant {tenant} has no deployment {to}");
                return Err(PlatformError::not_found("deployment_not_found", message));
            };
            load(tx, tenant, rows)
        })
        .await
    }

    fn step(&self, tenant: &TenantId, dry_run: bool, allow_destructive: bool) -> Step {
        let now = self.now();
        let id = (!dry_run).then(|| DeploymentId::generate(now, self.entropy.as_ref()));
        Step { tenant: tenant.clone(), id, allow_destructive, now }
    }

    /// Decides `after` in a transaction, carries it out there, and lets schedules follow.
    async fn take(
        &self,
        step: Step,
        decide: impl FnOnce(&Conn, &TenantId) -> Result<Live, PlatformError> + Send + 'static,
    ) -> Result<Deployment, PlatformError> {
        let (tenant, id, created_at) = (step.tenant.clone(), step.id.clone(), step.now);
        let work = move |tx: &Conn| {
            let before = versions_live(tx, &step.tenant)?;
            let after = decide(tx, &step.tenant)?;
            carry_out(tx, &step, &before, &after)
        };
        let changes = self.db.write(work).await?;
        if id.is_some() {
            self.caches.changed();
            self.align_limits(&tenant).await?;
            self.align_schedules(&tenant).await?;
            self.tell_deployed(&tenant, &changes);
        }
        Ok(Deployment { id, created_at, changes })
    }

    fn tell_deployed(&self, tenant: &TenantId, changes: &[Change]) {
        let live = changes.iter().filter(|change| change.change != ChangeKind::Removed);
        let key = |change: &Change| {
            let Change { integration, kind, name, .. } = change.clone();
            FunctionKey { tenant: tenant.clone(), integration, kind, name }
        };
        // An error means that nobody listens: a server without a worker of its own.
        self.deployed.send(Arc::new(Deployed { functions: live.map(key).collect() })).ok();
    }

    /// The newest deployments, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn deployments(&self, tenant: &TenantId) -> Result<Vec<Deployment>, PlatformError> {
        let tenant = tenant.clone();
        let rows =
            self.db.read(move |db| catalog::deployments(db, &tenant, DEPLOYMENTS_LISTED)).await?;
        let shown = |row: DeploymentRow| {
            let changes = from_text("deployments", &row.changes)?;
            Ok(Deployment { id: Some(row.id), created_at: row.created_at, changes })
        };
        rows.into_iter().map(shown).collect()
    }

    /// What is live, by integration, kind and name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn functions(&self, tenant: &TenantId) -> Result<Vec<FunctionInfo>, PlatformError> {
        let tenant = tenant.clone();
        self.db
            .read(move |db| {
                let rows = catalog::live(db, &tenant)?;
                let info = |row: LiveRow| {
                    let version = catalog::version(db, &tenant, &row.version)?;
                    Ok(version.map(|version| FunctionInfo { version, live_since: row.since }))
                };
                rows.into_iter().filter_map(|row| info(row).transpose()).collect()
            })
            .await
    }

    /// The live version of a function; from memory while nothing is deployed.
    ///
    /// # Errors
    /// `function_not_found`; when the store fails.
    pub async fn live_version(
        &self,
        function: &FunctionKey,
    ) -> Result<Arc<Version>, PlatformError> {
        let generation = self.generation();
        if let Some(version) = self.caches.live.get(function, generation) {
            return Ok(version);
        }
        let key = function.clone();
        let id = self.db.read(move |db| catalog::live_one(db, &key)).await?;
        let Some(id) = id else {
            let FunctionKey { integration, kind, name, .. } = function;
            let message =
                format!("no live {} {name} of {integration}: deploy it first", kind.as_str());
            return Err(PlatformError::not_found("function_not_found", message));
        };
        let version = self.version(&function.tenant, &id).await?;
        self.caches.live.put(function.clone(), generation, Arc::clone(&version));
        Ok(version)
    }

    /// Any version that was ever deployed; from memory after the first time, since versions never change.
    ///
    /// # Errors
    /// `version_not_found`; when the store fails.
    pub async fn version(
        &self,
        tenant: &TenantId,
        id: &VersionId,
    ) -> Result<Arc<Version>, PlatformError> {
        let key = (tenant.clone(), id.clone());
        if let Some(version) = self.caches.versions.get(&key, 0) {
            return Ok(version);
        }
        let (tenant, id) = key.clone();
        let found = self.db.read(move |db| catalog::version(db, &tenant, &id)).await?;
        let Some(version) = found.map(Arc::new) else {
            return Err(PlatformError::not_found(
                "version_not_found",
                format!("there is no version {}", key.1),
            ));
        };
        self.caches.versions.put(key, 0, Arc::clone(&version));
        Ok(version)
    }

    /// Names each upload by its content; keeps the files first, unless that is all that was asked. Files that no
    /// version names in the end are harmless, versions without files would not be.
    async fn versions_of(
        &self,
        tenant: &TenantId,
        functions: Vec<FunctionUpload>,
        dry_run: bool,
    ) -> Result<Vec<Version>, PlatformError> {
        let mut versions = Vec::with_capacity(functions.len());
        let mut files = Vec::new();
        for upload in functions {
            versions.push(version_of(tenant, &upload)?);
            files.push((upload.bundle, upload.source_map));
        }
        if dry_run {
            return Ok(versions);
        }
        let keep = files.into_iter().map(|(bundle, map)| async {
            self.blobs.put_bundle(bundle.into()).await?;
            match map {
                Some(map) => self.blobs.put_map(map.into()).await.map(drop),
                None => Ok(()),
            }
        });
        futures_util::stream::iter(keep)
            .buffer_unordered(FILES_AT_ONCE)
            .try_for_each(|()| std::future::ready(Ok::<_, PlatformError>(())))
            .await?;
        Ok(versions)
    }
}

fn version_of(tenant: &TenantId, upload: &FunctionUpload) -> Result<Version, PlatformError> {
    let bundle = digest(&upload.bundle);
    let source_map = upload.source_map.as_deref().map(digest);
    let id = digest(format!("{bundle}\n{}", to_text(&upload.spec)?).as_bytes());
    let id = VersionId::parse(&id)
        .map_err(|error| StoreError::Corrupt { table: "versions", what: error.to_string() })?;
    Ok(Version { id, tenant: tenant.clone(), spec: upload.spec.clone(), bundle, source_map })
}

fn versions_live(db: &Conn, tenant: &TenantId) -> Result<Live, PlatformError> {
    let rows = catalog::live(db, tenant)?;
    load(db, tenant, rows)
}

fn load(db: &Conn, tenant: &TenantId, rows: Vec<LiveRow>) -> Result<Live, PlatformError> {
    let mut live = Live::new();
    for row in rows {
        if let Some(version) = catalog::version(db, tenant, &row.version)? {
            live.insert(version.function(), version);
        }
    }
    Ok(live)
}

fn carry_out(
    tx: &Conn,
    step: &Step,
    before: &Live,
    after: &Live,
) -> Result<Vec<Change>, PlatformError> {
    let changes = diff(before, after);
    let Some(id) = &step.id else { return Ok(changes) };
    if !step.allow_destructive && removed(&changes) > 0 {
        return Err(PlatformError::Conflict {
            code: "deployment_destructive",
            message: format!(
                "{} live functions would be removed; allow that, or deploy partially",
                removed(&changes)
            ),
            payload: serde_json::to_value(&changes).ok(),
        });
    }
    for key in before.keys().filter(|key| !after.contains_key(key)) {
        catalog::remove_live(tx, key)?;
    }
    for (key, version) in after {
        catalog::put_version(tx, version, step.now)?;
        let FunctionKey { integration, kind, name, .. } = key.clone();
        let row = LiveRow { integration, kind, name, version: version.id.clone(), since: step.now };
        catalog::put_live(tx, &step.tenant, &row)?;
    }
    let row = DeploymentRow { id: id.clone(), changes: to_text(&changes)?, created_at: step.now };
    catalog::insert_deployment(tx, &step.tenant, &row)?;
    Ok(changes)
}

fn check(functions: &[FunctionUpload]) -> Result<(), PlatformError> {
    let invalid = |message: String| Err(PlatformError::invalid("invalid_spec", message));
    if functions.len() > FUNCTIONS_MAX {
        return invalid(format!("a deployment has at most {FUNCTIONS_MAX} functions"));
    }
    let mut names = std::collections::BTreeSet::new();
    for FunctionUpload { spec, bundle, source_map } in functions {
        let place = format!("{} {}/{}", spec.kind.as_str(), spec.integration, spec.name);
        if !names.insert((&spec.integration, spec.kind, &spec.name)) {
            return invalid(format!("{place} is there twice"));
        }
        if bundle.is_empty() || bundle.len() > BUNDLE_BYTES_MAX {
            return invalid(format!("{place}: a bundle has 1 to {BUNDLE_BYTES_MAX} bytes"));
        }
        if source_map.as_ref().is_some_and(|map| map.len() > SOURCE_MAP_BYTES_MAX) {
            return invalid(format!(
                "{place}: a source map has at most {SOURCE_MAP_BYTES_MAX} bytes"
            ));
        }
        if let Err(why) = check_spec(spec) {
            return invalid(format!("{place}: {why}"));
        }
    }
    Ok(())
}

fn check_spec(spec: &FunctionSpec) -> Result<(), String> {
    if let Some(frequency) = &spec.frequency {
        if spec.kind != FunctionKind::Sync {
            return Err("only syncs have a frequency".to_owned());
        }
        Frequency::parse(frequency).map_err(|error| error.to_string())?;
    }
    let limits = &spec.limits;
    if limits.time_ms == 0
        || limits.memory_mib == 0
        || limits.input_bytes == 0
        || limits.output_bytes == 0
    {
        return Err("limits of zero leave nothing to run in".to_owned());
    }
    if spec.kind != FunctionKind::Sync && !spec.models.is_empty() {
        return Err("only syncs have models".to_owned());
    }
    Rule::read_all(&spec.egress).map_err(|error| format!("egress: {error}"))?;
    let is_name = |name: &String| !name.is_empty() && name.len() <= 128;
    if spec.models.len() > 100 || !spec.models.keys().all(is_name) {
        return Err("a sync has at most 100 models, with names of 1 to 128 bytes".to_owned());
    }
    Ok(())
}
