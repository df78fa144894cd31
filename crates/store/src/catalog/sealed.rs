//! Every place that has sealed values, for sealing them anew under another key.

use std::ops::ControlFlow;

use crate::db::{Conn, Params, StoreError, Value};

/// A column with sealed values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedPlace {
    /// Values of tenants' variables; by tenant and name.
    Variables,
    /// Webhook secrets; by tenant and integration.
    WebhookSecrets,
    /// Secrets of OAuth2 clients; by tenant and integration.
    ClientSecrets,
    /// Connections' credentials; by tenant, integration and connection.
    Credentials,
    /// Users' ways through providers; by session.
    Ways,
    /// Secrets that notifications are signed with; by tenant.
    Targets,
    /// What products are told; by tenant and name.
    Notifications,
    /// Bodies of records, where they are sealed; by stream and id.
    Records,
}

/// All of them, in the order in which they are gone through.
pub const SEALED_PLACES: [SealedPlace; 8] = [
    SealedPlace::Variables,
    SealedPlace::WebhookSecrets,
    SealedPlace::ClientSecrets,
    SealedPlace::Credentials,
    SealedPlace::Ways,
    SealedPlace::Targets,
    SealedPlace::Notifications,
    SealedPlace::Records,
];

/// Bytes of values read at once, about: most are small, but records can have megabytes each.
const BYTES_AT_ONCE: usize = 16 << 20;

/// A sealed value, with the key of its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRow {
    /// As many parts as its place's keys have.
    pub key: Vec<String>,
    /// The value.
    pub value: Vec<u8>,
}

impl SealedPlace {
    /// Parts of its rows' keys.
    #[must_use]
    pub const fn key_length(self) -> usize {
        self.key().len()
    }

    const fn table(self) -> &'static str {
        match self {
            Self::Variables => "variables",
            Self::WebhookSecrets | Self::ClientSecrets => "integrations",
            Self::Credentials => "connections",
            Self::Ways => "connect_sessions",
            Self::Targets => "notification_targets",
            Self::Notifications => "notifications",
            Self::Records => "records",
        }
    }

    const fn column(self) -> &'static str {
        match self {
            Self::Variables => "value",
            Self::WebhookSecrets => "webhook_secret",
            Self::ClientSecrets => "client_secret",
            Self::Credentials => "credentials",
            Self::Ways => "verifier",
            Self::Targets => "secret",
            Self::Notifications => "body",
            Self::Records => "sealed",
        }
    }

    const fn key(self) -> &'static [&'static str] {
        match self {
            Self::Variables => &["tenant", "name"],
            Self::WebhookSecrets | Self::ClientSecrets => &["tenant", "id"],
            Self::Credentials => &["tenant", "integration", "id"],
            Self::Ways => &["token"],
            Self::Targets => &["tenant"],
            Self::Notifications => &["tenant", "id"],
            Self::Records => &["stream", "id"],
        }
    }

    /// A part of a key, as the database has it. Streams have numbers, from 1.
    fn part(self, at: usize, text: &str) -> Value<'_> {
        match (self, at) {
            (Self::Records, 0) => Value::Int(text.parse().unwrap_or(0)),
            _ => Value::Text(text),
        }
    }
}

/// The values of a place after the key `after` (none: from the beginning), by key: at most `limit`, and fewer when they
/// are large; and whether there are more.
///
/// # Errors
/// When the database refuses.
pub fn sealed(
    db: &Conn,
    place: SealedPlace,
    after: Option<&[String]>,
    limit: usize,
) -> Result<(Vec<SealedRow>, bool), StoreError> {
    let (names, column) = (place.key(), place.column());
    let none = vec![String::new(); names.len()];
    let after = after.unwrap_or(&none);
    let (listed, places) = (names.join(", "), vec!["?"; names.len()].join(", "));
    let texts: Vec<String> = names.iter().map(|name| format!("CAST({name} AS TEXT)")).collect();
    let sql = format!(
        "SELECT {}, {column} FROM {} WHERE ({listed}) > ({places}) AND {column} IS NOT NULL
         ORDER BY {listed} LIMIT {}",
        texts.join(", "),
        place.table(),
        limit.saturating_add(1),
    );
    let values: Vec<Value<'_>> =
        after.iter().enumerate().map(|(at, text)| place.part(at, text)).collect();
    let (mut rows, mut bytes, mut more) = (Vec::new(), 0_usize, false);
    db.each(&sql, Params::Placed(&values), |row| {
        if rows.len() == limit || bytes > BYTES_AT_ONCE {
            more = true;
            return Ok(ControlFlow::Break(()));
        }
        let key = (0..names.len()).map(|at| row.get(at)).collect::<Result<_, _>>()?;
        let value: Vec<u8> = row.get(names.len())?;
        bytes += value.len();
        rows.push(SealedRow { key, value });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((rows, more))
}

/// Puts a value in the place of another, unless that has changed meanwhile; says whether it did.
///
/// # Errors
/// When the database refuses.
pub fn put_sealed(
    tx: &Conn,
    place: SealedPlace,
    row: &SealedRow,
    value: &[u8],
) -> Result<bool, StoreError> {
    let column = place.column();
    let matches: Vec<String> = place.key().iter().map(|name| format!("{name} = ?")).collect();
    let sql = format!(
        "UPDATE {} SET {column} = ? WHERE {} AND {column} = ?",
        place.table(),
        matches.join(" AND ")
    );
    let mut values = vec![Value::Bytes(value)];
    values.extend(row.key.iter().enumerate().map(|(at, text)| place.part(at, text)));
    values.push(Value::Bytes(&row.value));
    Ok(tx.execute(&sql, Params::Placed(&values))? > 0)
}
