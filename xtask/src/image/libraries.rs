//! Which shared libraries a program is linked with, and where this machine's loader finds them.
//!
//! We ask the loader itself, through `ldd`: it alone knows its search path, and the image gives each library the
//! very path at which it was found, so that the loader inside finds it too. (Reading `DT_NEEDED` ourselves would
//! leave us to re-implement that search.)

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// Libraries of `program`, by name; none for a static program. The loader is one of them.
pub(super) fn of(program: &Path) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .env("LC_ALL", "C")
        .output()
        .context("start ldd (Debian: package libc-bin)")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    // Position-independent static programs are told apart from others in the one text, others in the other.
    if said.contains("statically linked") || complained.contains("not a dynamic executable") {
        return Ok(BTreeMap::new());
    }
    if !output.status.success() {
        bail!("ldd {} ended with {}: {}", program.display(), output.status, complained.trim());
    }
    parse(&said).with_context(|| format!("libraries of {}", program.display()))
}

fn parse(said: &str) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut libraries = BTreeMap::new();
    for line in said.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [name, ..] if name.starts_with("linux-vdso.so") => {}
            [name, "=>", "not", "found", ..] => {
                bail!(
                    "{name} is not on this machine (Debian: libstdc++6 and libc6; run `make setup`)"
                )
            }
            [name, "=>", path, _] => {
                libraries.insert((*name).to_owned(), PathBuf::from(path));
            }
            // The loader, named by its path in the program.
            [path, _] if path.starts_with('/') => {
                libraries.insert((*path).to_owned(), PathBuf::from(path));
            }
            _ => bail!("ldd wrote a line of unknown shape: {line:?}"),
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn the_loader_s_answer_is_read() {
        let said = "\tlinux-vdso.so.1 (0x00007f83b55ec000)\n\
                    \tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f83b54f6000)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f83b55ee000)\n";
        let paths: Vec<_> = parse(said).unwrap().into_values().collect();
        assert_eq!(
            paths,
            ["/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libm.so.6"].map(PathBuf::from)
        );
    }

    #[test]
    fn a_missing_library_is_named() {
        let error = parse("\tlibatomic.so.1 => not found\n").unwrap_err().to_string();
        assert!(error.contains("libatomic.so.1"), "{error}");
    }

    #[test]
    fn an_unknown_line_is_an_error() {
        assert!(parse("what is this").is_err());
    }

    #[test]
    fn this_test_s_own_program_needs_the_c_library() {
        let libraries = of(&std::env::current_exe().unwrap()).unwrap();
        assert!(libraries.contains_key("libc.so.6"), "{libraries:?}");
    }
}
