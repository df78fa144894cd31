//! What a function writes, made into log lines within its limits: deciding only; sending is the attempt's.

use bulkhead_protocol::LogLine;
use bulkhead_types::{Limits, Timestamp};

use crate::text::cut;

/// The longest line kept, bytes; what is longer is cut and says so.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024;

/// The longest line of plain output, bytes; what is longer becomes several.
const OUTPUT_LINE_BYTES_MAX: usize = 16 * 1024;

/// What every line costs besides its text: time, level, and what keeps it.
const LINE_OVERHEAD_BYTES: u64 = 16;

/// V8's last words when its heap is full.
const HEAP_WORDS: &[u8] = b"heap out of memory";

/// A function's lines, until they are handed on.
#[derive(Debug)]
pub(crate) struct Logs {
    bytes_left: u64,
    lines_left: u64,
    limits: (u64, u64),
    cut: bool,
    began: Timestamp,
    waiting: Vec<LogLine>,
    waiting_bytes: usize,
    /// The beginning of a line of output whose end has not come.
    partial: Vec<u8>,
    /// The end of the output so far, as long as [`HEAP_WORDS`] less one.
    tail: Vec<u8>,
    heap_exhausted: bool,
}

impl Logs {
    pub(crate) fn new(limits: &Limits, began: Timestamp) -> Self {
        Self {
            bytes_left: limits.log_bytes,
            lines_left: limits.log_lines,
            limits: (limits.log_bytes, limits.log_lines),
            cut: false,
            began,
            waiting: Vec::new(),
            waiting_bytes: 0,
            partial: Vec::new(),
            tail: Vec::new(),
            heap_exhausted: false,
        }
    }

    /// Adds lines that the function logged. Their times are kept within the attempt: they are the sandbox's word.
    pub(crate) fn lines(&mut self, lines: Vec<LogLine>, now: Timestamp) {
        for line in lines {
            let at =
                line.at.clamp(self.began.as_millis(), now.as_millis().max(self.began.as_millis()));
            let level = match line.level.as_str() {
                "debug" | "info" | "warn" | "error" => line.level,
                _ => "info".to_owned(),
            };
            let message = cut(&line.message, LINE_BYTES_MAX);
            self.admit(LogLine { at, level, message });
        }
    }

    /// Adds a line of the platform's, such as a refused connection. It counts like any other.
    pub(crate) fn note(&mut self, message: String, now: Timestamp) {
        self.admit(LogLine { at: now.as_millis(), level: "warn".to_owned(), message });
    }

