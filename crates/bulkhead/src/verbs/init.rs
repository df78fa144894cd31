//! `bulkhead init`

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::json;

use crate::cli::Init;
use crate::context::Context;
use crate::{exit, output};

/// Path → content of a new project.
const FILES: [(&str, &str); 10] = [
    ("package.json", include_str!("../../templates/init/package.json")),
    ("tsconfig.json", include_str!("../../templates/init/tsconfig.json")),
    (".gitignore", include_str!("../../templates/init/gitignore")),
    ("README.md", include_str!("../../templates/init/README.md")),
    ("index.ts", include_str!("../../templates/init/index.ts")),
    ("hello/actions/greet.ts", include_str!("../../templates/init/hello/actions/greet.ts")),
    ("hello/syncs/people.ts", include_str!("../../templates/init/hello/syncs/people.ts")),
    (
        "hello/tests/greet.test.json",
        include_str!("../../templates/init/hello/tests/greet.test.json"),
    ),
    (
        "hello/tests/greet.nobody.test.json",
        include_str!("../../templates/init/hello/tests/greet.nobody.test.json"),
    ),
    (
        "hello/tests/people.test.json",
        include_str!("../../templates/init/hello/tests/people.test.json"),
    ),
];

/// The SDK's types, for editors: the compiler has its own.
const SDK: [(&str, &str); 5] = [
    ("index.d.ts", include_str!("../../../../runtime/node/sdk/index.d.ts")),
    ("types/context.d.ts", include_str!("../../../../runtime/node/sdk/types/context.d.ts")),
    ("types/functions.d.ts", include_str!("../../../../runtime/node/sdk/types/functions.d.ts")),
    ("types/proxy.d.ts", include_str!("../../../../runtime/node/sdk/types/proxy.d.ts")),
    ("types/schema.d.ts", include_str!("../../../../runtime/node/sdk/types/schema.d.ts")),
];

pub(crate) fn run(typed: &Init, context: &Context) -> anyhow::Result<u8> {
    let directory = &typed.directory;
    if let Some((there, _)) = FILES.iter().find(|(name, _)| directory.join(name).exists()) {
        bail!(
            "{} is there already: name a directory that has no project yet",
            directory.join(there).display()
        );
    }
    make(directory)?;
    if context.json {
        let files: Vec<_> = FILES.iter().map(|(name, _)| *name).collect();
        output::json(&json!({"directory": directory, "files": files}))?;
    } else {
        let shown = directory.display();
        output::say(&format!("a project with an action and a sync is in {shown}; next:"));
        if directory != Path::new(".") {
            output::say(&format!("  cd {shown}"));
        }
        output::say("  bulkhead compile            check types, bundle");
        output::say("  sudo bulkhead test          run its tests in real sandboxes");
        output::say("  sudo bulkhead dev           run it here, anew at every change");
    }
    Ok(exit::DONE)
}

/// The files of a new project.
pub(super) fn make(directory: &Path) -> anyhow::Result<()> {
    for (name, content) in FILES {
        write(&directory.join(name), content)?;
    }
    for (name, content) in SDK {
        write(&directory.join(".bulkhead/sdk").join(name), content)?;
    }
    Ok(())
}

/// Never over what is there.
fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    let why = || format!("can't write {}", path.display());
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(why)?;
    }
    let sdk = path.components().any(|part| part.as_os_str() == ".bulkhead");
    let mut options = std::fs::File::options();
    // Our own types may be there from before, and older.
    options.write(true).create(sdk).truncate(sdk).create_new(!sdk);
    options.open(path).with_context(why)?.write_all(content.as_bytes()).with_context(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_template_is_written() {
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/init");
        let mut there = Vec::new();
        let mut look = vec![template.clone()];
        while let Some(directory) = look.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    look.push(entry.path());
                } else {
                    there.push(entry.path());
                }
            }
        }
        assert_eq!(there.len(), FILES.len(), "{there:?}");
    }
}
