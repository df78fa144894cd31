//! `bulkhead connections`

use bulkhead_api::{Connection, ConnectionList, Op, PutConnection};
use bulkhead_client::{Client, Request};
use serde_json::Value;

use crate::cli::Connections;
use crate::context::{Context, block_on};
use crate::verbs::argument;
use crate::{exit, output};

pub(crate) fn run(typed: Connections, context: &Context) -> anyhow::Result<u8> {
    let client = context.tenant()?;
    let one = |request| block_on(async { Ok(client.call::<Connection>(request).await?) });
    let json = |text: Option<String>| text.map_or(Ok(Value::Null), |text| argument(&text));
    let connections = match typed {
        Connections::List { integration } => block_on(all(&client, integration.as_deref()))?,
        Connections::Show { connection: (integration, id) } => {
            vec![one(Request::new(Op::ShowConnection, &[&integration, &id]))?]
        }
        Connections::Put { connection: (integration, connection_id), credentials, metadata } => {
            let (credentials, metadata) = (json(credentials)?, json(metadata)?);
            let put = PutConnection { connection_id, integration, credentials, metadata };
            vec![one(Request::new(Op::PutConnection, &[]).json(&put))?]
        }
        Connections::Metadata { connection: (integration, id), merge } => {
            let request = match merge {
                None => Request::new(Op::GetMetadata, &[&integration, &id]),
                Some(fields) => {
                    Request::new(Op::MergeMetadata, &[&integration, &id]).json(&argument(&fields)?)
                }
            };
            output::json(&block_on(async { Ok(client.call::<Value>(request).await?) })?)?;
            return Ok(exit::DONE);
        }
        Connections::Delete { connection: (integration, id) } => {
            let request = Request::new(Op::DeleteConnection, &[&integration, &id]);
            block_on(async { Ok(client.send(request).await?) })?;
            output::say(&format!("{integration}/{id} is removed"));
            return Ok(exit::DONE);
        }
    };
    if context.json {
        output::json(&connections)?;
        return Ok(exit::DONE);
    }
    let row = |c: &Connection| {
        vec![
            c.integration.clone(),
            c.connection_id.clone(),
            c.updated_at.clone(),
            c.metadata.to_string(),
        ]
    };
    let rows: Vec<_> = connections.iter().map(row).collect();
    output::table(&["integration", "connection", "changed", "metadata"], &rows)?;
    Ok(exit::DONE)
}

async fn all(client: &Client, integration: Option<&str>) -> anyhow::Result<Vec<Connection>> {
    let (mut connections, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let request = Request::new(Op::ListConnections, &[])
            .query_maybe("integration", integration)
            .query_maybe("cursor", cursor.as_deref());
        let page: ConnectionList = client.call(request).await?;
        connections.extend(page.connections);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(connections);
        }
    }
}
