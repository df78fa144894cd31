//! Which worker a server's own was before: the leases that it held when it was killed are given back at once. Those of
//! workers elsewhere are none of a starting server's business: they may well be alive.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use bulkhead_config::Config;
use bulkhead_engine::Engine;
use bulkhead_types::{Entropy, Timestamp, WorkerId};

/// Longer files are none of ours.
const ID_BYTES_MAX: usize = WorkerId::LENGTH_MAX + 1;

/// Takes back what the predecessor's worker held, and names the new one. In this order: a start that dies in between
/// is one after which the next does the same again.
pub(super) async fn new_worker(
    config: &Config,
    engine: &Engine,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> anyhow::Result<WorkerId> {
    let path = config.data_dir.join("worker.id");
    if let Some(dead) = read(&path)? {
        let recovered = engine.recover(&dead).await?;
        if recovered > 0 {
            tracing::warn!(recovered, worker = %dead, "executions of a server that died are run again");
        }
    }
    let id = WorkerId::generate(now, entropy);
    write(&path, &id).with_context(|| format!("can't write {}", path.display()))?;
    Ok(id)
}

/// `None` when there was no predecessor, or its file can't be understood: its leases run out by themselves.
fn read(path: &Path) -> anyhow::Result<Option<WorkerId>> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.len() <= ID_BYTES_MAX => Ok(WorkerId::parse(text.trim()).ok()),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

fn write(path: &Path, id: &WorkerId) -> std::io::Result<()> {
    let half_done = path.with_extension("id.tmp");
    let mut file = std::fs::File::create(&half_done)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    std::fs::rename(half_done, path)
}
