//! Carries the attacks of `tests/attacks` in the binary, so that `bulkhead audit` needs no checkout: a table of
//! folders, each with what it says of itself and what it runs.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let attacks =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/attacks").canonicalize()?;
    println!("cargo:rerun-if-changed={}", attacks.display());
    let mut folders: Vec<_> = fs::read_dir(&attacks)?.collect::<io::Result<Vec<_>>>()?;
    folders.sort_by_key(fs::DirEntry::file_name);
    let mut table = String::from("pub(super) const FOLDERS: &[Folder] = &[\n");
    for folder in folders.iter().map(fs::DirEntry::path).filter(|it| it.join("case.toml").exists())
    {
        let name = folder.file_name().unwrap_or_default();
        let (case, attack) = (folder.join("case.toml"), folder.join("attack.cjs"));
        let attack = if attack.exists() {
            format!("Some(include_str!({attack:?}))")
        } else {
            "None".to_owned()
        };
        writeln!(
            table,
            "    Folder {{ name: {name:?}, case: include_str!({case:?}), attack: {attack} }},"
        )
        .map_err(io::Error::other)?;
    }
    table.push_str("];\n");
    #[allow(
        clippy::disallowed_methods,
        reason = "cargo speaks to build scripts in their environment"
    )]
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    native(&attacks.join("native"), Path::new(&out))?;
    fs::write(Path::new(&out).join("attacks.rs"), table)
}

/// Machine code for attacks on the kernel: flat, to be written into a process, and as a program.
fn native(sources: &Path, out: &Path) -> io::Result<()> {
    let flags = "-O1 -ffreestanding -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables \
                 -fPIE -fvisibility=hidden -fno-jump-tables -mno-sse -nostdlib -Wl,--build-id=none";
    let link = |name: &str, more: &[&str], files: &[&str]| {
        let mut compiler =
            cc::Build::new().opt_level(1).cargo_metadata(false).get_compiler().to_command();
        compiler.args(flags.split_whitespace()).args(more);
        compiler.args(files.iter().map(|file| sources.join(file))).arg("-o").arg(out.join(name));
        let status = compiler.status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("{name}: {status}"))) }
    };
    let script = format!("-T{}", sources.join("flat.ld").display());
    link("enter", &["-static", "-Wl,--oformat=binary", &script], &["enter.S"])?;
    link("flat", &["-static", "-Wl,--oformat=binary", &script], &["calls.c"])?;
    link("program", &["-static-pie", "-Wl,--no-dynamic-linker"], &["calls.c", "start.c"])?;
    link("world", &["-static-pie", "-Wl,--no-dynamic-linker"], &["world.c"])
}
