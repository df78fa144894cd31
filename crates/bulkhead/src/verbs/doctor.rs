//! `bulkhead doctor`

use bulkhead_config::Config;
use bulkhead_types::WallKind;
use bulkhead_wall::{Capability, Requirement};
use bulkhead_wall_microvm::remembered::Remembered;

use crate::context::Context;
use crate::{exit, output};

/// Prints what this machine can do for each wall, by trying. Not an error when a wall is missing: that is the answer,
/// unless it is the one that the settings ask for.
pub(crate) fn run(context: &Context) -> anyhow::Result<u8> {
    let walls = walls(&context.config);
    let wanted = context.config.walls.choose(None);
    let has_wanted = walls.iter().any(|(kind, found)| *kind == wanted && found.available);
    let database = database(context)?;
    let image = context.config.runtime_dir.join("rootfs/runtime/guest").is_file();
    let code = if has_wanted { exit::DONE } else { exit::FAILED };
    if context.json {
        let by_name: serde_json::Map<_, _> = walls
            .iter()
            .map(|(kind, found)| Ok((kind.as_str().to_owned(), serde_json::to_value(found)?)))
            .collect::<anyhow::Result<_>>()?;
        output::json(&serde_json::json!({
            "walls": by_name,
            "wall": wanted,
            "runtime": {"path": context.config.runtime_dir, "found": image},
            "database": database.as_ref().map_or_else(|why| why.clone(), Clone::clone),
            "root": context.around.root,
        }))?;
        return Ok(code);
    }
    machine(context, image, &database)?;
    for (kind, found) in &walls {
        wall(*kind, found, *kind == wanted)?;
    }
    Ok(code)
}

/// Each wall that this program knows, as found here. Another one is another line.
pub(crate) fn walls(config: &Config) -> Vec<(WallKind, Capability)> {
    let runtime = &config.runtime_dir;
    let remembered = Remembered::of(&config.data_dir, runtime);
    vec![
        (WallKind::Process, bulkhead_wall_process::probe::probe()),
        (WallKind::Gvisor, bulkhead_wall_gvisor::probe::thorough()),
        (WallKind::Microvm, bulkhead_wall_microvm::probe::thorough(runtime, remembered.as_ref())),
    ]
}

fn machine(
    context: &Context,
    image: bool,
    database: &Result<String, String>,
) -> anyhow::Result<()> {
    let yes = |there: bool| if there { "yes" } else { "NO" }.to_owned();
    let (found, remedy) = match database {
        Ok(found) => (found.clone(), String::new()),
        Err(why) => (String::new(), why.clone()),
    };
    let rows = vec![
        vec![
            "runtime image".to_owned(),
            yes(image),
            context.config.runtime_dir.display().to_string(),
            if image { String::new() } else { "cargo xtask build".to_owned() },
        ],
        vec!["database".to_owned(), yes(database.is_ok()), found, remedy],
    ];
    output::table(&["the server needs", "there", "found", "remedy"], &rows)
}

/// One wall: what it needs, what it does in another way, and the verdict.
fn wall(kind: WallKind, found: &Capability, is_wanted: bool) -> anyhow::Result<()> {
    let row = |requirement: &Requirement| {
        let state = match (requirement.met, requirement.required) {
            (true, _) => "yes",
            (false, true) => "NO",
            (false, false) => "no (weaker)",
        };
        let remedy = if requirement.met { String::new() } else { requirement.remedy.clone() };
        vec![requirement.name.clone(), state.to_owned(), requirement.found.clone(), remedy]
    };
    let rows: Vec<_> = found.requirements.iter().map(row).collect();
    let title = format!("the {} wall needs", kind.as_str());
    output::say("");
    output::table(&[title.as_str(), "there", "found", "remedy"], &rows)?;
    if !found.differences.is_empty() {
        let row = |it: &bulkhead_wall::Difference| vec![it.name.clone(), it.instead.clone()];
        let rows: Vec<_> = found.differences.iter().map(row).collect();
        output::table(&["without", "instead"], &rows)?;
    }
    let verdict = match (found.available, found.fork_isolation) {
        (true, true) => "works; executions of a function are forks that are kept apart",
        (true, false) => "works; each execution gets a compartment of its own, not a fork",
        (false, _) => "does not work here",
    };
    let wanted = if is_wanted { " (the one in use when nobody asks for another)" } else { "" };
    output::say(&format!("the {} wall {verdict}{wanted}", kind.as_str()));
    Ok(())
}

/// What is in use as database, or why it can't be.
fn database(context: &Context) -> anyhow::Result<Result<String, String>> {
    let Some(url) = &context.config.database_url else {
        return Ok(Ok(format!("SQLite in {}", context.config.data_dir.display())));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(match runtime.block_on(bulkhead_store::Db::look_at(url.reveal())) {
        Ok((version, migration)) => Ok(format!("PostgreSQL {version}, at migration {migration}")),
        Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
    })
}
