//! `bulkhead deploy`, `rollback`, `deployments`, `functions`

use anyhow::Context as _;
use bulkhead_api::{
    Change, Deploy as DeployBody, Deployment, DeploymentList, Function, FunctionList, Op,
};
use bulkhead_client::{Client, Request};

use crate::cli::Deploy;
use crate::compile::{Compile, compile};
use crate::context::{Context, block_on};
use crate::{exit, output};

pub(crate) fn run(typed: &Deploy, context: &Context) -> anyhow::Result<u8> {
    let client = context.tenant()?;
    let what = Compile {
        project: &typed.project,
        functions: &typed.functions,
        type_check: !typed.no_type_check,
    };
    output::say(&format!("compiling {}", typed.project.display()));
    let functions =
        compile(&context.config.tools, &what, |note| output::say(&format!("note: {note}")))?;
    output::say(&format!("{} functions compiled", functions.len()));
    let body = DeployBody {
        functions,
        dry_run: true,
        allow_destructive: typed.allow_destructive,
        partial: !typed.functions.is_empty(),
    };
    block_on(deploy(&client, body, typed, context))
}

/// Shows the difference, then makes it so.
async fn deploy(
    client: &Client,
    mut body: DeployBody,
    typed: &Deploy,
    context: &Context,
) -> anyhow::Result<u8> {
    // A dry run is never refused for what it would remove: it is there to show that.
    let asked = std::mem::replace(&mut body.allow_destructive, true);
    let planned: Deployment = client.call(Request::new(Op::Deploy, &[]).json(&body)).await?;
    if !context.json {
        print_changes(&planned.changes)?;
    }
    if typed.dry_run {
        if context.json {
            output::json(&planned)?;
        }
        return Ok(exit::DONE);
    }
    let changes = planned.changes.iter().any(|change| change.change != "unchanged");
    if changes && !typed.yes && !output::agreed("make this live?")? {
        output::say("nothing was changed");
        return Ok(exit::FAILED);
    }
    (body.dry_run, body.allow_destructive) = (false, asked);
    let deployed: Deployment = client.call(Request::new(Op::Deploy, &[]).json(&body)).await?;
    if context.json {
        output::json(&deployed)?;
    } else {
        output::say(&format!("{} is live", output::or_dash(deployed.id.as_deref())));
    }
    Ok(exit::DONE)
}

fn print_changes(changes: &[Change]) -> anyhow::Result<()> {
    if changes.is_empty() {
        output::say("nothing changes");
        return Ok(());
    }
    let row = |change: &Change| {
        let function = format!("{}/{}", change.integration, change.name);
        vec![change.change.clone(), function, change.kind.clone(), change.details.join("; ")]
    };
    let rows: Vec<_> = changes.iter().map(row).collect();
    output::table(&["change", "function", "kind", "details"], &rows)
}

pub(crate) fn rollback(deployment: Option<&str>, context: &Context) -> anyhow::Result<u8> {
    let client = context.tenant()?;
    let deployment = match deployment {
        Some(deployment) => deployment.to_owned(),
        None => block_on(before_newest(&client))?,
    };
    let request = Request::new(Op::Rollback, &[&deployment]);
    let deployed: Deployment = block_on(async { Ok(client.call(request).await?) })?;
    if context.json {
        output::json(&deployed)?;
    } else {
        print_changes(&deployed.changes)?;
        output::say(&format!("{} is live", output::or_dash(deployed.id.as_deref())));
    }
    Ok(exit::DONE)
}

/// The deployment that the newest took the place of.
async fn before_newest(client: &Client) -> anyhow::Result<String> {
    let list: DeploymentList = client.call(Request::new(Op::ListDeployments, &[])).await?;
    let before = list.deployments.into_iter().nth(1).and_then(|deployment| deployment.id);
    let before = before.context("there is no deployment before the newest to go back to")?;
    output::say(&format!("going back to {before}"));
    Ok(before)
}

pub(crate) fn deployments(context: &Context) -> anyhow::Result<u8> {
    let client = context.tenant()?;
    let request = Request::new(Op::ListDeployments, &[]);
    let list: DeploymentList = block_on(async { Ok(client.call(request).await?) })?;
    if context.json {
        output::json(&list)?;
        return Ok(exit::DONE);
    }
    let row = |deployment: &Deployment| {
        let count = |kind: &str| deployment.changes.iter().filter(|c| c.change == kind).count();
        vec![
            output::or_dash(deployment.id.as_deref()),
            output::or_dash(deployment.created_at.as_deref()),
            format!("+{} ~{} -{}", count("added"), count("changed"), count("removed")),
        ]
    };
    let rows: Vec<_> = list.deployments.iter().map(row).collect();
    output::table(&["deployment", "when", "changes"], &rows)?;
    Ok(exit::DONE)
}

pub(crate) fn functions(context: &Context) -> anyhow::Result<u8> {
    let client = context.tenant()?;
    let request = Request::new(Op::ListFunctions, &[]);
    let list: FunctionList = block_on(async { Ok(client.call(request).await?) })?;
    if context.json {
        output::json(&list)?;
        return Ok(exit::DONE);
    }
    let row = |function: &Function| {
        let version = function.version.chars().take(12).collect();
        let text = |field: &str| function.spec[field].as_str().unwrap_or("-").to_owned();
        let name = format!("{}/{}", function.integration, function.name);
        vec![name, function.kind.clone(), version, text("frequency"), text("description")]
    };
    let rows: Vec<_> = list.functions.iter().map(row).collect();
    output::table(&["function", "kind", "version", "frequency", "description"], &rows)?;
    Ok(exit::DONE)
}
