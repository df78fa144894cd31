//! `bulkhead keys`

use bulkhead_api::{KeyCreated, KeyList, Op, PutKey, Rotate, Rotated};
use bulkhead_client::{Client, Request};

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
        Keys::Rotate => block_on(rotate(&client, context.json))?,
        Keys::Revoke { tenant, key } => {
            let request = Request::new(Op::DeleteKey, &[&tenant, &key]);
            block_on(async { Ok(client.send(request).await?) })?;
            output::said("revoked", &key, &format!("{key} is revoked"), context.json)?;
        }
    }
    Ok(exit::DONE)
}

/// Batches, pass after pass, until one found nothing to do: what was sealed while the key changed is found, too.
async fn rotate(client: &Client, json: bool) -> anyhow::Result<()> {
    let (mut begin, mut all) = (true, 0);
    let last = loop {
        let (mut resealed, mut cursor) = (0, None);
        let last = loop {
            let request = Request::new(Op::RotateSecrets, &[]).json(&Rotate { begin, cursor });
            let batch: Rotated = client.call(request).await?;
            if begin && batch.begun {
                output::say("a new key seals from here on");
            }
            begin = false;
            resealed += batch.resealed;
            cursor = batch.cursor.clone();
            if cursor.is_none() {
                break batch;
            }
        };
        all += resealed;
        if resealed == 0 {
            break last;
        }
        output::say(&format!("{all} secrets sealed anew"));
    };
    if json {
        return output::json(&Rotated { resealed: all, ..last });
    }
    match last.old_key_file {
        Some(old) => output::say(&format!(
            "nothing is sealed with the old key any more: once no backup needs it, remove {old} on the server"
        )),
        None => output::say(
            "nothing is sealed with another key than `secret_key`: `secret_key_old` can be taken out of the settings",
        ),
    }
    Ok(())
}
