//! `bulkhead providers`

use bulkhead_api::{Op, ProviderInfo, ProviderList};
use bulkhead_client::Request;
use serde_json::Value;

use crate::cli::Providers;
use crate::context::{Context, block_on};
use crate::{exit, output};

pub(crate) fn run(typed: &Providers, context: &Context) -> anyhow::Result<u8> {
    let client = context.tenant()?;
    match typed {
        Providers::Show { provider } => {
            let request = Request::new(Op::ShowProvider, &[provider]);
            output::json(&block_on(async { Ok(client.call::<Value>(request).await?) })?)?;
        }
        Providers::List => {
            let request = Request::new(Op::ListProviders, &[]);
            let list = block_on(async { Ok(client.call::<ProviderList>(request).await?) })?;
            if context.json {
                output::json(&list.providers)?;
                return Ok(exit::DONE);
            }
            let row = |known: &ProviderInfo| {
                let scheme = output::or_dash(known.webhook_scheme.as_deref());
                let base_url = known.base_url.clone();
                vec![
                    known.name.clone(),
                    known.display_name.clone(),
                    base_url,
                    known.auth_mode.clone(),
                    scheme,
                ]
            };
            let rows: Vec<_> = list.providers.iter().map(row).collect();
            output::table(&["provider", "API", "base URL", "auth", "webhooks"], &rows)?;
        }
    }
    Ok(exit::DONE)
}
