//! What workers on other machines join with. A token is made by the operator and is nobody's key: it opens what a
//! worker needs, and none of what tenants or the operator do.

use bulkhead_store::catalog::{self, KeyRow};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use crate::error::PlatformError;
use crate::model::{KeyInfo, NewKey};
use crate::platform::Platform;
use crate::tenants::check_label;

/// Every token begins with it: `bhw_ID_SECRET`.
const PREFIX: &str = "bhw_";

/// Random bytes of a token's id, which is no secret, and of what is.
const ID_BYTES: usize = 4;
const SECRET_BYTES: usize = 32;

/// Longer texts are no token; they are not even hashed.
const TOKEN_BYTES_MAX: usize = 128;

/// Tokens at the same time.
const TOKENS_MAX: usize = 1_000;

/// The id that stands in a token, if the text has a token's form.
#[must_use]
pub fn worker_token_id(token: &str) -> Option<&str> {
    let (id, secret) = token.strip_prefix(PREFIX)?.split_once('_')?;
    let is_hex = |text: &str, bytes: usize| {
        text.len() == bytes * 2 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    (is_hex(id, ID_BYTES) && is_hex(secret, SECRET_BYTES)).then_some(id)
}

impl Platform {
    /// Makes a token. It is shown this once: what is kept is its SHA-256.
    ///
    /// # Errors
    /// `invalid_body` for a label that is too long, or when there are 1,000 already; when the store fails.
    pub async fn create_worker_token(&self, label: &str) -> Result<NewKey, PlatformError> {
        check_label(label)?;
        if self.worker_tokens().await?.len() >= TOKENS_MAX {
            let message = format!("there are {TOKENS_MAX} tokens already; revoke some");
            return Err(PlatformError::invalid("invalid_body", message));
        }
        let id = self.random_hex(ID_BYTES);
        let secret = format!("{PREFIX}{id}_{}", self.random_hex(SECRET_BYTES));
        let digest = digest_of(&secret);
        let row = KeyRow { id: id.clone(), label: label.to_owned(), created_at: self.now() };
        self.db.write(move |tx| catalog::insert_worker_token(tx, &row, &digest)).await?;
        Ok(NewKey { id, secret })
    }

    /// All tokens, oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn worker_tokens(&self) -> Result<Vec<KeyInfo>, PlatformError> {
        let rows = self.db.read(catalog::worker_tokens).await?;
        let info =
            |row: KeyRow| KeyInfo { id: row.id, label: row.label, created_at: row.created_at };
        Ok(rows.into_iter().map(info).collect())
    }

    /// Takes a token back. Whoever joined with it is refused from the next message on, and its leases run out.
    ///
    /// # Errors
    /// `key_not_found`; when the store fails.
    pub async fn revoke_worker_token(&self, id: &str) -> Result<(), PlatformError> {
        let token = id.to_owned();
        if self.db.write(move |tx| catalog::remove_worker_token(tx, &token)).await? {
            return Ok(());
        }
        let message = format!("there is no worker token {id:?}");
        Err(PlatformError::not_found("key_not_found", message))
    }

    /// The id of a token; `None` when it is none of ours. Found by its id, which is public, and compared by digest in
    /// constant time. Never from memory: a token that was revoked, on whichever server, is refused at once.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn authenticate_worker(&self, token: &str) -> Result<Option<String>, PlatformError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Ok(None);
        }
        let Some(id) = worker_token_id(token).map(str::to_owned) else { return Ok(None) };
        let of = id.clone();
        let kept = self.db.read(move |db| catalog::worker_token_digest(db, &of)).await?;
        let same = kept.is_some_and(|kept| bool::from(kept.ct_eq(&digest_of(token))));
        Ok(same.then_some(id))
    }
}

fn digest_of(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::worker_token_id;

    #[test]
    fn only_a_tokens_form_has_an_id() {
        let secret = "0".repeat(64);
        assert_eq!(worker_token_id(&format!("bhw_12ab34cd_{secret}")), Some("12ab34cd"));
        for other in [
            format!("bh_{secret}"),
            format!("bhw_12ab34c_{secret}"),
            format!("bhw_12AB34CD_{secret}"),
            format!("bhw_12ab34cd_{secret}0"),
            format!("bhw_12ab34cd{secret}"),
            String::new(),
        ] {
            assert_eq!(worker_token_id(&other), None, "{other}");
        }
    }
}
