//! Messages longer than a frame: cut into fragments, and joined again under the kind's limit.

use std::collections::HashMap;

use crate::frame::{Frame, FrameError, Kind, PAYLOAD_BYTES_MAX};

/// Cuts a message into frames.
pub fn fragments(sandbox: u32, channel: u32, kind: Kind, message: &[u8]) -> Vec<Frame> {
    if message.is_empty() {
        return vec![Frame::new(sandbox, channel, kind, Vec::new())];
    }
    let last = (message.len() - 1) / PAYLOAD_BYTES_MAX;
    let cut = |(place, payload): (usize, &[u8])| Frame {
        sandbox,
        channel,
        kind,
        more: place < last,
        payload: payload.to_vec(),
    };
    message.chunks(PAYLOAD_BYTES_MAX).enumerate().map(cut).collect()
}

/// Joins the fragments that come over **one** sandbox's stream. Messages of different kinds or channels may be
/// interleaved. What is kept is bounded by [`Kind::message_bytes_max`] per kind, on the control channel only.
#[derive(Debug, Default)]
pub struct Assembler {
    parts: HashMap<(u32, Kind), Vec<u8>>,
}

impl Assembler {
    /// Takes a frame; returns the whole message with the last fragment.
    ///
    /// # Errors
    /// When the message grows past its limit, or a kind that never fragments says that more follows.
    pub fn push(&mut self, frame: Frame) -> Result<Option<(u32, Kind, Vec<u8>)>, FrameError> {
        let Frame { channel, kind, more, payload, .. } = frame;
        let key = (channel, kind);
        if !more && !self.parts.contains_key(&key) {
            return Ok(Some((channel, kind, payload)));
        }
        if channel != crate::CONTROL || kind.message_bytes_max() <= PAYLOAD_BYTES_MAX {
            return Err(FrameError::MessageTooLong(kind));
        }
        let whole = self.parts.entry(key).or_default();
        if whole.len() + payload.len() > kind.message_bytes_max() {
            return Err(FrameError::MessageTooLong(kind));
        }
        whole.extend_from_slice(&payload);
        if more {
            return Ok(None);
        }
        Ok(self.parts.remove(&key).map(|whole| (channel, kind, whole)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(frames: Vec<Frame>) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut assembler = Assembler::default();
        let mut whole = Vec::new();
        for frame in frames {
            whole.extend(assembler.push(frame)?.map(|(_, _, message)| message));
        }
        Ok(whole)
    }

    #[test]
    fn a_message_survives_being_cut() {
        for length in [0, 1, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX + 1, 3 * PAYLOAD_BYTES_MAX] {
            let message: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            assert_eq!(join(fragments(1, 0, Kind::Result, &message)), Ok(vec![message]));
        }
    }

    #[test]
    fn a_message_without_end_is_refused_at_its_limit() {
        let piece = Frame {
            sandbox: 1,
            channel: 0,
            kind: Kind::Log,
            more: true,
            payload: vec![0; PAYLOAD_BYTES_MAX],
        };
        assert_eq!(join(vec![piece; 17]), Err(FrameError::MessageTooLong(Kind::Log)));
    }

    #[test]
    fn fragments_on_an_egress_channel_are_refused() {
        let piece =
            Frame { sandbox: 1, channel: 9, kind: Kind::Data, more: true, payload: vec![0; 8] };
        assert_eq!(join(vec![piece]), Err(FrameError::MessageTooLong(Kind::Data)));
    }
}
