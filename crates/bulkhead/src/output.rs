//! Data to standard output, words for people to standard error.

use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;

/// Writes to standard output. A reader that has gone away is the end of our work, and no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => Ok(written?),
    }
}

/// One line of data.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    print(&format!("{text}\n"))
}

/// Data as it is.
pub(crate) fn raw(text: &str) -> anyhow::Result<()> {
    print(text)
}

/// Data as JSON: readable at a terminal, one line in a pipe.
pub(crate) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    let pretty = io::stdout().is_terminal();
    let text =
        if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    line(&text?)
}

/// Data as a table; columns as wide as their widest cell.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    print(&lay_out(head, rows))
}

/// Text that may be a function's, or an API's, without what would steer the reader's terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// A table as text, of which each row is one line.
pub(crate) fn lay_out(head: &[&str], rows: &[Vec<String>]) -> String {
    let one_line = |cell: &String| plain(cell).replace(['\n', '\t'], " ");
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(one_line).collect()).collect();
    let cell =
        |row: &Vec<String>, place: usize| row.get(place).map_or(0, |cell| cell.chars().count());
    let width = |place: usize| {
        let widest = rows.iter().map(|row| cell(row, place)).max().unwrap_or(0);
        widest.max(head.get(place).map_or(0, |name| name.chars().count()))
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let lay = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut text = lay(&mut head.iter().copied());
    for row in &rows {
        text.push_str(&lay(&mut row.iter().map(String::as_str)));
    }
    text
}

/// A line for people.
pub(crate) fn say(text: &str) {
    let written = writeln!(io::stderr().lock(), "{}", plain(text));
    // With nobody to tell there is nothing to do about it.
    drop(written);
}

/// What was done to the one thing named, of which nothing is left to show: words for people, or `{done: name}`.
pub(crate) fn said(done: &str, name: &str, words: &str, is_json: bool) -> anyhow::Result<()> {
    if is_json {
        return json(&serde_json::json!({ done: name }));
    }
    say(words);
    Ok(())
}

/// Asks; where nobody is at a terminal to be asked, the answer is yes.
pub(crate) fn agreed(question: &str) -> anyhow::Result<bool> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(true);
    }
    write!(io::stderr().lock(), "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// An error with its causes, once.
pub(crate) fn complain(error: &anyhow::Error) {
    say(&format!("error: {error:#}"));
}

/// A cell for something that may be absent.
pub(crate) fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows =
            [vec!["a".to_owned(), "1".to_owned()], vec!["long name".to_owned(), "2".to_owned()]];
        let expected = "name       n\na          1\nlong name  2\n";
        assert_eq!(lay_out(&["name", "n"], &rows), expected);
    }

    #[test]
    fn a_functions_words_neither_steer_the_terminal_nor_break_a_table() {
        let rows = [vec!["a\u{1b}[2Jb\nc\td\u{9b}e".to_owned()]];
        assert_eq!(lay_out(&["said"], &rows), "said\na[2Jb c de\n");
        assert_eq!(plain("one\r\n\ttwo\u{7}"), "one\n\ttwo");
    }
}
