//! A log that is followed live: server-sent events, one log line each.

use bulkhead_api::{ErrorBody, LogLine};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::error::ClientError;

/// The longest event that is read, in bytes: a log line at its limit, and room.
const EVENT_BYTES_MAX: usize = 2 << 20;

/// Yields log lines until the execution has ended.
pub struct LogFollower {
    body: Incoming,
    buffer: Vec<u8>,
}

impl LogFollower {
    pub(crate) const fn new(body: Incoming) -> Self {
        Self { body, buffer: Vec::new() }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks or what comes is no log line.
    pub async fn next(&mut self) -> Result<Option<LogLine>, ClientError> {
        let strange = |why: String| ClientError::Strange { status: 200, why };
        loop {
            if let Some(event) = take_event(&mut self.buffer) {
                match parse(&event).map_err(strange)? {
                    Event::Line(line) => return Ok(Some(line)),
                    Event::End => return Ok(None),
                    Event::Nothing => continue,
                }
            }
            if self.buffer.len() > EVENT_BYTES_MAX {
                return Err(strange("an event is too long".to_owned()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(strange(error.to_string())),
                None => return Err(strange("the log broke off before its end".to_owned())),
            }
        }
    }
}

enum Event {
    Line(LogLine),
    End,
    Nothing,
}

/// Takes the first whole event out of `buffer`.
fn take_event(buffer: &mut Vec<u8>) -> Option<String> {
    let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
    let rest = buffer.split_off(end + 2);
    let event = std::mem::replace(buffer, rest);
    Some(String::from_utf8_lossy(&event).into_owned())
}

fn parse(event: &str) -> Result<Event, String> {
    let mut name = "message";
    let mut data = String::new();
    for line in event.lines() {
        if let Some(value) = line.strip_prefix("event:") {
            name = value.trim();
        } else if let Some(value) = line.strip_prefix("data:") {
            data.push_str(value.strip_prefix(' ').unwrap_or(value));
        }
    }
    match name {
        "log" => serde_json::from_str(&data).map(Event::Line).map_err(|error| error.to_string()),
        "end" => Ok(Event::End),
        "error" => {
            let body: Result<ErrorBody, _> = serde_json::from_str(&data);
            Err(body.map_or(data, |body| body.error.message))
        }
        _ => Ok(Event::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart_wherever_the_network_cuts() {
        let mut buffer = b"event: log\ndata: {}\n".to_vec();
        assert_eq!(take_event(&mut buffer), None);
        buffer.extend_from_slice(b"\n: still here\n\nevent");
        assert_eq!(take_event(&mut buffer).as_deref(), Some("event: log\ndata: {}\n\n"));
        assert!(matches!(parse(&take_event(&mut buffer).unwrap_or_default()), Ok(Event::Nothing)));
        assert_eq!(buffer, b"event");
        assert!(matches!(parse("event: end\ndata: {}\n\n"), Ok(Event::End)));
        assert!(parse("event: log\ndata: nonsense\n\n").is_err());
    }
}
