//! Sealing everything anew after the key was replaced, in batches. It can be broken off at any moment and begun again:
//! a value names its key, so what was done already is passed over.

use bulkhead_store::catalog::{self, SEALED_PLACES, SealedPlace, SealedRow};
use bulkhead_types::{ConnectionId, IntegrationId, TenantId};

use crate::connections::credentials_purpose;
use crate::error::PlatformError;
use crate::integrations::{client_purpose, webhook_purpose};
use crate::notify::{body_purpose, target_purpose};
use crate::oauth::way_purpose;
use crate::platform::Platform;
use crate::sealed_records::record_purpose;
use crate::tenants::variable_purpose;

/// Values looked at in one call: a second of work or so, and one transaction.
const AT_ONCE: usize = 500;

/// What one batch did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rotated {
    /// Values that were sealed anew.
    pub resealed: usize,
    /// Goes in for the next batch; `None` when everything was gone through.
    pub cursor: Option<String>,
    /// The old key's file, if the key is the server's own: to be removed when a whole pass sealed nothing anew.
    pub old_key_file: Option<std::path::PathBuf>,
}

impl Platform {
    /// Makes a new key the one that seals, if the key is the server's own and no earlier change is under way. With
    /// keys of the operator's, the new one is the one that is set.
    ///
    /// # Errors
    /// When the data directory can't be written.
    pub async fn begin_rotation(&self) -> Result<bool, PlatformError> {
        self.sealer.replace(self.entropy.as_ref())
    }

    /// Seals a batch of values under the key that seals now.
    ///
    /// # Errors
    /// `invalid_cursor`; when the store fails, or a value opens under no key that there is.
    pub async fn rotate(&self, cursor: Option<&str>) -> Result<Rotated, PlatformError> {
        let (at, after) = cursor.map_or(Ok((0, None)), parse)?;
        let place = SEALED_PLACES[at];
        let read = move |db: &_| catalog::sealed(db, place, after.as_deref(), AT_ONCE);
        let (rows, more) = self.db.read(move |db| read(db)).await?;
        let cursor = match rows.last().filter(|_| more) {
            Some(last) => Some(written(at, Some(&last.key))),
            None => (at + 1 < SEALED_PLACES.len()).then(|| written(at + 1, None)),
        };
        let mut anew = Vec::new();
        for row in rows.into_iter().filter(|row| !self.sealer.is_current(&row.value)) {
            let purpose = purpose(place, &row)?;
            let plain = self.sealer.open_sealed(&purpose, &row.value)?;
            let sealed = self.sealer.seal(&purpose, &plain, self.entropy.as_ref())?;
            anew.push((row, sealed));
        }
        let work = move |tx: &_| {
            let mut resealed = 0;
            for (row, sealed) in &anew {
                // Who changed it meanwhile sealed it under the new key.
                resealed += usize::from(catalog::put_sealed(tx, place, row, sealed)?);
            }
            Ok::<_, PlatformError>(resealed)
        };
        let resealed = self.db.write(move |tx| work(tx)).await?;
        Ok(Rotated { resealed, cursor, old_key_file: self.sealer.old_key_file() })
    }
}

/// What a value was sealed for.
fn purpose(place: SealedPlace, row: &SealedRow) -> Result<String, PlatformError> {
    let part = |at: usize| row.key.get(at).cloned().ok_or(PlatformError::Unsealable);
    let unreadable = |_| PlatformError::Unsealable;
    let tenant = || TenantId::try_from(part(0)?).map_err(unreadable);
    let integration = || IntegrationId::try_from(part(1)?).map_err(unreadable);
    Ok(match place {
        SealedPlace::Variables => variable_purpose(&tenant()?, &part(1)?),
        SealedPlace::WebhookSecrets => webhook_purpose(&tenant()?, &integration()?),
        SealedPlace::ClientSecrets => client_purpose(&tenant()?, &integration()?),
        SealedPlace::Credentials => {
            let connection = ConnectionId::try_from(part(2)?).map_err(unreadable)?;
            credentials_purpose(&tenant()?, &integration()?, &connection)
        }
        SealedPlace::Ways => way_purpose(&part(0)?),
        SealedPlace::Targets => target_purpose(&tenant()?),
        SealedPlace::Notifications => body_purpose(&tenant()?, &part(1)?),
        SealedPlace::Records => record_purpose(&part(0)?, &part(1)?),
    })
}

/// The number of a place and the last key, as JSON.
fn written(place: usize, after: Option<&[String]>) -> String {
    serde_json::json!([place, after]).to_string()
}

fn parse(cursor: &str) -> Result<(usize, Option<Vec<String>>), PlatformError> {
    let wrong = || PlatformError::invalid("invalid_cursor", "this is no cursor of a rotation");
    let read: (usize, Option<Vec<String>>) = serde_json::from_str(cursor).map_err(|_| wrong())?;
    let fits = |place: SealedPlace, key: &[String]| key.len() == place.key_length();
    let place = SEALED_PLACES.get(read.0).ok_or_else(wrong)?;
    if read.1.as_ref().is_some_and(|key| !fits(*place, key)) {
        return Err(wrong());
    }
    Ok(read)
}
