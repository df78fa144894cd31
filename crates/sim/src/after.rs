//! The checks that need no history: what any store must look like once everything has ended. The simulator ends
//! with them; they take any store, so that a test of real processes can use them on what those left.

use bulkhead_engine::ExecutionFilter;
use bulkhead_sched::share::Share;
use bulkhead_store::StoreError;
use bulkhead_store::hot::Store;
use bulkhead_types::{Attempt, Execution, ExecutionState, TenantId};

use crate::Violation;
use crate::check::demand;

/// Looks at all that is kept of a tenant's executions; returns them with their outputs.
///
/// # Errors
/// The first promise that was broken.
pub async fn tenant(store: &dyn Store, tenant: &TenantId) -> Result<Vec<Execution>, Violation> {
    let failed = |error: StoreError| Violation::new("store", error.to_string());
    let mut all = Vec::new();
    let mut filter = ExecutionFilter::default();
    loop {
        let page = store.executions(tenant.clone(), filter.clone()).await.map_err(failed)?;
        for listed in page.executions {
            let found = store.execution(listed.id.clone()).await.map_err(failed)?;
            let Some(execution) = found else {
                let what = format!("{} is listed and not there", listed.id);
                return Err(Violation::new("accepted", what));
            };
            let attempts = store.attempts(listed.id).await.map_err(failed)?;
            ended(&execution, &attempts)?;
            all.push(execution);
        }
        filter.cursor = page.next_cursor;
        if filter.cursor.is_none() {
            break;
        }
    }
    if let Some(share) = store.share(tenant.clone()).await.map_err(failed)? {
        counts_nothing(&share)?;
    }
    Ok(all)
}

/// An execution has ended, once: one attempt per lease, each of them ended, at most one of them completed, and what
/// that one returned is what the execution returned. Usage is the attempts' usage.
///
/// # Errors
/// The first promise that was broken.
pub fn ended(execution: &Execution, attempts: &[Attempt]) -> Result<(), Violation> {
    let id = &execution.id;
    demand!(execution.state.is_final(), "ends", "{id} is {}", execution.state.as_str());
    let in_order = (1_u64..).zip(attempts).all(|(number, attempt)| {
        u64::from(attempt.number) == number
            && attempt.fence.0 == number
            && attempt.ended_at.is_some()
            && attempt.outcome.is_some()
    });
    demand!(
        in_order && attempts.len() as u64 == execution.fence.0,
        "ends",
        "{id} had {} leases, and these attempts: {attempts:?}",
        execution.fence.0
    );
    let completed = |attempt: &&Attempt| attempt.outcome.as_deref() == Some("completed");
    let completed: Vec<_> = attempts.iter().filter(completed).collect();
    let succeeded = execution.state == ExecutionState::Succeeded;
    demand!(
        completed.len() == usize::from(succeeded),
        "ends",
        "{id} is {}, and {} of its attempts completed",
        execution.state.as_str(),
        completed.len()
    );
    // Functions of simulator and crash tests return which attempt they were, but for real syncs, which return nothing.
    let by = completed.first().map_or(0, |attempt| u64::from(attempt.number));
    let returned = execution.output.as_ref().map_or(Some(0), |output| output["attempt"].as_u64());
    let returned = returned.unwrap_or(by);
    demand!(returned == by, "leases", "{id} returned what attempt {returned} said; {by} completed");
    let used: u64 = attempts.iter().map(|attempt| attempt.usage.cpu_us).sum();
    demand!(
        used == execution.usage.cpu_us,
        "usage",
        "{id} used {} µs of CPU; its attempts say {used} µs",
        execution.usage.cpu_us
    );
    Ok(())
}

/// The counters of a tenant, when nothing of it is live.
fn counts_nothing(share: &Share) -> Result<(), Violation> {
    demand!(
        (share.queued, share.waiting, share.running) == (0, 0, 0),
        "left",
        "all has ended, and {} is still counted as {share:?}",
        share.tenant
    );
    Ok(())
}
