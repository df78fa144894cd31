//! What goes into a statement and comes out of it: one type for both databases, mapped here and nowhere else.
//!
//! Both schemas keep four kinds of things: numbers (64 bits; a truth is 0 or 1), text, bytes, and nothing. PostgreSQL
//! also answers an expression such as `a = b` with a boolean.

use bytes::{BufMut, BytesMut};
use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::StoreError;

/// A value in a statement or in a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Nothing.
    Null,
    /// A number, or a truth as 0 or 1.
    Int(i64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// The values of a statement, by place (`?`, `?1`) or by name (`:name`).
#[derive(Debug, Clone, Copy)]
pub enum Params<'a> {
    /// For `?` and `?1`.
    Placed(&'a [Value<'a>]),
    /// For `:name`, with the colon.
    Named(&'a [(&'static str, Value<'a>)]),
}

/// Values by place: `params![a, &b]`.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        $crate::db::Params::Placed(&[$($crate::db::Value::from($value)),*])
    };
}
pub(crate) use params;

/// Values by name: `named_params! { ":a": a }`.
macro_rules! named_params {
    ($($name:literal: $value:expr),* $(,)?) => {
        $crate::db::Params::Named(&[$(($name, $crate::db::Value::from($value))),*])
    };
}
pub(crate) use named_params;

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

/// Databases count in i64; nothing of ours gets there.
impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value<'_> {
    fn from(number: usize) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value<'_> {
    fn from(truth: bool) -> Self {
        Self::Int(i64::from(truth))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Value<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<'a> From<&'a Option<String>> for Value<'a> {
    fn from(text: &'a Option<String>) -> Self {
        text.as_deref().into()
    }
}

impl<'a> From<&'a Option<Vec<u8>>> for Value<'a> {
    fn from(bytes: &'a Option<Vec<u8>>) -> Self {
        bytes.as_deref().into()
    }
}

/// What a column can be read as.
pub trait Column: Sized {
    /// The value, or what is wrong with it.
    fn read(value: Value<'_>) -> Result<Self, String>;
}

impl Column for i64 {
    fn read(value: Value<'_>) -> Result<Self, String> {
        match value {
            Value::Int(number) => Ok(number),
            other => Err(format!("{} where a number should be", kind(other))),
        }
    }
}

impl Column for u64 {
    fn read(value: Value<'_>) -> Result<Self, String> {
        i64::read(value)?.try_into().map_err(|_| "a negative number".to_owned())
    }
}

impl Column for u32 {
    fn read(value: Value<'_>) -> Result<Self, String> {
        i64::read(value)?.try_into().map_err(|_| "a number beyond 32 bits".to_owned())
    }
}

impl Column for usize {
    fn read(value: Value<'_>) -> Result<Self, String> {
        i64::read(value)?.try_into().map_err(|_| "a negative number".to_owned())
    }
}

impl Column for bool {
    fn read(value: Value<'_>) -> Result<Self, String> {
        Ok(i64::read(value)? != 0)
    }
}

impl Column for String {
    fn read(value: Value<'_>) -> Result<Self, String> {
        match value {
            Value::Text(text) => Ok(text.to_owned()),
            other => Err(format!("{} where text should be", kind(other))),
        }
    }
}

impl Column for Vec<u8> {
    fn read(value: Value<'_>) -> Result<Self, String> {
        match value {
            Value::Bytes(bytes) => Ok(bytes.to_owned()),
            other => Err(format!("{} where bytes should be", kind(other))),
        }
    }
}

impl<T: Column> Column for Option<T> {
    fn read(value: Value<'_>) -> Result<Self, String> {
        match value {
            Value::Null => Ok(None),
            value => T::read(value).map(Some),
        }
    }
}

const fn kind(value: Value<'_>) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Int(_) => "a number",
        Value::Text(_) => "text",
        Value::Bytes(_) => "bytes",
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl<'a> Value<'a> {
    /// From what SQLite found.
    pub(super) fn of_sqlite(value: ValueRef<'a>) -> Result<Self, StoreError> {
        let corrupt = |what: &str| StoreError::Corrupt { table: "a row", what: what.to_owned() };
        Ok(match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Int(number),
            ValueRef::Text(text) => {
                Self::Text(std::str::from_utf8(text).map_err(|_| corrupt("text is not UTF-8"))?)
            }
            ValueRef::Blob(bytes) => Self::Bytes(bytes),
            ValueRef::Real(_) => return Err(corrupt("a fraction; we keep none")),
        })
    }
}

type PostgresError = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Value<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, PostgresError> {
        match *self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Int(number) if *ty == Type::INT8 => out.put_i64(number),
            Self::Int(number) if *ty == Type::INT4 => out.put_i32(number.try_into()?),
            Self::Int(number) if *ty == Type::BOOL => out.put_u8(u8::from(number != 0)),
            Self::Text(text) if *ty == Type::TEXT => put_text(out, text),
            Self::Bytes(bytes) if *ty == Type::BYTEA => out.put_slice(bytes),
            other => return Err(format!("{} for a parameter of type {ty}", kind(other)).into()),
        }
        Ok(IsNull::No)
    }

    // Which types fit depends on the value, which `to_sql` looks at.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// PostgreSQL keeps every character but NUL. Text comes from tenants, and one that has a NUL must not make a whole
/// group of writes fail, so the picture of a NUL is kept in its place.
fn put_text(out: &mut BytesMut, text: &str) {
    for (number, part) in text.split('\0').enumerate() {
        if number > 0 {
            out.put_slice("\u{2400}".as_bytes());
        }
        out.put_slice(part.as_bytes());
    }
}

impl<'a> FromSql<'a> for Value<'a> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, PostgresError> {
        Ok(match *ty {
            Type::INT8 => Self::Int(i64::from_be_bytes(raw.try_into()?)),
            Type::INT4 => Self::Int(i64::from(i32::from_be_bytes(raw.try_into()?))),
            Type::BOOL => Self::Int(i64::from(raw.first().is_some_and(|byte| *byte != 0))),
            Type::TEXT => Self::Text(std::str::from_utf8(raw)?),
            Type::BYTEA => Self::Bytes(raw),
            ref other => return Err(format!("a column of type {other}; we keep none").into()),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, PostgresError> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
