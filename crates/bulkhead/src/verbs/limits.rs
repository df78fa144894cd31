//! `bulkhead limits`, `bulkhead pause`, `bulkhead resume`

use anyhow::bail;
use bulkhead_api::{Any, Limit, LimitList, Op, RunningMax, SetLimit, Tenant};
use bulkhead_client::Request;

use crate::cli::{Limits, Of, What};
use crate::context::{Context, block_on};
use crate::{exit, output};

pub(crate) fn run(typed: Limits, context: &Context) -> anyhow::Result<u8> {
    let limits = match typed {
        Limits::List => {
            let client = context.tenant()?;
            let request = Request::new(Op::ListLimits, &[]);
            block_on(async { Ok(client.call::<LimitList>(request).await?) })?.limits
        }
        Limits::Set { what, running_max } => {
            let running_max = match running_max.as_str() {
                "any" => RunningMax::Any(Any::Any),
                number => match number.parse() {
                    Ok(number) => RunningMax::At(number),
                    Err(_) => bail!("write a number, or `any`"),
                },
            };
            vec![set(&what, Some(running_max), None, context)?]
        }
    };
    print(&limits, context)
}

/// Pauses or resumes.
pub(crate) fn pause(what: &What, paused: bool, context: &Context) -> anyhow::Result<u8> {
    if what.of == Of::Tenant {
        let op = if paused { Op::PauseTenant } else { Op::ResumeTenant };
        let client = context.admin()?;
        let request = Request::new(op, &[&what.name]);
        let tenant: Tenant = block_on(async { Ok(client.call(request).await?) })?;
        if context.json {
            output::json(&tenant)?;
        } else {
            super::tenants::print(&[tenant])?;
        }
        return Ok(exit::DONE);
    }
    print(&[set(what, None, Some(paused), context)?], context)
}

fn set(
    what: &What,
    running_max: Option<RunningMax>,
    paused: Option<bool>,
    context: &Context,
) -> anyhow::Result<Limit> {
    let of = match what.of {
        Of::Function => "function",
        Of::Connection => "connection",
        Of::Key => "key",
        Of::Tenant => bail!("`bulkhead tenants put` sets what a tenant may have"),
    };
    let client = context.tenant()?;
    let body = SetLimit { of: of.to_owned(), name: what.name.clone(), running_max, paused };
    block_on(async { Ok(client.call(Request::new(Op::SetLimit, &[]).json(&body)).await?) })
}

fn print(limits: &[Limit], context: &Context) -> anyhow::Result<u8> {
    if context.json {
        output::json(&limits)?;
        return Ok(exit::DONE);
    }
    let row = |limit: &Limit| {
        vec![
            limit.of.clone(),
            limit.name.clone(),
            limit.running_max.map_or_else(|| "any".to_owned(), |max| max.to_string()),
            limit.running.to_string(),
            if limit.paused { "paused" } else { "active" }.to_owned(),
        ]
    };
    let rows: Vec<_> = limits.iter().map(row).collect();
    output::table(&["of", "name", "at most", "running", "state"], &rows)?;
    Ok(exit::DONE)
}
