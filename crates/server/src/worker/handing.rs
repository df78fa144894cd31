//! Leases as they are handed out: each with all that its attempt needs, as long as it fits.

use bulkhead_api::worker::{Egress, Handed, LEASE_BYTES_MAX, LeaseAnswer, Needs};
use bulkhead_platform::{CallError, EgressRules};
use bulkhead_types::{Lease, Version, WorkerId};
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::Value;

use crate::app::App;

/// Hands leases to a worker. One that can't be prepared, or does not fit any more, goes without what it needs: the
/// worker asks for that apart, and hears there what is wrong. So a large one is no other's misfortune.
pub(super) async fn hand(app: &App, worker: &WorkerId, leases: Vec<Lease>) -> LeaseAnswer {
    let ceilings = &app.inner.options.ceilings;
    let leases: Vec<_> = leases
        .into_iter()
        .map(|lease| Lease { limits: lease.limits.within(ceilings), ..lease })
        .collect();
    leases.iter().for_each(|lease| app.inner.held.hand(worker, lease));
    let prepared = join_all(leases.iter().map(|lease| needs(app, lease))).await;
    let mut answer = LeaseAnswer::default();
    let mut room = LEASE_BYTES_MAX;
    for (lease, prepared) in leases.into_iter().zip(prepared) {
        let fits = prepared.ok().filter(|(version, needs)| {
            let known = answer.versions.contains_key(&version.id);
            let version_bytes = if known { 0 } else { json_bytes(version) };
            let bytes = version_bytes + json_bytes(needs) + json_bytes(&lease);
            let fits = bytes <= room;
            room -= if fits { bytes } else { 0 };
            fits
        });
        answer.leases.push(match fits {
            None => Handed { lease: Lease { input: Value::Null, ..lease }, needs: None },
            Some((version, needs)) => {
                answer.versions.entry(version.id.clone()).or_insert(version);
                Handed { lease, needs: Some(needs) }
            }
        });
    }
    answer
}

/// What an attempt needs besides its lease.
pub(super) async fn needs(app: &App, lease: &Lease) -> Result<(Version, Needs), CallError> {
    let platform = &app.inner.platform;
    let (version, context, wall) = platform.prepare_elsewhere(lease).await?;
    let rules = platform.egress_rules(&lease.function.tenant).await.map_err(|error| CallError {
        code: error.code().to_owned(),
        message: error.to_string(),
        payload: None,
    })?;
    Ok(((*version).clone(), Needs { context, egress: egress(rules), wall }))
}

fn egress(rules: EgressRules) -> Egress {
    let values = |rules: Vec<_>| {
        let value = |rule| serde_json::to_value(rule).unwrap_or_default();
        rules.into_iter().map(value).collect()
    };
    let EgressRules { listeners, operator, tenant } = rules;
    Egress { listeners, operator: values(operator), tenant: values(tenant) }
}

/// How many bytes it has as JSON, without keeping them.
fn json_bytes(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // What has no JSON form does not fit.
    serde_json::to_writer(&mut count, value).map_or(usize::MAX / 4, |()| count.0)
}
