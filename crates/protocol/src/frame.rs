//! The frame: a 16-byte header, little endian, and at most 64 KiB of payload.
//!
//! ```text
//! 0  u32  length of the payload, at most 65,536
//! 4  u32  sandbox; 0 is the guest itself
//! 8  u32  channel; 0 is control, others are egress connections
//! 12 u8   kind
//! 13 u8   flags: bit 0 = more fragments of the same message follow
//! 14 u16  zero
//! ```
//! Small frames keep one sandbox from holding up its neighbours: a message of megabytes goes as fragments,
//! between which the frames of others pass.

/// Bytes of a header.
pub const HEADER_BYTES: usize = 16;

/// The largest payload of one frame, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

const FLAG_MORE: u8 = 1;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $value:literal, from_sandbox $from:literal, bytes $max:expr;)*) => {
        /// What a frame carries.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $name = $value,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            fn from_u8(value: u8) -> Option<Self> {
                match value { $($value => Some(Self::$name),)* _ => None }
            }

            /// Whether a sandbox may send it. Anything else from a sandbox is a violation that ends it.
            #[must_use]
            pub const fn from_sandbox(self) -> bool {
                match self { $(Self::$name => $from,)* }
            }

            /// The most bytes that a whole message of this kind may have, over all its fragments.
            #[must_use]
            pub const fn message_bytes_max(self) -> usize {
                match self { $(Self::$name => $max,)* }
            }
        }
    };
}

const MIB: usize = 1 << 20;

kinds! {
    /// Worker → sandbox: the execution to run ([`crate::Start`]).
    Start = 1, from_sandbox false, bytes 8 * MIB;
    /// Sandbox → worker: how it ended ([`crate::SandboxResult`]). The first counts.
    Result = 2, from_sandbox true, bytes 8 * MIB;
    /// Sandbox → worker: a call of the platform ([`crate::Call`]).
    Call = 3, from_sandbox true, bytes 8 * MIB;
    /// Worker → sandbox: the answer ([`crate::Reply`]).
    Reply = 4, from_sandbox false, bytes 64 * MIB;
    /// Sandbox → worker: log lines (JSON array of [`crate::LogLine`]).
    Log = 5, from_sandbox true, bytes MIB;
    /// Worker → sandbox: soft deadline or cancel ([`crate::SignalKind`]).
    Signal = 6, from_sandbox false, bytes 4096;
    /// Guest → worker: raw bytes the sandbox wrote to its standard output or error.
    Output = 7, from_sandbox false, bytes PAYLOAD_BYTES_MAX;
    /// Sandbox → worker: the handler's first line is about to run; empty.
    Started = 8, from_sandbox true, bytes 0;
    /// Worker → sandbox, while it is parked: go through what a start touches, so that the pages it writes to are its
    /// own by then; empty.
    Rehearse = 9, from_sandbox false, bytes 0;
    /// Sandbox → worker: connect to a host, on a new channel ([`crate::OpenRequest`]).
    Open = 16, from_sandbox true, bytes 4096;
    /// Worker → sandbox: connected ([`crate::Opened`]).
    Opened = 17, from_sandbox false, bytes 4096;
    /// Worker → sandbox: not connected, and why ([`crate::Refused`]); the channel is closed.
    Refused = 18, from_sandbox false, bytes 4096;
    /// Both ways: bytes of a connection.
    Data = 19, from_sandbox true, bytes PAYLOAD_BYTES_MAX;
    /// Both ways: no more data from this side.
    End = 20, from_sandbox true, bytes 0;
    /// Both ways: the connection is broken off; the channel is closed.
    Reset = 21, from_sandbox true, bytes 0;
    /// Both ways: the receiver took this many bytes of data (u32, little endian); as many more may follow.
    Window = 22, from_sandbox true, bytes 4;
    /// Worker → guest ([`crate::ToGuest`]).
    ToGuest = 64, from_sandbox false, bytes MIB;
    /// Guest → worker ([`crate::FromGuest`]).
    FromGuest = 65, from_sandbox false, bytes MIB;
    /// Worker → guest: the next bytes of a bundle ([`crate::BundleHead`]); the channel is its zygote's number.
    Bundle = 66, from_sandbox false, bytes PAYLOAD_BYTES_MAX;
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Which sandbox it is from or for; 0 is the guest.
    pub sandbox: u32,
    /// 0 is control.
    pub channel: u32,
    /// What it carries.
    pub kind: Kind,
    /// Whether more fragments of the same message follow.
    pub more: bool,
    /// At most [`PAYLOAD_BYTES_MAX`].
    pub payload: Vec<u8>,
}

