//! What virtual machines are booted with: a kernel and an initramfs, in `target/runtime/microvm`.
//!
//! The kernel is Debian's for clouds, which `scripts/setup.sh` fetches and unpacks into `target/kernel` without installing
//! it. Of it we take the ELF file inside of its `vmlinuz`, which boots without decompressing itself (PVH), and the one
//! module that the machine needs. The initramfs has that module, the runtime image below `/image`, and as `/init` the
//! guest; it is written here, uncompressed: unpacking would take the machine longer than copying.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::image::cpio::Archive;
use crate::image::entries::{Content, Entry};

/// Changes when the same parts would be put together differently.
const FORMAT: u32 = 1;

/// Beside kernel and initramfs: what they were made of.
const STAMP: &str = "stamp";

/// The module that finds the machine's devices. All else is compiled into Debian's kernel.
const MODULE: &str = "virtio_mmio.ko";

/// Directories of the initramfs on which the guest mounts something until the image is the root.
const MOUNT_POINTS: [&str; 3] = ["dev", "proc", "cgroup"];

/// The kernel that was fetched.
pub(super) struct Kernel {
    vmlinuz: PathBuf,
    modules: PathBuf,
    /// Of what is made from it and the runtime image of this hash.
    stamp: String,
}

impl Kernel {
    /// The newest one below `target/kernel`; `None` where none was fetched.
    pub(super) fn find(target: &Path, image_hash: &str) -> anyhow::Result<Option<Self>> {
        let Ok(entries) = fs::read_dir(target.join("kernel/boot")) else { return Ok(None) };
        let mut names: Vec<String> = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.retain(|name| name.starts_with("vmlinuz-"));
        names.sort();
        let Some(name) = names.pop() else { return Ok(None) };
        let release = name.trim_start_matches("vmlinuz-");
        let vmlinuz = target.join("kernel/boot").join(&name);
        let modules = target.join("kernel/lib/modules").join(release);
        let stamp = format!("{FORMAT} {image_hash} {release}\n");
        Ok(Some(Self { vmlinuz, modules, stamp }))
    }

    /// Whether what is below `image` was made of this kernel and the same runtime image.
    pub(super) fn is_built(&self, image: &Path) -> bool {
        fs::read_to_string(image.join("microvm").join(STAMP)).is_ok_and(|it| it == self.stamp)
    }

    /// Writes both files below `image`.
    pub(super) fn build(&self, image: &Path, entries: &[Entry]) -> anyhow::Result<()> {
        let to = image.join("microvm");
        fs::create_dir_all(&to).with_context(|| format!("create {}", to.display()))?;
        let kernel = elf(&fs::read(&self.vmlinuz).context("read the kernel")?)
            .with_context(|| format!("unpack {}", self.vmlinuz.display()))?;
        fs::write(to.join("vmlinux"), kernel).context("write the kernel")?;
        let module = self.modules.join("kernel/drivers/virtio").join(format!("{MODULE}.xz"));
        let module = filtered(
            "xz",
            &["-dc"],
            &fs::read(&module).with_context(|| format!("read {}", module.display()))?,
        )?;
        let mut file = BufWriter::new(File::create(to.join("initramfs"))?);
        initramfs(&mut file, &module, entries).context("write the initramfs")?;
        file.flush()?;
        Ok(fs::write(to.join(STAMP), &self.stamp)?)
    }
}

fn initramfs(to: &mut impl Write, module: &[u8], entries: &[Entry]) -> anyhow::Result<()> {
    let mut archive = Archive::new(to);
    for name in MOUNT_POINTS.iter().chain(&["modules", "image"]) {
        archive.directory(name, 0o755)?;
    }
    // What a program finds as its standard streams before anything is mounted.
    archive.character_device("dev/null", 0o666, (1, 3))?;
    archive.file(&format!("modules/{MODULE}"), 0o644, module)?;
    archive.link("init", "image/runtime/guest")?;
    for entry in entries {
        let path = format!("image/{}", entry.path);
        match &entry.content {
            Content::Directory => archive.directory(&path, entry.mode())?,
            Content::Text(text) => archive.file(&path, entry.mode(), text.as_bytes())?,
            Content::Copy { of, mode } => {
                let content = fs::read(of).with_context(|| format!("read {}", of.display()))?;
                archive.file(&path, *mode, &content)?;
            }
            Content::Link(target) => archive.link(&path, target)?,
        }
    }
    archive.finish()
}

/// The ELF file inside of a `vmlinuz` (boot protocol 2.08 or later: `payload_offset`, `payload_length`).
fn elf(vmlinuz: &[u8]) -> anyhow::Result<Vec<u8>> {
    let number = |at: usize| {
        let bytes = vmlinuz.get(at..at + 4).context("too short")?;
        anyhow::Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    ensure!(vmlinuz.get(0x202..0x206) == Some(b"HdrS"), "no kernel for x86");
    let sectors = vmlinuz.get(0x1f1).copied().map_or(4, usize::from);
    let start = (sectors + 1) * 512 + number(0x248)?;
    let payload = vmlinuz.get(start..start + number(0x24c)?).context("too short")?;
    let kernel = match payload {
        // The last four bytes are the length, of which these programs know nothing.
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            filtered("zstd", &["-dcq"], payload.split_last_chunk::<4>().map_or(payload, |it| it.0))?
        }
        [0xfd, b'7', b'z', b'X', b'Z', ..] => filtered("xz", &["-dc", "--single-stream"], payload)?,
        [0x1f, 0x8b, ..] => filtered("gzip", &["-dcq"], payload)?,
        [0x02, 0x21, 0x4c, 0x18, ..] => filtered("lz4", &["-dcq"], payload)?,
        [0x7f, b'E', b'L', b'F', ..] => payload.to_vec(),
        _ => bail!("compressed in a way that is not known here"),
    };
    ensure!(kernel.starts_with(b"\x7fELF"), "what was unpacked is no ELF file");
    Ok(kernel)
}

/// What `program` makes of `input`.
fn filtered(program: &str, arguments: &[&str], input: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {program}; `make setup` installs it"))?;
    let mut to = child.stdin.take().context("no input")?;
    let output = std::thread::scope(|scope| {
        // Both ways at once: neither side waits for the other. A program that stops reading says why itself.
        scope.spawn(move || to.write_all(input));
        child.wait_with_output()
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} ended with {}: {}", output.status, said.trim());
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn the_kernel_is_found_in_what_boots() {
        let mut vmlinuz = vec![0; 0x1000];
        vmlinuz[0x1f1] = 1;
        vmlinuz[0x202..0x206].copy_from_slice(b"HdrS");
        vmlinuz[0x248..0x24c].copy_from_slice(&0x100_u32.to_le_bytes());
        vmlinuz[0x24c..0x250].copy_from_slice(&8_u32.to_le_bytes());
        vmlinuz[0x500..0x508].copy_from_slice(b"\x7fELFkern");
        assert_eq!(elf(&vmlinuz).unwrap(), b"\x7fELFkern");
        vmlinuz[0x500] = b'x';
        assert!(elf(&vmlinuz).unwrap_err().to_string().contains("not known"));
        assert!(elf(&vmlinuz[..0x300]).is_err() && elf(b"").is_err());
    }
}
