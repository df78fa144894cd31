//! `bulkhead records`

use bulkhead_api::{ModelList, Op, RecordPage};
use bulkhead_client::Request;

use crate::cli::Records;
use crate::context::{Context, block_on};
use crate::{exit, output};

/// One record a line, as JSON; the cursor of the next page goes to standard error.
pub(crate) fn run(typed: &Records, context: &Context) -> anyhow::Result<u8> {
    let client = context.tenant()?;
    let Some(model) = &typed.model else { return counts(typed, context) };
    let mut cursor = typed.cursor.clone();
    loop {
        let limit = typed.limit.map(|limit| limit.to_string());
        let request = Request::new(Op::ListRecords, &[])
            .query("connection_id", &typed.connection)
            .query("model", model)
            .query_maybe("integration", typed.integration.as_deref())
            .query_maybe("cursor", cursor.as_deref())
            .query_maybe("limit", limit.as_deref());
        let page: RecordPage = block_on(async { Ok(client.call(request).await?) })?;
        if context.json && !typed.all {
            output::json(&page)?;
            return Ok(exit::DONE);
        }
        for record in &page.records {
            output::line(&record.to_string())?;
        }
        cursor = page.next_cursor;
        match (&cursor, typed.all) {
            (Some(_), true) => {}
            (Some(next), false) => {
                output::say(&format!("there is more: --cursor {next}"));
                return Ok(exit::DONE);
            }
            (None, _) => return Ok(exit::DONE),
        }
    }
}

/// The models that a connection has records of.
fn counts(typed: &Records, context: &Context) -> anyhow::Result<u8> {
    let client = context.tenant()?;
    let request = Request::new(Op::CountRecords, &[])
        .query("connection_id", &typed.connection)
        .query_maybe("integration", typed.integration.as_deref());
    let list: ModelList = block_on(async { Ok(client.call(request).await?) })?;
    if context.json {
        output::json(&list)?;
        return Ok(exit::DONE);
    }
    let row = |m: &bulkhead_api::ModelCount| {
        vec![m.integration.clone(), m.model.clone(), m.count.to_string(), m.deleted.to_string()]
    };
    let rows: Vec<_> = list.models.iter().map(row).collect();
    output::table(&["integration", "model", "records", "deleted"], &rows)?;
    Ok(exit::DONE)
}
