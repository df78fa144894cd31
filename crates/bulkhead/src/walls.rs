//! The walls of this machine, for a worker: those that can do their work here, under their names.

use anyhow::bail;
use bulkhead_config::Config;
use bulkhead_types::WallKind;
use bulkhead_wall::{DynWall, Walls};
use bulkhead_wall_microvm::remembered::Remembered;

use crate::privileged::Privileged;

/// Makes walls of a started launcher. Within a tokio runtime.
///
/// A wall whose requirements are not met is left out, and said so: what asks for it fails with `wall_unavailable` and
/// never runs behind a weaker one. That the wall of the settings is missing stops the start.
pub(crate) async fn of(config: &Config, privileged: Privileged) -> anyhow::Result<Walls> {
    let mut usable: Vec<DynWall> = Vec::new();
    let launched = bulkhead_wall_process::walls(privileged.launcher)?;
    let remembered = Remembered::of(&config.data_dir, &config.runtime_dir);
    for wall in bulkhead_wall_microvm::wall::join(launched, remembered) {
        let capability = wall.probe().await;
        if capability.available {
            usable.push(wall);
            continue;
        }
        for lacking in capability.requirements.iter().filter(|it| it.required && !it.met) {
            tracing::warn!(wall = wall.name(), needs = %lacking.name, found = %lacking.found, "no such wall here");
        }
    }
    let walls = Walls::Named(usable);
    let wanted = config.walls.choose(None);
    if walls.get(wanted).is_none() {
        bail!(
            "this machine has no {} wall, which `wall` or `wall_floor` asks for; `bulkhead doctor` tells what is missing",
            wanted.as_str()
        );
    }
    let names: Vec<_> = walls.kinds().into_iter().map(WallKind::as_str).collect();
    tracing::info!(walls = %names.join(", "), usual = wanted.as_str(), floor = config.walls.floor.as_str(), "walls");
    Ok(walls)
}