impl Frame {
    /// A whole message in one frame.
    #[must_use]
    pub fn new(sandbox: u32, channel: u32, kind: Kind, payload: Vec<u8>) -> Self {
        debug_assert!(payload.len() <= PAYLOAD_BYTES_MAX, "longer messages go through fragments()");
        Self { sandbox, channel, kind, more: false, payload }
    }

    /// Appends the frame's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        debug_assert!(self.payload.len() <= PAYLOAD_BYTES_MAX);
        #[allow(clippy::cast_possible_truncation, reason = "at most PAYLOAD_BYTES_MAX")]
        let length = self.payload.len() as u32;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&self.sandbox.to_le_bytes());
        out.extend_from_slice(&self.channel.to_le_bytes());
        out.extend_from_slice(&[self.kind as u8, if self.more { FLAG_MORE } else { 0 }, 0, 0]);
        out.extend_from_slice(&self.payload);
    }
}

/// Why bytes are not a frame. The stream can't be read on after any of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The header announces more than a frame may carry.
    #[error("frame of {0} bytes; at most {PAYLOAD_BYTES_MAX} are allowed")]
    TooLong(u32),
    /// No such kind.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// Flags or reserved bytes that this version does not know.
    #[error("unknown frame flags")]
    UnknownFlags,
    /// A message of this kind is too long over all its fragments.
    #[error("{0:?} message longer than {max} bytes", max = .0.message_bytes_max())]
    MessageTooLong(Kind),
}

/// Takes bytes as they come and yields frames. Keeps at most one frame's bytes plus what one read brought.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    taken: usize,
}

impl Decoder {
    /// Adds bytes that were read.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` until more bytes are fed.
    ///
    /// # Errors
    /// When the bytes are no frame; nothing after them can be read.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let bytes = &self.buffer[self.taken..];
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let field = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let length = field(0);
        let length_bytes = usize::try_from(length).unwrap_or(usize::MAX);
        if length_bytes > PAYLOAD_BYTES_MAX {
            return Err(FrameError::TooLong(length));
        }
        let kind = Kind::from_u8(header[12]).ok_or(FrameError::UnknownKind(header[12]))?;
        if header[13] & !FLAG_MORE != 0 || header[14] != 0 || header[15] != 0 {
            return Err(FrameError::UnknownFlags);
        }
        if length_bytes > kind.message_bytes_max() {
            return Err(FrameError::MessageTooLong(kind));
        }
        let end = HEADER_BYTES + length_bytes;
        if bytes.len() < end {
            return Ok(None);
        }
        let payload = bytes[HEADER_BYTES..end].to_vec();
        let more = header[13] & FLAG_MORE != 0;
        self.taken += end;
        Ok(Some(Frame { sandbox: field(4), channel: field(8), kind, more, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let kind = proptest::sample::select(Kind::ALL);
        (
            any::<u32>(),
            any::<u32>(),
            kind,
            any::<bool>(),
            proptest::collection::vec(any::<u8>(), 0..300),
        )
            .prop_map(|(sandbox, channel, kind, more, mut payload)| {
                payload.truncate(kind.message_bytes_max());
                Frame { sandbox, channel, kind, more, payload }
            })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_however_the_bytes_arrive(
            sent in proptest::collection::vec(frames(), 0..8), chunk in 1_usize..64,
        ) {
            let mut bytes = Vec::new();
            sent.iter().for_each(|frame| frame.encode(&mut bytes));
            let mut decoder = Decoder::default();
            let mut received = Vec::new();
            for piece in bytes.chunks(chunk) {
                decoder.feed(piece);
                while let Some(frame) = decoder.next_frame().expect("valid") {
                    received.push(frame);
                }
            }
            prop_assert_eq!(sent, received);
        }

        #[test]
        fn garbage_never_panics_and_never_buffers_more_than_a_frame(
            bytes in proptest::collection::vec(any::<u8>(), 0..2_000),
        ) {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }

    #[test]
    fn bad_headers_are_refused_before_the_payload_is_awaited() {
        let mut header = [0_u8; HEADER_BYTES];
        header[12] = Kind::Data as u8;
        let check = |header: [u8; HEADER_BYTES]| {
            let mut decoder = Decoder::default();
            decoder.feed(&header);
            decoder.next_frame()
        };
        let mut long = header;
        long[0..4].copy_from_slice(&65_537_u32.to_le_bytes());
        assert_eq!(check(long), Err(FrameError::TooLong(65_537)));
        let mut unknown = header;
        unknown[12] = 200;
        assert_eq!(check(unknown), Err(FrameError::UnknownKind(200)));
        let mut flags = header;
        flags[13] = 2;
        assert_eq!(check(flags), Err(FrameError::UnknownFlags));
        let mut started = header;
        started[12] = Kind::Started as u8;
        started[0] = 1;
        assert_eq!(check(started), Err(FrameError::MessageTooLong(Kind::Started)));
    }
}
