//! `bulkhead doctor`

use bulkhead_wall_process::probe;

use crate::context::Context;
use crate::{exit, output};

/// Prints what this machine can do for each wall. Not an error when something is missing: that is the answer.
pub(crate) fn run(context: &Context) -> anyhow::Result<u8> {
    let process = probe::probe();
    let database = database(context)?;
    let image = context.config.runtime_dir.join("rootfs/runtime/guest").is_file();
    if context.json {
        output::json(&serde_json::json!({
            "walls": {"process": process},
            "runtime": {"path": context.config.runtime_dir, "found": image},
            "database": database.as_ref().map_or_else(|why| why.clone(), Clone::clone),
            "root": context.around.root,
        }))?;
        return Ok(if process.available { exit::DONE } else { exit::FAILED });
    }
    let row = |requirement: &bulkhead_wall::Requirement| {
        let state = match (requirement.met, requirement.required) {
            (true, _) => "yes",
            (false, true) => "NO",
            (false, false) => "no (weaker)",
        };
        let remedy = if requirement.met { String::new() } else { requirement.remedy.clone() };
        vec![requirement.name.clone(), state.to_owned(), requirement.found.clone(), remedy]
    };
    let mut rows: Vec<_> = process.requirements.iter().map(row).collect();
    rows.push(vec![
        "runtime image".to_owned(),
        if image { "yes" } else { "NO" }.to_owned(),
        context.config.runtime_dir.display().to_string(),
        if image { String::new() } else { "cargo xtask build".to_owned() },
    ]);
    rows.push(match &database {
        Ok(found) => vec!["database".to_owned(), "yes".to_owned(), found.clone(), String::new()],
        Err(why) => vec!["database".to_owned(), "NO".to_owned(), String::new(), why.clone()],
    });
    output::table(&["process wall needs", "there", "found", "remedy"], &rows)?;
    let verdict = match (process.available, process.fork_isolation) {
        (true, true) => "the process wall works at full strength",
        (true, false) => {
            "the process wall works; each execution gets a compartment of its own, not a fork"
        }
        (false, _) => "the process wall does not work here",
    };
    output::say(verdict);
    Ok(if process.available { exit::DONE } else { exit::FAILED })
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
