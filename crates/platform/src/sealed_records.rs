//! Bodies of records at rest: in clear, or sealed for tenants that want it.

use std::sync::Arc;

use bulkhead_store::StoreError;
use bulkhead_store::records::{Bodies, Place, does_not_open};
use bulkhead_types::{Entropy, TenantId};

use crate::error::PlatformError;
use crate::platform::Platform;
use crate::seal::Sealer;

/// Opens what is sealed, and seals what is written if that is wanted.
struct Sealing {
    sealer: Arc<Sealer>,
    entropy: Arc<dyn Entropy>,
    seals: bool,
}

impl Bodies for Sealing {
    fn seal(&self, place: Place<'_>, body: &str) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.seals {
            return Ok(None);
        }
        let purpose = purpose_of(place);
        let sealed = self.sealer.seal(&purpose, body.as_bytes(), self.entropy.as_ref());
        sealed.map(Some).map_err(|_| does_not_open(place))
    }

    fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<String, StoreError> {
        let opened = self.sealer.open_sealed(&purpose_of(place), sealed);
        let text = opened.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        text.ok_or_else(|| does_not_open(place))
    }
}

fn purpose_of(place: Place<'_>) -> String {
    record_purpose(&place.stream.to_string(), place.id)
}

pub(crate) fn record_purpose(stream: &str, id: &str) -> String {
    format!("record/{stream}/{id}")
}

impl Platform {
    /// How a tenant's records are read and written.
    pub(crate) async fn bodies(&self, tenant: &TenantId) -> Result<Arc<dyn Bodies>, PlatformError> {
        Ok(self.sealing(self.egress(tenant).await?.encrypted))
    }

    pub(crate) fn sealing(&self, seals: bool) -> Arc<dyn Bodies> {
        let (sealer, entropy) = (Arc::clone(&self.sealer), Arc::clone(&self.entropy));
        Arc::new(Sealing { sealer, entropy, seals })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use bulkhead_types::SystemEntropy;

    use super::*;
    use crate::seal::SecretKey;

    #[test]
    fn a_sealed_body_opens_in_its_own_row_only() {
        let sealer = Arc::new(Sealer::new(&[SecretKey([7; 32])]).unwrap());
        let sealing = Sealing { sealer, entropy: Arc::new(SystemEntropy), seals: true };
        let own = Place { stream: 1, id: "a" };
        let sealed = sealing.seal(own, r#"{"id":"a"}"#).unwrap().unwrap();
        assert_eq!(sealing.open(own, &sealed).unwrap(), r#"{"id":"a"}"#);
        // Who writes to the database moves a body to another record, or to another tenant's stream.
        for other in [Place { stream: 1, id: "b" }, Place { stream: 2, id: "a" }] {
            assert!(sealing.open(other, &sealed).is_err());
        }
    }
}
