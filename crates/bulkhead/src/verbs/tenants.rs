//! `bulkhead tenants`

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
        Tenants::Put { tenant, display_name } => {
            let put = PutTenant { display_name, ..PutTenant::default() };
            let request = Request::new(Op::PutTenant, &[&tenant]).json(&put);
            vec![block_on(async { Ok(client.call::<Tenant>(request).await?) })?]
        }
    };
    if context.json {
        output::json(&tenants)?;
    } else {
        let row = |t: &Tenant| vec![t.id.clone(), t.display_name.clone(), t.created_at.clone()];
        let rows: Vec<_> = tenants.iter().map(row).collect();
        output::table(&["tenant", "name", "since"], &rows)?;
    }
    Ok(exit::DONE)
}
