//! `bulkhead keys`

use bulkhead_api::{KeyCreated, KeyList, Op, PutKey};
use bulkhead_client::Request;

use crate::cli::Keys;
use crate::context::{Context, block_on};
use crate::{exit, output};

pub(crate) fn run(typed: Keys, context: &Context) -> anyhow::Result<u8> {
    let client = context.admin()?;
    match typed {
        Keys::List { tenant } => {
            let request = Request::new(Op::ListKeys, &[&tenant]);
            let keys = block_on(async { Ok(client.call::<KeyList>(request).await?) })?.keys;
            if context.json {
                output::json(&keys)?;
            } else {
                let row = |key: &bulkhead_api::Key| {
                    vec![key.id.clone(), key.label.clone(), key.created_at.clone()]
                };
                let rows: Vec<_> = keys.iter().map(row).collect();
                output::table(&["key", "label", "since"], &rows)?;
            }
        }
        Keys::Create { tenant, label } => {
            let request = Request::new(Op::CreateKey, &[&tenant]).json(&PutKey { label });
            let key = block_on(async { Ok(client.call::<KeyCreated>(request).await?) })?;
            if context.json {
                output::json(&key)?;
            } else {
                output::say(&format!("{}: the secret is shown this once", key.id));
                output::line(&key.secret)?;
            }
        }
        Keys::Revoke { tenant, key } => {
            let request = Request::new(Op::DeleteKey, &[&tenant, &key]);
            block_on(async { Ok(client.send(request).await?) })?;
            output::say(&format!("{key} is revoked"));
        }
    }
    Ok(exit::DONE)
}
