//! Columns to typed values.

use bulkhead_types::{FunctionKind, IdError, Timestamp};
use rusqlite::Row;
use rusqlite::types::Type;

/// A name of any of our id types.
pub(crate) fn id_at<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: TryFrom<String, Error = IdError>,
{
    let text: String = row.get(column)?;
    T::try_from(text).map_err(|error| unreadable(column, error))
}

/// A moment.
pub(crate) fn time_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_millis(row.get(column)?))
}

/// A moment, where there may be none.
pub(crate) fn time_or_none_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

/// A kind of function.
pub(crate) fn kind_at(row: &Row<'_>, column: usize) -> rusqlite::Result<FunctionKind> {
    let text: String = row.get(column)?;
    FunctionKind::parse(&text).ok_or_else(|| unreadable(column, Unknown(text)))
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no kind of function")]
struct Unknown(String);

fn unreadable(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
