//! Holds the name in a TLS hello against the name that was asked for.
//!
//! The gateway judges a name and dials an address of it; behind that address there may be thousands of other sites, and
//! which of them answers is decided by the server name in the hello. Without this check "`*.allowed.example` only" would
//! mean "whatever shares a content network with it". What a sandbox sends is held back until its hello can be judged:
//!
//! | asked for | hello | |
//! |---|---|---|
//! | anything | none: other protocols, and TLS that begins later (`STARTTLS`) | passes |
//! | a name | that name | passes |
//! | a name | another name | `tls.name_mismatch` |
//! | a name | no name | `tls.no_name` |
//! | an address | no name, or the address | passes |
//! | an address | a name | judged by the policy as if that had been asked for |
//! | anything | an encrypted name, or one that may be | `tls.hidden_name` |
//! | anything | malformed, cut short · longer than 16 KiB · not whole in time | `tls.malformed` · `tls.too_long` · `tls.too_slow` |
//!
//! A server may ask for a second hello, and could take the name from that: one that comes in the clear is held against
//! the same name. A handshake inside an encrypted connection is out of sight, and so is an HTTP `Host`.

mod hello;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_protocol::Refused;

use crate::host::Host;
use crate::policy::{Policy, Verdict};

pub use hello::{Hello, HelloError, HelloReader};

/// How long a hello may take from its first byte to its last.
pub const HELLO_WAIT: Duration = Duration::from_secs(10);

/// The longest hello, bytes. With keys that withstand quantum computers and a ticket they have some 3 KiB.
const HELLO_BYTES_MAX: usize = 16 << 10;

/// Bytes held back at most: a hello may be cut into many records, each with a header.
const HELD_BYTES_MAX: usize = 32 << 10;

/// The longest second hello that is looked at: no server takes a longer one (OpenSSL's limit).
const SECOND_BYTES_MAX: usize = 131_396 + 4;

/// The same with the headers of records of one byte each.
const SECOND_WIRE_MAX: usize = 6 * SECOND_BYTES_MAX;

/// Types of the records that may come between two hellos.
const BETWEEN: [u8; 3] = [20, 21, 23];

/// What goes from a sandbox to the other side of one connection, under the check.
#[derive(Debug)]
pub struct NameCheck {
    asked: Host,
    target: SocketAddr,
    policy: Arc<Policy>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Everything so far may be the beginning of a hello.
    First { held: Vec<u8>, reader: HelloReader },
    /// A hello has passed: another may come.
    Between { header: Vec<u8>, record_left: usize },
    /// What comes looks like a second hello.
    Second(HelloReader),
    /// Nothing more is looked at.
    Over,
}

impl NameCheck {
    /// Of a connection to `target`, where `asked` was asked for.
    #[must_use]
    pub const fn new(asked: Host, target: SocketAddr, policy: Arc<Policy>) -> Self {
        let reader = HelloReader::new(HELLO_BYTES_MAX, HELD_BYTES_MAX);
        Self { asked, target, policy, state: State::First { held: Vec::new(), reader } }
    }