    /// Adds bytes written to standard output or error.
    pub(crate) fn output(&mut self, bytes: &[u8], now: Timestamp) {
        self.watch_heap(bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = OUTPUT_LINE_BYTES_MAX - self.partial.len();
            let piece = &rest[..rest.len().min(room)];
            if let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
                self.partial.extend_from_slice(&piece[..end]);
                rest = &rest[end + 1..];
                self.end_line(now);
            } else {
                self.partial.extend_from_slice(piece);
                rest = &rest[piece.len()..];
                if self.partial.len() == OUTPUT_LINE_BYTES_MAX {
                    self.end_line(now);
                }
            }
        }
    }

    /// No more output comes: what has no end yet is a line too.
    pub(crate) fn end(&mut self, now: Timestamp) {
        if !self.partial.is_empty() {
            self.end_line(now);
        }
    }

    fn end_line(&mut self, now: Timestamp) {
        let line = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(&line);
        let message = text.strip_suffix('\r').unwrap_or(&text).to_owned();
        self.admit(LogLine { at: now.as_millis(), level: "info".to_owned(), message });
    }

    /// Keeps a line if the limits allow; the first that does not fit leaves a marker, the others nothing.
    fn admit(&mut self, line: LogLine) {
        if self.cut {
            return;
        }
        let cost = line.message.len() as u64 + LINE_OVERHEAD_BYTES;
        if self.lines_left == 0 || cost > self.bytes_left {
            self.cut = true;
            let (bytes, lines) = self.limits;
            let message = format!(
                "log_limit: this attempt's log is cut here, at its limit of {bytes} bytes or {lines} lines; \
                 the run goes on"
            );
            self.wait(LogLine { at: line.at, level: "warn".to_owned(), message });
            return;
        }
        self.lines_left -= 1;
        self.bytes_left -= cost;
        self.wait(line);
    }

    fn wait(&mut self, line: LogLine) {
        self.waiting_bytes += line.message.len();
        self.waiting.push(line);
    }

    /// Bytes of text that wait to be handed on.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Hands on what waits.
    pub(crate) fn take(&mut self) -> Vec<LogLine> {
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    /// Whether V8 said that its heap is full.
    pub(crate) fn heap_exhausted(&self) -> bool {
        self.heap_exhausted
    }

    fn watch_heap(&mut self, bytes: &[u8]) {
        let found = |bytes: &[u8]| bytes.windows(HEAP_WORDS.len()).any(|words| words == HEAP_WORDS);
        // The words may lie across two pieces.
        self.tail.extend_from_slice(&bytes[..bytes.len().min(HEAP_WORDS.len())]);
        self.heap_exhausted |= found(&self.tail) || found(bytes);
        self.tail.extend_from_slice(&bytes[bytes.len().min(HEAP_WORDS.len())..]);
        let over = self.tail.len().saturating_sub(HEAP_WORDS.len() - 1);
        self.tail.drain(..over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(5_000);

    fn logs(log_bytes: u64, log_lines: u64) -> Logs {
        let limits = Limits { log_bytes, log_lines, ..Limits::default() };
        Logs::new(&limits, Timestamp::from_millis(1_000))
    }

    fn line(at: i64, level: &str, message: &str) -> LogLine {
        LogLine { at, level: level.to_owned(), message: message.to_owned() }
    }

    fn texts(logs: &mut Logs) -> Vec<String> {
        logs.take().into_iter().map(|line| line.message).collect()
    }

    #[test]
    fn what_goes_over_a_limit_leaves_one_marker() {
        for mut logs in [logs(1_000, 2), logs(2 * (1 + LINE_OVERHEAD_BYTES), 100)] {
            logs.lines(["a", "b", "c", "d"].map(|text| line(2_000, "info", text)).to_vec(), NOW);
            let texts = texts(&mut logs);
            assert_eq!(texts[..2], ["a", "b"]);
            assert!(texts[2].starts_with("log_limit"), "{texts:?}");
            assert_eq!(texts.len(), 3);
        }
    }

    #[test]
    fn times_and_levels_are_not_believed() {
        let mut logs = logs(1_000, 10);
        let told = [(0, "info"), (9_999, "fatal"), (3_000, "error")];
        logs.lines(told.map(|(at, level)| line(at, level, "x")).to_vec(), NOW);
        let kept: Vec<_> = logs.take().into_iter().map(|line| (line.at, line.level)).collect();
        let kept: Vec<_> = kept.iter().map(|(at, level)| (*at, level.as_str())).collect();
        assert_eq!(kept, [(1_000, "info"), (5_000, "info"), (3_000, "error")]);
    }

    #[test]
    fn output_becomes_lines_however_it_arrives() {
        let mut whole = logs(10_000, 100);
        whole.output(b"one\ntwo\r\n\nthree", NOW);
        whole.end(NOW);
        assert_eq!(texts(&mut whole), ["one", "two", "", "three"]);
        let mut pieces = logs(10_000, 100);
        b"one\ntwo\r\n\nthree".iter().for_each(|byte| pieces.output(&[*byte], NOW));
        pieces.end(NOW);
        assert_eq!(texts(&mut pieces), ["one", "two", "", "three"]);
    }

    #[test]
    fn output_without_line_ends_is_kept_in_pieces() {
        let mut logs = logs(1 << 20, 100);
        logs.output(&vec![b'x'; OUTPUT_LINE_BYTES_MAX * 2 + 5], NOW);
        assert!(logs.partial.len() < OUTPUT_LINE_BYTES_MAX);
        logs.end(NOW);
        let lengths: Vec<usize> = texts(&mut logs).iter().map(String::len).collect();
        assert_eq!(lengths, [OUTPUT_LINE_BYTES_MAX, OUTPUT_LINE_BYTES_MAX, 5]);
    }

    #[test]
    fn v8s_last_words_are_heard_however_they_are_cut() {
        let words = b"FATAL ERROR: Reached heap limit - JavaScript heap out of memory\n----";
        for size in 1..words.len() {
            let mut logs = logs(1_000, 100);
            words.chunks(size).for_each(|piece| logs.output(piece, NOW));
            assert!(logs.heap_exhausted(), "in pieces of {size}");
        }
        let mut other = logs(1_000, 100);
        other.output(b"heap out of mem", NOW);
        other.output(b"heap out of mem", NOW);
        assert!(!other.heap_exhausted());
    }
}
