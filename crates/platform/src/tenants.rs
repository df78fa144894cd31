//! Tenants, their keys and variables.

use bulkhead_store::catalog::{self, KeyRow, TenantRow};
use bulkhead_types::{TenantId, WallKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::PlatformError;
use crate::model::{KeyInfo, NewKey, RecordSettings, Tenant, TenantSettings};
use crate::platform::Platform;
use crate::upkeep::check_records;

/// Every secret begins with it, so that scanners of public code can tell one.
const SECRET_PREFIX: &str = "bh_";

/// Longer texts are no key; they are not even hashed.
const SECRET_BYTES_MAX: usize = 256;

/// Bytes of a variable's value.
const VARIABLE_BYTES_MAX: usize = 64 * 1024;

/// Variables of one tenant.
const VARIABLES_MAX: usize = 500;

/// Characters of a key's label.
const LABEL_LENGTH_MAX: usize = 200;

#[derive(Serialize, Deserialize)]
struct SettingsText {
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    egress: Vec<bulkhead_egress::Rule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wall_floor: Option<WallKind>,
    #[serde(default)]
    records: RecordSettings,
}

impl Platform {
    /// Makes a tenant, or changes its settings.
    ///
    /// # Errors
    /// `invalid_body` when there are too many rules, or one has a name that logs can't show; when the store fails.
    pub async fn put_tenant(
        &self,
        tenant: &TenantId,
        settings: TenantSettings,
    ) -> Result<Tenant, PlatformError> {
        check_records(&settings.records)?;
        let TenantSettings { display_name, egress, wall_floor, records } = settings;
        bulkhead_egress::Rule::check_all(&egress)
            .map_err(|error| PlatformError::invalid("invalid_body", format!("egress: {error}")))?;
        let text = SettingsText { display_name, egress, wall_floor, records };
        let settings = crate::text::to_text(&text)?;
        let row = TenantRow { id: tenant.clone(), settings, created_at: self.now() };
        self.db.write(move |tx| catalog::put_tenant(tx, &row)).await?;
        self.caches.changed();
        self.tenant(tenant).await
    }

    /// One tenant.
    ///
    /// # Errors
    /// `tenant_not_found`; when the store fails.
    pub async fn tenant(&self, tenant: &TenantId) -> Result<Tenant, PlatformError> {
        let id = tenant.clone();
        let row = self.db.read(move |db| catalog::tenant(db, &id)).await?;
        row.map(tenant_of).transpose()?.ok_or_else(|| not_found(tenant))
    }

    /// All tenants, by id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tenants(&self) -> Result<Vec<Tenant>, PlatformError> {
        let rows = self.db.read(catalog::tenants).await?;
        rows.into_iter().map(tenant_of).collect()
    }

    /// Makes a key. Its secret is 32 random bytes, shown this once: what is kept is its SHA-256, which nobody can
    /// go back from because there is nothing to guess.
    ///
    /// # Errors
    /// `tenant_not_found`; when the store fails.
    pub async fn create_key(
        &self,
        tenant: &TenantId,
        label: &str,
    ) -> Result<NewKey, PlatformError> {
        self.tenant(tenant).await?;
        check_label(label)?;
        let secret = format!("{SECRET_PREFIX}{}", self.random_hex(32));
        let id = format!("key_{}", self.random_hex(8));
        let row = KeyRow { id: id.clone(), label: label.to_owned(), created_at: self.now() };
        let (digest, tenant) = (digest_of(&secret), tenant.clone());
        self.db.write(move |tx| catalog::insert_key(tx, &tenant, &row, &digest)).await?;
        Ok(NewKey { id, secret })
    }

    /// A tenant's keys, oldest first.
    ///
    /// # Errors
    /// `tenant_not_found`; when the store fails.
    pub async fn keys(&self, tenant: &TenantId) -> Result<Vec<KeyInfo>, PlatformError> {
        self.tenant(tenant).await?;
        let tenant = tenant.clone();
        let rows = self.db.read(move |db| catalog::keys(db, &tenant)).await?;
        let info =
            |row: KeyRow| KeyInfo { id: row.id, label: row.label, created_at: row.created_at };
        Ok(rows.into_iter().map(info).collect())
    }

    /// Takes a key back, at once.
    ///
    /// # Errors
    /// `key_not_found`; when the store fails.
    pub async fn revoke_key(&self, tenant: &TenantId, key: &str) -> Result<(), PlatformError> {
        let (of, id) = (tenant.clone(), key.to_owned());
        let removed = self.db.write(move |tx| catalog::remove_key(tx, &of, &id)).await?;
        self.caches.changed();
        if removed {
            return Ok(());
        }
        Err(PlatformError::not_found(
            "key_not_found",
            format!("tenant {tenant} has no key {key:?}"),
        ))
    }

    /// Whose key this is; `None` when it is nobody's. From memory after the first time.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn authenticate(&self, secret: &str) -> Result<Option<TenantId>, PlatformError> {
        if secret.len() > SECRET_BYTES_MAX || !secret.starts_with(SECRET_PREFIX) {
            return Ok(None);
        }
        // Looked up by digest: how long that takes tells nothing about the secrets there are.
        let digest = digest_of(secret);
        let generation = self.generation();
        if let Some(tenant) = self.caches.keys.get(&digest, generation) {
            return Ok(Some(tenant));
        }
        let owner = self.db.read(move |db| catalog::key_owner(db, &digest)).await?;
        if let Some(tenant) = &owner {
            self.caches.keys.put(digest, generation, tenant.clone());
        }
        Ok(owner)
    }

    /// Sets a variable that the tenant's functions can read.
    ///
    /// # Errors
    /// `invalid_body`, `tenant_not_found`; when the store fails.
    pub async fn set_variable(
        &self,
        tenant: &TenantId,
        name: &str,
        value: &str,
    ) -> Result<(), PlatformError> {
        let safe = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.len() > 128 || !name.chars().all(safe) {
            return Err(PlatformError::invalid(
                "invalid_body",
                "a variable's name has 1 to 128 of A-Z a-z 0-9 _",
            ));
        }
        if value.len() > VARIABLE_BYTES_MAX {
            let message = format!("a variable has at most {VARIABLE_BYTES_MAX} bytes");
            return Err(PlatformError::invalid("invalid_body", message));
        }
        let existing = self.variables(tenant).await?;
        if existing.len() >= VARIABLES_MAX && !existing.iter().any(|(known, _)| known == name) {
            let message = format!("a tenant has at most {VARIABLES_MAX} variables");
            return Err(PlatformError::invalid("invalid_body", message));
        }
        let purpose = variable_purpose(tenant, name);
        let sealed = self.sealer.seal(&purpose, value.as_bytes(), self.entropy.as_ref())?;
        let (tenant, name) = (tenant.clone(), name.to_owned());
        Ok(self.db.write(move |tx| catalog::put_variable(tx, &tenant, &name, &sealed)).await?)
    }

    /// Removes a variable; one that is not there is fine.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove_variable(
        &self,
        tenant: &TenantId,
        name: &str,
    ) -> Result<(), PlatformError> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        Ok(self.db.write(move |tx| catalog::remove_variable(tx, &tenant, &name)).await?)
    }

    /// The tenant's variables, by name.
    ///
    /// # Errors
    /// `tenant_not_found`; when the store fails or a value does not open.
    pub async fn variables(
        &self,
        tenant: &TenantId,
    ) -> Result<Vec<(String, String)>, PlatformError> {
        self.tenant(tenant).await?;
        let of = tenant.clone();
        let rows = self.db.read(move |db| catalog::variables(db, &of)).await?;
        let open = |(name, sealed): (String, Vec<u8>)| {
            let plain = self.sealer.open_sealed(&variable_purpose(tenant, &name), &sealed)?;
            Ok((name, String::from_utf8(plain).map_err(|_| PlatformError::Unsealable)?))
        };
        rows.into_iter().map(open).collect()
    }
}

pub(crate) fn check_label(label: &str) -> Result<(), PlatformError> {
    if label.chars().count() <= LABEL_LENGTH_MAX {
        return Ok(());
    }
    Err(PlatformError::invalid("invalid_body", "a key's label has at most 200 characters"))
}

pub(crate) fn variable_purpose(tenant: &TenantId, name: &str) -> String {
    format!("variable/{tenant}/{name}")
}

fn digest_of(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn not_found(tenant: &TenantId) -> PlatformError {
    PlatformError::not_found("tenant_not_found", format!("there is no tenant {tenant}"))
}

fn tenant_of(row: TenantRow) -> Result<Tenant, PlatformError> {
    let text: SettingsText = crate::text::from_text("tenants", &row.settings)?;
    let SettingsText { display_name, egress, wall_floor, records } = text;
    let settings = TenantSettings { display_name, egress, wall_floor, records };
    Ok(Tenant { id: row.id, settings, created_at: row.created_at })
}
