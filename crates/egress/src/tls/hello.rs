//! Reads the hello that a TLS client begins with, as far as the name in it, however it is cut into records and packets.
//!
//! Only what decides which server answers is read: the server's name, and whether another one hides behind it. A reader
//! that is laxer than a server would be deceived, so what is unclear (two names, two lists of names, bytes after the end)
//! is malformed. Formats: RFC 8446 §4.1.2 and §5.1, RFC 6066 §3.

/// Type of a record that carries handshake messages.
pub(crate) const HANDSHAKE: u8 = 22;

/// Bytes of a record's header: type, version, length.
pub(crate) const RECORD_HEADER_BYTES: usize = 5;

/// Bytes of a handshake message's header: type, length.
const MESSAGE_HEADER_BYTES: usize = 4;

const CLIENT_HELLO: u8 = 1;

/// A record's content in the clear has at most 2¹⁴ bytes.
const RECORD_BYTES_MAX: usize = 1 << 14;

const SERVER_NAME: u16 = 0;

/// Extensions behind which a client hides the name that it means: encrypted client hello (0xfe0d) with the drafts that
/// were in use, and the encrypted server name before it.
const HIDING: [u16; 7] = [0xfe0d, 0xfe0c, 0xfe0b, 0xfe0a, 0xfe09, 0xfe08, 0xffce];

/// What a hello says about who is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The server's name as it stands there; not always a name at all.
    pub server_name: Option<Vec<u8>>,
    /// Whether another name may be meant, which only the server can read.
    pub hides_name: bool,
}

/// Why bytes are no hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Something is not as it must be.
    #[error("it is malformed: {0}")]
    Malformed(&'static str),
    /// Longer than is read.
    #[error("it has more than {0} bytes")]
    TooLong(usize),
}

use HelloError::Malformed;

/// Collects a hello piece by piece.
#[derive(Debug)]
pub struct HelloReader {
    bytes_max: usize,
    /// Bytes that may still be read, headers of records included.
    wire_left: usize,
    header: Vec<u8>,
    /// Of the record at hand.
    record_left: usize,
    message: Vec<u8>,
}

impl HelloReader {
    /// For a hello of at most `bytes_max` bytes, in records that have `wire_max` with their headers.
    #[must_use]
    pub const fn new(bytes_max: usize, wire_max: usize) -> Self {
        Self {
            bytes_max,
            wire_left: wire_max,
            header: Vec::new(),
            record_left: 0,
            message: Vec::new(),
        }
    }

    /// Takes the next bytes. The hello, once it is whole, and how many of `bytes` belong to it.
    ///
    /// # Errors
    /// When it is none, or too long.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<(Hello, usize)>, HelloError> {
        // Exactly so many, or what comes of it would depend on how they are cut.
        let within = &bytes[..bytes.len().min(self.wire_left)];
        self.wire_left -= within.len();
        let found = self.read_on(within)?;
        if found.is_none() && within.len() < bytes.len() {
            return Err(HelloError::TooLong(self.bytes_max));
        }
        Ok(found)
    }

    fn read_on(&mut self, bytes: &[u8]) -> Result<Option<(Hello, usize)>, HelloError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.record_left == 0 {
                rest = self.read_header(rest)?;
                continue;
            }
            let (piece, after) = rest.split_at(rest.len().min(self.record_left));
            self.message.extend_from_slice(piece);
            self.record_left -= piece.len();
            rest = after;
            if let Some(end) = self.message_end()? {
                if self.record_left > 0 || self.message.len() > end {
                    return Err(Malformed("its record goes on after it"));
                }
                let hello = read(&self.message[MESSAGE_HEADER_BYTES..end])?;
                return Ok(Some((hello, bytes.len() - rest.len())));
            }
        }
        Ok(None)
    }

    fn read_header<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], HelloError> {
        let missing = RECORD_HEADER_BYTES - self.header.len();
        let (piece, rest) = bytes.split_at(bytes.len().min(missing));
        self.header.extend_from_slice(piece);
        if let [kind, major, _, high, low] = self.header[..] {
            if kind != HANDSHAKE || major != 3 {
                return Err(Malformed("a record of another kind"));
            }
            self.record_left = usize::from(u16::from_be_bytes([high, low]));
            if self.record_left > RECORD_BYTES_MAX {
                return Err(Malformed("a record that is too long"));
            }
            self.header.clear();
        }
        Ok(rest)
    }

    /// Where the message ends, once all of it is there.
    fn message_end(&self) -> Result<Option<usize>, HelloError> {
        if self.message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(Malformed("another message"));
        }
        let [_, a, b, c, ..] = self.message[..] else { return Ok(None) };
        let length = u32::from_be_bytes([0, a, b, c]);
        let end = MESSAGE_HEADER_BYTES + usize::try_from(length).unwrap_or(usize::MAX / 2);
        if end > self.bytes_max {
            return Err(HelloError::TooLong(self.bytes_max));
        }
        Ok((self.message.len() >= end).then_some(end))
    }
}

/// Reads the body of a whole hello.
fn read(body: &[u8]) -> Result<Hello, HelloError> {
    let mut body = Cursor(body);
    // Version and random.
    body.take(2 + 32)?;
    let session = body.list_u8()?;
    let ciphers = body.list_u16()?;
    let compressions = body.list_u8()?;
    if session.0.len() > 32 || ciphers.0.is_empty() || compressions.0.is_empty() {
        return Err(Malformed("a list of a wrong length"));
    }
    let mut hello = Hello { server_name: None, hides_name: false };
    if body.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = body.list_u16()?;
    if !body.0.is_empty() {
        return Err(Malformed("bytes after its end"));
    }
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let content = extensions.list_u16()?;
        hello.hides_name |= HIDING.contains(&kind);
        if kind == SERVER_NAME {
            let name = server_name(content)?;
            if hello.server_name.replace(name).is_some() {
                return Err(Malformed("two lists of names"));
            }
        }
    }
    Ok(hello)
}

fn server_name(mut content: Cursor<'_>) -> Result<Vec<u8>, HelloError> {
    let mut names = content.list_u16()?;
    // There is one type of name, and one name of a type.
    let host_name = names.take(1)? == [0];
    let name = names.list_u16()?;
    if !host_name || !names.0.is_empty() || !content.0.is_empty() || name.0.is_empty() {
        return Err(Malformed("a list of names that is not one name"));
    }
    Ok(name.0.to_vec())
}

struct Cursor<'b>(&'b [u8]);

impl<'b> Cursor<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], HelloError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, HelloError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn list_u8(&mut self) -> Result<Self, HelloError> {
        let length = usize::from(self.take(1)?[0]);
        self.take(length).map(Cursor)
    }

    fn list_u16(&mut self) -> Result<Self, HelloError> {
        let length = usize::from(self.u16()?);
        self.take(length).map(Cursor)
    }
}
