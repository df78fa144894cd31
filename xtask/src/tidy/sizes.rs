//! How long functions and files may be. A function fits a screen; a file is read in one go.

use anyhow::Context;
use syn::spanned::Spanned;
use syn::visit::Visit;

use crate::tidy::Source;

/// Lines of a Rust function, from its signature to its closing brace, comments included.
const FUNCTION_LINES_MAX: usize = 70;

/// Lines of a source file. Most have 100 to 400.
const FILE_LINES_MAX: usize = 600;

/// Longer functions: path, name, why.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[(
    "crates/server/src/router.rs",
    "handler",
    "a table: one line per route, and none may be left out",
)];

/// Longer files: path, why.
const LONG_FILES: &[(&str, &str)] = &[];

/// Measures all Rust, TypeScript and JavaScript files.
pub(super) fn check(sources: &[Source]) -> anyhow::Result<Vec<String>> {
    let mut findings = too_long(sources)?;
    findings.extend(stale(sources));
    Ok(findings)
}

fn too_long(sources: &[Source]) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for source in sources {
        let kind = source.path.rsplit('.').next().unwrap_or_default();
        if !["rs", "ts", "js", "mjs", "cjs"].contains(&kind) {
            continue;
        }
        findings.extend(file(source));
        if kind == "rs" {
            findings.extend(functions(source)?);
        }
    }
    Ok(findings)
}

fn file(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    let excused = LONG_FILES.iter().any(|(path, _)| *path == source.path);
    (lines > FILE_LINES_MAX && !excused)
        .then(|| format!("{}: {lines} lines; at most {FILE_LINES_MAX}", source.path))
}

fn functions(source: &Source) -> anyhow::Result<Vec<String>> {
    let parsed = syn::parse_file(&source.text).with_context(|| format!("parse {}", source.path))?;
    let mut measured = Functions::default();
    measured.visit_file(&parsed);
    let excused = |name: &str| {
        LONG_FUNCTIONS.iter().any(|(path, known, _)| *path == source.path && *known == name)
    };
    let long = |(name, line, lines): (String, usize, usize)| {
        (lines > FUNCTION_LINES_MAX && !excused(&name)).then(|| {
            let path = &source.path;
            format!("{path}:{line}: {name} has {lines} lines; at most {FUNCTION_LINES_MAX}")
        })
    };
    Ok(measured.0.into_iter().filter_map(long).collect())
}

/// Excuses for files that are gone.
fn stale(sources: &[Source]) -> Vec<String> {
    let paths = LONG_FUNCTIONS.iter().map(|(path, _, _)| path);
    paths
        .chain(LONG_FILES.iter().map(|(path, _)| path))
        .filter(|path| !sources.iter().any(|source| source.path == **path))
        .map(|path| format!("xtask/src/tidy/sizes.rs: excuses {path}, which is not there"))
        .collect()
}

/// Name, first line and number of lines of each function.
#[derive(Default)]
struct Functions(Vec<(String, usize, usize)>);

impl Functions {
    fn measure(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.span().start().line;
        let lines = block.span().end().line + 1 - first;
        self.0.push((signature.ident.to_string(), first, lines));
    }
}

impl<'tree> Visit<'tree> for Functions {
    fn visit_item_fn(&mut self, item: &'tree syn::ItemFn) {
        self.measure(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'tree syn::ImplItemFn) {
        self.measure(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'tree syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.measure(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn findings(path: &str, text: String) -> Vec<String> {
        too_long(&[Source { path: path.to_owned(), text }]).unwrap()
    }

    /// A function of `lines` lines.
    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    // Why.\n".repeat(lines - 2))
    }

    #[test]
    fn what_is_excused_is_there() {
        let gone = stale(&[]);
        assert_eq!(gone.len(), LONG_FUNCTIONS.len() + LONG_FILES.len(), "{gone:?}");
    }

    #[test]
    fn a_function_may_fill_a_screen_and_no_more() {
        assert!(findings("a.rs", function(FUNCTION_LINES_MAX)).is_empty());
        let long = findings("a.rs", format!("\n{}", function(FUNCTION_LINES_MAX + 1)));
        assert_eq!(long, ["a.rs:2: long has 71 lines; at most 70"]);
    }

    #[test]
    fn methods_and_functions_in_modules_count_too() {
        let long = function(FUNCTION_LINES_MAX + 1);
        let text = format!(
            "struct X;\nimpl X {{\n{long}}}\nmod inside {{\n{long}}}\ntrait T {{\n{long}}}\n"
        );
        assert_eq!(findings("a.rs", text).len(), 3);
    }

    #[test]
    fn files_have_a_limit_in_every_language() {
        for kind in ["rs", "ts", "mjs"] {
            let text = |lines: usize| "// Why.\n".repeat(lines);
            assert!(findings(&format!("a.{kind}"), text(FILE_LINES_MAX)).is_empty());
            assert_eq!(findings(&format!("a.{kind}"), text(FILE_LINES_MAX + 1)).len(), 1);
        }
        assert!(findings("a.json", "1\n".repeat(FILE_LINES_MAX + 1)).is_empty());
    }
}
