//! Typed ids: a tenant id can't be handed over where an execution id is due.

use serde::{Deserialize, Serialize};

use crate::time::{Entropy, Timestamp};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} must be 1 to {max} characters of a-z, A-Z, 0-9, '-', '_', '.', and not start with '.': got {got:?}"
)]
pub struct IdError {
    what: &'static str,
    max: usize,
    got: String,
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The longest accepted text, in bytes.
            pub const LENGTH_MAX: usize = $max;

            /// Accepts 1 to [`Self::LENGTH_MAX`] characters that are safe in a path, a URL and a log.
            ///
            /// # Errors
            /// When the text is empty, too long, or has any other character.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                if name_is_valid(text, $max) {
                    Ok(Self(text.to_owned()))
                } else {
                    let got = text.chars().take(80).collect();
                    Err(IdError { what: $what, max: $max, got })
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

fn name_is_valid(text: &str, length_max: usize) -> bool {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.len() <= length_max && !text.starts_with('.') && text.chars().all(safe)
}

name_id!(
    /// The unit of isolation, limits, keys and fairness.
    TenantId, "a tenant id", 64);
name_id!(
    /// One external API that a tenant connects to, such as `github`.
    IntegrationId, "an integration id", 64);
name_id!(
    /// One end user's credentials for an integration.
    ConnectionId, "a connection id", 128);
name_id!(
    /// The name of a function within its integration and kind.
    FunctionName, "a function name", 128);
name_id!(
    /// One logical invocation: `exe_` and 26 characters that sort by creation time.
    ExecutionId, "an execution id", 40);
name_id!(
    /// A set of versions made live atomically: `dep_` and 26 characters.
    DeploymentId, "a deployment id", 40);
name_id!(
    /// One immutable build of a function: the SHA-256, in hex, of its bundle and its spec.
    VersionId, "a version id", 64);
name_id!(
    /// One worker process: `wrk_` and 26 characters, new at every start.
    WorkerId, "a worker id", 40);

macro_rules! generated_id {
    ($name:ident, $prefix:literal) => {
        impl $name {
            /// A new id that sorts by `now`; unique through 80 random bits.
            #[must_use]
            pub fn generate(now: Timestamp, entropy: &dyn Entropy) -> Self {
                Self(format!("{}{}", $prefix, sortable(now, entropy)))
            }
        }
    };
}
generated_id!(ExecutionId, "exe_");
generated_id!(DeploymentId, "dep_");
generated_id!(WorkerId, "wrk_");

impl WorkerId {
    /// A new id of a worker that joins with the token `token`: whoever hears it can tell that it is that token's.
    ///
    /// # Errors
    /// When `token` is no text for an id, or too long.
    pub fn of_token(token: &str, now: Timestamp, entropy: &dyn Entropy) -> Result<Self, IdError> {
        Self::parse(&format!("wrk_{}.{token}", sortable(now, entropy)))
    }

    /// Whether it was made for the token `token`.
    #[must_use]
    pub fn is_of_token(&self, token: &str) -> bool {
        self.0.rsplit_once('.').is_some_and(|(_, of)| !of.is_empty() && of == token)
    }
}

/// Crockford's base 32 of 48 bits of milliseconds and 80 random bits (the layout of a ULID), lower case.
fn sortable(now: Timestamp, entropy: &dyn Entropy) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut random = [0_u8; 10];
    entropy.fill(&mut random);
    let time = u128::from(now.as_millis().unsigned_abs() & 0xffff_ffff_ffff);
    let value = random.iter().fold(time, |value, byte| (value << 8) | u128::from(*byte));
    let digit =
        |shift: u32| char::from(DIGITS[usize::try_from((value >> shift) & 31).unwrap_or(0)]);
    (0..26).rev().map(|place| digit(place * 5)).collect()
}

/// A fencing number: grows with every lease of an execution. Whoever writes with an older one is refused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Fence(pub u64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::FixedClock;

    struct Zeros;
    impl Entropy for Zeros {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    #[test]
    fn names_that_could_climb_out_of_a_path_are_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "é", "a\0", &"x".repeat(65)] {
            assert!(TenantId::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "acme-corp", "A.b_c-9"] {
            assert_eq!(TenantId::parse(good).map(String::from).as_deref(), Ok(good));
        }
    }

    #[test]
    fn a_workers_id_tells_its_token() {
        let id = WorkerId::of_token("12ab34cd", Timestamp::from_millis(1), &Zeros).unwrap();
        assert!(id.is_of_token("12ab34cd"));
        for other in ["12ab34ce", "ab34cd", ".12ab34cd", ""] {
            assert!(!id.is_of_token(other), "{other:?}");
        }
        assert!(!WorkerId::generate(Timestamp::from_millis(1), &Zeros).is_of_token(""));
        assert!(
            WorkerId::of_token("a.b", Timestamp::from_millis(1), &Zeros).unwrap().is_of_token("b")
        );
    }

    #[test]
    fn generated_ids_sort_by_time() {
        let clock = FixedClock::at(Timestamp::from_millis(1_000));
        let early = ExecutionId::generate(crate::Clock::now(&clock), &Zeros);
        let late = ExecutionId::generate(Timestamp::from_millis(1_001), &Zeros);
        assert!(early < late);
        assert_eq!(early.as_str().len(), 30);
        assert!(ExecutionId::parse(early.as_str()).is_ok());
    }
}
