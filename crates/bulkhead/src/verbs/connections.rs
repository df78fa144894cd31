//! `bulkhead connections`

use std::collections::BTreeMap;

use anyhow::Context as _;
use bulkhead_api::{
    ConnectSession, Connection, ConnectionList, Op, PutConnectSession, PutConnection,
};
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
        Connections::Put {
            connection: (integration, connection_id),
            credentials,
            metadata,
            config,
        } => {
            let put = PutConnection {
                connection_id,
                integration,
                credentials: json(credentials)?,
                metadata: json(metadata)?,
                connection_config: variables(config)?,
            };
            vec![one(Request::new(Op::PutConnection, &[]).json(&put))?]
        }
        Connections::Connect { connection, config, redirect_url } => {
            return connect(&client, context.json, connection, config, redirect_url);
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
            let name = format!("{integration}/{id}");
            output::said("removed", &name, &format!("{name} is removed"), context.json)?;
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
            failure(c),
            c.metadata.to_string(),
        ]
    };
    let rows: Vec<_> = connections.iter().map(row).collect();
    output::table(&["integration", "connection", "changed", "failure", "metadata"], &rows)?;
    Ok(exit::DONE)
}

/// A link on which an end user connects.
fn connect(
    client: &Client,
    json: bool,
    (integration, connection_id): (String, String),
    config: Option<String>,
    redirect_url: Option<String>,
) -> anyhow::Result<u8> {
    let put = PutConnectSession {
        connection_id,
        integration,
        connection_config: variables(config)?,
        redirect_url,
        ..PutConnectSession::default()
    };
    let request = Request::new(Op::CreateConnectSession, &[]).json(&put);
    let session = block_on(async { Ok(client.call::<ConnectSession>(request).await?) })?;
    if json {
        output::json(&session)?;
    } else {
        output::say(&format!(
            "open until {}; whoever has the link can connect",
            session.expires_at
        ));
        output::line(&session.connect_url)?;
    }
    Ok(exit::DONE)
}

/// Why its credentials could not be renewed.
fn failure(connection: &Connection) -> String {
    let said = connection.failure.as_ref();
    let said = said.and_then(|failure| {
        Some(format!("{}: {}", failure["code"].as_str()?, failure["message"].as_str()?))
    });
    output::or_dash(said.as_deref())
}

fn variables(text: Option<String>) -> anyhow::Result<BTreeMap<String, String>> {
    let Some(text) = text else { return Ok(BTreeMap::new()) };
    serde_json::from_value(argument(&text)?).context("--config is an object of texts")
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
