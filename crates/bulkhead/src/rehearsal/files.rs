//! Where a project keeps its mocks: `INTEGRATION/tests/NAME.test.json`, and `NAME.CASE.test.json` for more of them.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bulkhead_api::DeployFunction;
use rustix::process::{Gid, Uid};

use super::mocks::Mocks;

/// Bytes of one file of mocks.
const FILE_BYTES_MAX: u64 = 64 << 20;

const END: &str = ".test.json";

/// One file of mocks.
pub(crate) struct TestFile {
    /// Relative to the project.
    pub(crate) shown: String,
    pub(crate) integration: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) mocks: Mocks,
}

/// A function's name in a spec that the compiler wrote.
pub(crate) fn named(function: &DeployFunction) -> (&str, &str, &str) {
    let text = |field: &str| function.spec[field].as_str().unwrap_or_default();
    (text("integration"), text("kind"), text("name"))
}

/// The mocks of these functions, by name of file.
pub(crate) fn find(project: &Path, functions: &[DeployFunction]) -> anyhow::Result<Vec<TestFile>> {
    let mut integrations: Vec<_> = functions.iter().map(|function| named(function).0).collect();
    integrations.sort_unstable();
    integrations.dedup();
    let mut found = Vec::new();
    for integration in integrations {
        let directory = project.join(integration).join("tests");
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries {
            let file = entry?.file_name().to_string_lossy().into_owned();
            let Some(stem) = file.strip_suffix(END) else { continue };
            let shown = format!("{integration}/tests/{file}");
            let mocks = read(&directory.join(&file)).with_context(|| shown.clone())?;
            let of = functions.iter().map(named).filter(|(i, _, _)| *i == integration);
            let (kind, name) = function_of(stem, &mocks, of.map(|(_, kind, name)| (kind, name)))
                .with_context(|| shown.clone())?;
            let (kind, name) = (kind.to_owned(), name.to_owned());
            found.push(TestFile { shown, integration: integration.to_owned(), kind, name, mocks });
        }
    }
    found.sort_by(|a, b| a.shown.cmp(&b.shown));
    Ok(found)
}

/// Which function a file is about: the longest name that it begins with.
fn function_of<'a>(
    stem: &str,
    mocks: &Mocks,
    functions: impl Iterator<Item = (&'a str, &'a str)>,
) -> anyhow::Result<(&'a str, &'a str)> {
    let begins = |name: &str| stem == name || stem.starts_with(&format!("{name}."));
    let wanted = |kind: &str| mocks.kind.as_deref().is_none_or(|wanted| wanted == kind);
    let fitting: Vec<_> = functions.filter(|(kind, name)| begins(name) && wanted(kind)).collect();
    let longest = fitting.iter().map(|(_, name)| name.len()).max().unwrap_or(0);
    let mut fitting = fitting.into_iter().filter(|(_, name)| name.len() == longest);
    match (fitting.next(), fitting.next()) {
        (Some(function), None) => Ok(function),
        (Some(_), Some(_)) => {
            bail!("several functions have this name: say which, as in \"kind\": \"sync\"")
        }
        (None, _) => bail!("it is about no function that index.ts imports: name it NAME{END}"),
    }
}

fn read(path: &Path) -> anyhow::Result<Mocks> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    serde_json::from_str(&text).context("these mocks can't be read")
}

/// A file to be written later, opened while we still are who may: a verb that runs sandboxes becomes somebody else.
pub(crate) struct Reserved {
    pub(crate) path: PathBuf,
    file: File,
}

impl Reserved {
    /// Opens `path`, makes its directory, and gives both to whoever owns `project`. What is there stays there.
    pub(crate) fn new(project: &Path, path: PathBuf) -> anyhow::Result<Self> {
        let why = || format!("can't write {}", path.display());
        let directory = path.parent().context("a file has a directory")?;
        std::fs::create_dir_all(directory).with_context(why)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.with_context(why)?;
        let owner = std::fs::metadata(project).with_context(why)?;
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
            rustix::fs::fchown(&file, Some(uid), Some(gid)).with_context(why)?;
            rustix::fs::chown(directory, Some(uid), Some(gid)).with_context(why)?;
        }
        Ok(Self { path, file })
    }

    /// Replaces what is in it.
    pub(crate) fn write(self, text: &str) -> anyhow::Result<()> {
        self.rewrite(text).map(drop)
    }

    /// The same, to be done again.
    pub(crate) fn rewrite(mut self, text: &str) -> anyhow::Result<Self> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()?;
        Ok(self)
    }
}

/// The file of a function's first recording.
pub(crate) fn place(project: &Path, integration: &str, name: &str) -> PathBuf {
    project.join(integration).join("tests").join(format!("{name}{END}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(stem: &str, kind: Option<&str>) -> Option<(&'static str, &'static str)> {
        let mocks = Mocks { kind: kind.map(str::to_owned), ..Mocks::default() };
        let functions =
            [("sync", "issues"), ("action", "issues"), ("action", "issues.close"), ("sync", "all")];
        function_of(stem, &mocks, functions.into_iter()).ok()
    }

    #[test]
    fn a_file_is_about_the_longest_name_that_it_begins_with() {
        assert_eq!(about("all", None), Some(("sync", "all")));
        assert_eq!(about("all.empty", None), Some(("sync", "all")));
        assert_eq!(about("issues.close.twice", None), Some(("action", "issues.close")));
        assert_eq!(about("issues", Some("sync")), Some(("sync", "issues")));
        assert_eq!(about("issues", None), None, "two functions have this name");
        assert_eq!(about("allx", None), None);
    }
}
