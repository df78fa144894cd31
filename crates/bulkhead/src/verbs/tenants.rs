//! `bulkhead tenants`

use anyhow::Context as _;
use bulkhead_api::{Op, PutTenant, Tenant, TenantList};
use bulkhead_client::Request;

use crate::cli::Tenants;
use crate::context::{Context, block_on};
use crate::{exit, output};

pub(crate) fn run(typed: Tenants, context: &Context) -> anyhow::Result<u8> {
    let client = context.admin()?;
    let tenants = match typed {
        Tenants::List => {
            block_on(async {
                Ok(client.call::<TenantList>(Request::new(Op::ListTenants, &[])).await?)
            })?
            .tenants
        }
        Tenants::Put {
            tenant,
            display_name,
            weight,
            running_max,
            queued_max,
            wall_floor,
            egress,
            records,
        } => {
            let egress = egress.map(|text| super::argument(&text)).transpose()?;
            let egress = egress.map(serde_json::from_value).transpose();
            let records = records.map(|text| serde_json::from_str(&text)).transpose();
            let put = PutTenant {
                egress: egress.context("--egress takes a JSON array of rules")?,
                display_name,
                weight,
                running_max,
                queued_max,
                wall_floor,
                records: records.context("--records is no JSON of record settings")?,
            };
            let request = Request::new(Op::PutTenant, &[&tenant]).json(&put);
            vec![block_on(async { Ok(client.call::<Tenant>(request).await?) })?]
        }
    };
    if context.json {
        output::json(&tenants)?;
    } else {
        print(&tenants)?;
    }
    Ok(exit::DONE)
}

/// What each has, and what it may have.
pub(crate) fn print(tenants: &[Tenant]) -> anyhow::Result<()> {
    let row = |t: &Tenant| {
        let share = &t.share;
        vec![
            t.id.clone(),
            t.display_name.clone(),
            if share.paused { "paused" } else { "active" }.to_owned(),
            share.weight.to_string(),
            format!("{} of {}", share.running, share.running_max),
            format!("{} of {}", share.queued + share.waiting, share.queued_max),
            output::or_dash(t.wall_floor.as_deref()),
            t.created_at.clone(),
        ]
    };
    let rows: Vec<_> = tenants.iter().map(row).collect();
    output::table(
        &["tenant", "name", "state", "weight", "running", "queued", "wall floor", "since"],
        &rows,
    )
}
