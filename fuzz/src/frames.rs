//! What comes over a compartment's stream.

use bulkhead_protocol::{
    Assembler, Call, Decoder, Frame, FrameError, FromGuest, Kind, LogLine, OpenRequest,
    PAYLOAD_BYTES_MAX, Refused, Reply, SandboxResult, SignalKind, Start, ToGuest,
};

/// The first byte says how the rest is cut.
pub fn run(data: &[u8]) {
    let Some((dice, stream)) = data.split_first() else { return };
    let whole = read(std::iter::once(stream));
    let cut = read(crate::pieces(stream, *dice));
    assert_eq!(whole, cut, "what is read depends on how it was cut");
    let (frames, _) = whole;
    let mut again = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut again));
    assert!(stream.starts_with(&again), "what is written again is something else");
    let mut assembler = Assembler::default();
    for frame in frames {
        assert!(frame.payload.len() <= PAYLOAD_BYTES_MAX.min(frame.kind.message_bytes_max()));
        match assembler.push(frame) {
            Ok(Some((_, kind, message))) => {
                assert!(message.len() <= kind.message_bytes_max());
                parse(kind, &message);
            }
            Ok(None) => {}
            Err(_) => break,
        }
    }
}

fn read<'d>(pieces: impl Iterator<Item = &'d [u8]>) -> (Vec<Frame>, Option<FrameError>) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// Reads a message as whoever gets it does.
fn parse(kind: Kind, message: &[u8]) {
    fn as_json<T: serde::Serialize + serde::de::DeserializeOwned>(message: &[u8]) {
        if let Ok(read) = serde_json::from_slice::<T>(message) {
            let again = serde_json::to_vec(&read).expect("what was read can be written");
            serde_json::from_slice::<T>(&again).expect("and read again");
        }
    }
    match kind {
        Kind::Start => as_json::<Start>(message),
        Kind::Result => as_json::<SandboxResult>(message),
        Kind::Call => as_json::<Call>(message),
        Kind::Reply => as_json::<Reply>(message),
        Kind::Log => as_json::<Vec<LogLine>>(message),
        Kind::Signal => as_json::<SignalKind>(message),
        Kind::Open => as_json::<OpenRequest>(message),
        Kind::Refused => as_json::<Refused>(message),
        Kind::ToGuest => as_json::<ToGuest>(message),
        Kind::FromGuest => as_json::<FromGuest>(message),
        _ => {}
    }
}
