//! Words that must not be in the tree.

use crate::tidy::Source;

/// Word → why not. Split, so that this very file has no match.
const BANNED: &[(&str, &str)] = &[
    (concat!("FIX", "ME"), "fix it, or file an issue"),
    (concat!("X", "XX"), "fix it, or file an issue"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/home", "/"), "a path of one machine"),
];

/// Files that others wrote.
const FOREIGN: &[&str] = &["Cargo.lock", "package-lock.json"];

/// Looks at every line.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let ours = |source: &&Source| !FOREIGN.iter().any(|name| source.path.ends_with(name));
    sources.iter().filter(ours).flat_map(in_file).collect()
}

fn in_file(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        for (word, why) in BANNED {
            if line.contains(word) {
                findings.push(format!("{}:{}: {word}: {why}", source.path, at + 1));
            }
        }
        // Conflict markers, which a hurried rebase leaves behind.
        if line.starts_with(concat!("<<<<", "<<< ")) || line.starts_with(concat!(">>>>", ">>> ")) {
            findings.push(format!("{}:{}: a conflict was not resolved", source.path, at + 1));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banned_words_are_found_with_their_line() {
        let text = format!("fine\n// {} later\n", concat!("FIX", "ME"));
        let findings = check(&[Source { path: "a.rs".to_owned(), text: text.clone() }]);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].starts_with("a.rs:2: "), "{findings:?}");
        assert!(check(&[Source { path: "x/Cargo.lock".to_owned(), text }]).is_empty());
    }

    #[test]
    fn conflict_markers_are_found() {
        let text = format!("{}HEAD\n", concat!("<<<<", "<<< "));
        assert_eq!(check(&[Source { path: "a.md".to_owned(), text }]).len(), 1);
    }
}