    /// Takes what the sandbox sent; returns what may go on, which may be nothing yet.
    ///
    /// # Errors
    /// `egress_denied` with the rule: the connection is to be broken off.
    pub fn take(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, Refused> {
        let State::First { held, reader } = &mut self.state else {
            self.look_on(&bytes)?;
            return Ok(bytes);
        };
        held.extend_from_slice(&bytes);
        if !begins_as_hello(held) {
            let held = std::mem::take(held);
            self.state = State::Over;
            return Ok(held);
        }
        match reader.feed(&bytes) {
            Ok(None) => Ok(Vec::new()),
            Ok(Some((hello, used))) => {
                let held = std::mem::take(held);
                self.judge(&hello)?;
                self.state = State::Between { header: Vec::new(), record_left: 0 };
                self.look_on(&bytes[used..])?;
                Ok(held)
            }
            Err(error @ HelloError::Malformed(_)) => {
                Err(self.denied("tls.malformed", &format!("as for its TLS hello, {error}")))
            }
            Err(error @ HelloError::TooLong(_)) => {
                Err(self.denied("tls.too_long", &format!("as for its TLS hello, {error}")))
            }
        }
    }

    /// Whether bytes are held back: then more has to come within [`HELLO_WAIT`].
    #[must_use]
    pub const fn holds(&self) -> bool {
        matches!(&self.state, State::First { held, .. } if !held.is_empty())
    }

    /// The refusal of a connection whose hello did not come in time.
    #[must_use]
    pub fn too_slow(&self) -> Refused {
        let waited = HELLO_WAIT.as_secs();
        self.denied("tls.too_slow", &format!("its TLS hello was not whole within {waited} s"))
    }

    /// The refusal of a connection that ended within its hello.
    #[must_use]
    pub fn cut_short(&self) -> Refused {
        self.denied("tls.malformed", "it ended within its TLS hello")
    }

    /// Looks at what follows a hello, while it passes.
    fn look_on(&mut self, mut bytes: &[u8]) -> Result<(), Refused> {
        while !bytes.is_empty() {
            bytes = match &mut self.state {
                State::Between { header, record_left } if *record_left == 0 => {
                    let missing = hello::RECORD_HEADER_BYTES - header.len();
                    let (piece, rest) = bytes.split_at(bytes.len().min(missing));
                    header.extend_from_slice(piece);
                    if let [kind, 3, _, high, low] = header[..] {
                        let length = usize::from(u16::from_be_bytes([high, low]));
                        if kind == hello::HANDSHAKE && length > 0 {
                            let mut reader = HelloReader::new(SECOND_BYTES_MAX, SECOND_WIRE_MAX);
                            // A header alone is neither whole nor wrong.
                            drop(reader.feed(header));
                            self.state = State::Second(reader);
                        } else if kind == hello::HANDSHAKE || BETWEEN.contains(&kind) {
                            (*record_left, *header) = (length, Vec::new());
                        } else {
                            self.state = State::Over;
                        }
                    } else if header.len() == hello::RECORD_HEADER_BYTES {
                        self.state = State::Over;
                    }
                    rest
                }
                State::Between { record_left, .. } => {
                    let skipped = bytes.len().min(*record_left);
                    *record_left -= skipped;
                    &bytes[skipped..]
                }
                State::Second(reader) => {
                    match reader.feed(bytes) {
                        Ok(Some((hello, _))) => {
                            self.judge(&hello)?;
                            self.state = State::Over;
                        }
                        Ok(None) => {}
                        // Another message, or one that was encrypted: what follows is out of sight.
                        Err(_) => self.state = State::Over,
                    }
                    &[]
                }
                State::First { .. } | State::Over => &[],
            };
        }
        Ok(())
    }

    fn judge(&self, hello: &Hello) -> Result<(), Refused> {
        if hello.hides_name {
            let what = "its TLS hello hides the name that it means (encrypted client hello)";
            return Err(self.denied("tls.hidden_name", what));
        }
        let said = match (&hello.server_name, &self.asked) {
            (Some(name), _) => name,
            (None, Host::Address(_)) => return Ok(()),
            (None, Host::Name(_)) => {
                return Err(self.denied("tls.no_name", "its TLS hello names no server"));
            }
        };
        let text = String::from_utf8_lossy(said);
        match Host::parse(&text) {
            Ok(said) if said == self.asked => Ok(()),
            Ok(said @ Host::Name(_)) if matches!(self.asked, Host::Address(_)) => {
                self.judge_as_asked(&said)
            }
            _ => {
                let said: String = text.chars().take(253).collect();
                Err(self.denied("tls.name_mismatch", &format!("its TLS hello names {said:?}")))
            }
        }
    }

    /// A name that turns up behind an address is judged as if it had been asked for.
    fn judge_as_asked(&self, said: &Host) -> Result<(), Refused> {
        let (address, port) = (self.target.ip(), self.target.port());
        let verdict = match self.policy.judge_host(said, Some(port)) {
            Some(verdict) => verdict,
            None => self.policy.judge(said, address, port),
        };
        match verdict {
            Verdict::Allowed { .. } => Ok(()),
            Verdict::Denied { rule } => {
                Err(self.denied(&rule, &format!("its TLS hello names {said}")))
            }
        }
    }

    fn denied(&self, rule: &str, what: &str) -> Refused {
        let (asked, port) = (&self.asked, self.target.port());
        Refused {
            code: "egress_denied".to_owned(),
            message: format!("the connection to {asked}:{port} is denied by rule {rule}: {what}"),
            rule: Some(rule.to_owned()),
        }
    }
}

/// Whether this is, or can still become, the beginning of a handshake record.
fn begins_as_hello(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [kind] => *kind == hello::HANDSHAKE,
        [kind, major, ..] => *kind == hello::HANDSHAKE && *major == 3,
    }
}

#[cfg(test)]
mod tests;
