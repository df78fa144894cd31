//! Columns to typed values.

use bulkhead_types::{FunctionKind, IdError, Timestamp};

use crate::db::{Row, StoreError};

/// A name of any of our id types.
pub(crate) fn id_at<T>(row: &Row<'_>, column: usize) -> Result<T, StoreError>
where
    T: TryFrom<String, Error = IdError>,
{
    let text: String = row.get(column)?;
    T::try_from(text).map_err(|error| unreadable(column, &error))
}

/// A moment.
pub(crate) fn time_at(row: &Row<'_>, column: usize) -> Result<Timestamp, StoreError> {
    Ok(Timestamp::from_millis(row.get(column)?))
}

/// A moment, where there may be none.
pub(crate) fn time_or_none_at(
    row: &Row<'_>,
    column: usize,
) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.get::<Option<i64>>(column)?.map(Timestamp::from_millis))
}

/// A kind of function.
pub(crate) fn kind_at(row: &Row<'_>, column: usize) -> Result<FunctionKind, StoreError> {
    let text: String = row.get(column)?;
    let unknown = || unreadable(column, &format!("{text:?} is no kind of function"));
    FunctionKind::parse(&text).ok_or_else(unknown)
}

fn unreadable(column: usize, why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt { table: "a row", what: format!("column {column}: {why}") }
}
