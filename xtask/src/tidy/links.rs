//! Relative links in documents lead somewhere.

use std::path::{Component, Path, PathBuf};

use crate::tidy::Source;

/// Follows the links of all Markdown files. `paths` are all files of the repository.
pub(super) fn check(sources: &[Source], paths: &[String]) -> Vec<String> {
    let documents = sources.iter().filter(|source| source.path.ends_with(".md"));
    documents.flat_map(|document| in_document(document, sources, paths)).collect()
}

fn in_document(document: &Source, sources: &[Source], paths: &[String]) -> Vec<String> {
    let mut findings = Vec::new();
    for (line, target) in links(&document.text) {
        let (path, anchor) = target.split_once('#').unwrap_or((target.as_str(), ""));
        let place = if path.is_empty() {
            Some(PathBuf::from(&document.path))
        } else {
            resolve(&document.path, path)
        };
        let Some(place) = place.filter(|place| exists(place, paths)) else {
            findings.push(format!("{}:{line}: {target} leads nowhere", document.path));
            continue;
        };
        let text = sources.iter().find(|source| Path::new(&source.path) == place);
        if !anchor.is_empty()
            && text.is_some_and(|text| !anchors(&text.text).contains(&anchor.to_owned()))
        {
            findings.push(format!("{}:{line}: {target}: no such heading", document.path));
        }
    }
    findings
}

/// Targets of `[text](target)` that are relative, outside of fenced code, with their line.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (line, content) in prose(text) {
        let mut rest = content;
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let Some(end) = rest.find(')') else { break };
            let target = rest[..end].split_whitespace().next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                links.push((line, target.to_owned()));
            }
            rest = &rest[end..];
        }
    }
    links
}

/// Lines outside of fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((at + 1, line))
    })
}

/// The anchors of a document's headings, made as code hosts make them.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).filter_map(|(_, line)| line.strip_prefix('#'));
    headings
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

fn resolve(document: &str, target: &str) -> Option<PathBuf> {
    let mut place = Path::new(document).parent()?.to_owned();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => {
                if !place.pop() {
                    return None;
                }
            }
            Component::Normal(name) => place.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(place)
}

fn exists(place: &Path, paths: &[String]) -> bool {
    paths.iter().any(|path| Path::new(path).starts_with(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let document = Source { path: "docs/a.md".to_owned(), text: text.to_owned() };
        let other = Source { path: "docs/b.md".to_owned(), text: "# Of fish & men\n".to_owned() };
        let paths = ["docs/a.md", "docs/b.md", "crates/x/src/lib.rs"].map(str::to_owned);
        check(&[document, other], &paths)
    }

    #[test]
    fn links_that_lead_somewhere_are_fine() {
        for text in [
            "[b](b.md)",
            "[b](./b.md#of-fish--men)",
            "[x](../crates/x/)",
            "[x](../crates/x/src/lib.rs)",
            "[out](https://example.com/none.md)",
            "# Here\n[up](#here)",
            "```\n[not](a-link.md)\n```",
            "none",
        ] {
            assert_eq!(findings(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn dead_links_are_found() {
        for text in [
            "[c](c.md)",
            "two: [b](b.md), [c](c.md)",
            "[b](b.md#of-birds)",
            "[out](../../secret.md)",
            "[root](/docs/b.md)",
            "[here](#nowhere)",
        ] {
            assert_eq!(findings(text).len(), 1, "{text}");
        }
    }
}
