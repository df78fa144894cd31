//! `bulkhead integrations`

use bulkhead_api::{Integration, IntegrationList, Op, PutIntegration, RateLimit};
use bulkhead_client::Request;
use serde_json::Value;

use crate::cli::Integrations;
use crate::context::{Context, block_on};
use crate::verbs::argument;
use crate::{exit, output};

pub(crate) fn run(typed: Integrations, context: &Context) -> anyhow::Result<u8> {
    let client = context.tenant()?;
    let one = |request| block_on(async { Ok(client.call::<Integration>(request).await?) });
    let integrations = match typed {
        Integrations::List => {
            let request = Request::new(Op::ListIntegrations, &[]);
            block_on(async { Ok(client.call::<IntegrationList>(request).await?) })?.integrations
        }
        Integrations::Show { integration } => {
            vec![one(Request::new(Op::ShowIntegration, &[&integration]))?]
        }
        Integrations::Put { integration, base_url, provider, auth, webhook, rate_limit } => {
            let json = |text: Option<String>| text.map_or(Ok(Value::Null), |text| argument(&text));
            let (auth, webhook) = (json(auth)?, json(webhook)?);
            let unknown =
                provider.as_deref().filter(|name| bulkhead_platform::provider(name).is_none());
            if let Some(name) = unknown {
                output::say(&format!(
                    "note: the catalogue has no provider {name} (`bulkhead providers list`): nothing is taken from it"
                ));
            }
            let rate_limit = rate_limit.map(|(requests, per_s)| RateLimit { requests, per_s });
            let put = PutIntegration {
                provider,
                display_name: None,
                base_url,
                auth,
                webhook,
                rate_limit,
            };
            vec![one(Request::new(Op::PutIntegration, &[&integration]).json(&put))?]
        }
        Integrations::Delete { integration } => {
            let request = Request::new(Op::DeleteIntegration, &[&integration]);
            block_on(async { Ok(client.send(request).await?) })?;
            let words = format!("{integration} is removed");
            output::said("removed", &integration, &words, context.json)?;
            return Ok(exit::DONE);
        }
    };
    if context.json {
        output::json(&integrations)?;
        return Ok(exit::DONE);
    }
    let mode = |auth: &Value| auth.get("mode").and_then(Value::as_str).unwrap_or("none").to_owned();
    let row = |i: &Integration| {
        let base_url = output::or_dash(i.base_url.as_deref());
        vec![i.unique_key.clone(), i.provider.clone(), base_url, mode(&i.auth)]
    };
    let rows: Vec<_> = integrations.iter().map(row).collect();
    output::table(&["integration", "provider", "base URL", "auth"], &rows)?;
    Ok(exit::DONE)
}
