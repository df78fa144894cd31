//! Cutting text from sandboxes to a size, at a character's border.

/// What is cut ends with this.
const CUT_MARK: &str = "… (cut)";

/// `text` in at most `bytes_max` bytes and the mark of a cut.
pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT_MARK}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut("häuser", 6 + 1), "häuser");
        assert_eq!(cut("häuser", 2), "h… (cut)");
        assert_eq!(cut("häuser", 3), "hä… (cut)");
    }
}
