//! How a record's body is kept: as text, or sealed by somebody who has a key that this crate never sees.

use crate::db::{Row, StoreError};

/// Which record a body is of. A sealed body is bound to it: copied into another row, it does not open there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The stream's number, which no other stream of this database ever has.
    pub stream: i64,
    /// The record's id.
    pub id: &'a str,
}

/// Seals bodies that are written, and opens those that were sealed.
pub trait Bodies: Send + Sync {
    /// What is kept instead of the text; `None` keeps the text.
    ///
    /// # Errors
    /// When it can't be sealed. Nothing is written then: a body that should be sealed is not kept in clear.
    fn seal(&self, place: Place<'_>, body: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// The text of what was sealed.
    ///
    /// # Errors
    /// When it does not open.
    fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<String, StoreError>;
}

/// Keeps text as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct InClear;

impl Bodies for InClear {
    fn seal(&self, _: Place<'_>, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn open(&self, place: Place<'_>, _: &[u8]) -> Result<String, StoreError> {
        Err(does_not_open(place))
    }
}

/// Why a sealed body could not be read. It names the place, never the content.
#[must_use]
pub fn does_not_open(place: Place<'_>) -> StoreError {
    let what =
        format!("the sealed body of {:?} in stream {} does not open", place.id, place.stream);
    StoreError::Corrupt { table: "records", what }
}

/// A body as a row has it.
pub(super) enum Kept {
    Text(String),
    Sealed(Vec<u8>),
}

impl Kept {
    /// From two columns: `body`, `sealed`.
    pub(super) fn read(row: &Row<'_>, body: usize, sealed: usize) -> Result<Self, StoreError> {
        let kept: Option<Vec<u8>> = row.get(sealed)?;
        Ok(match kept {
            Some(sealed) => Self::Sealed(sealed),
            None => Self::Text(row.get(body)?),
        })
    }

    pub(super) const fn is_sealed(&self) -> bool {
        matches!(self, Self::Sealed(_))
    }

    pub(super) fn opened(
        self,
        bodies: &dyn Bodies,
        place: Place<'_>,
    ) -> Result<String, StoreError> {
        match self {
            Self::Text(body) => Ok(body),
            Self::Sealed(sealed) => bodies.open(place, &sealed),
        }
    }

    pub(super) fn of(
        bodies: &dyn Bodies,
        place: Place<'_>,
        body: &str,
    ) -> Result<Self, StoreError> {
        let sealed = bodies.seal(place, body)?;
        Ok(sealed.map_or_else(|| Self::Text(body.to_owned()), Self::Sealed))
    }

    /// For the columns `body` and `sealed`.
    pub(super) fn columns(&self) -> (&str, Option<&[u8]>) {
        match self {
            Self::Text(body) => (body, None),
            Self::Sealed(sealed) => ("", Some(sealed)),
        }
    }
}
