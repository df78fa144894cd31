//! Archives as the kernel unpacks them into its first root (`newc`, Documentation/driver-api/early-userspace/
//! buffer-format.rst). Everything belongs to root, and no time is kept.

use std::io::Write;

/// An archive that is being written.
pub(super) struct Archive<'a, W> {
    to: &'a mut W,
    entries: u32,
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

impl<'a, W: Write> Archive<'a, W> {
    pub(super) fn new(to: &'a mut W) -> Self {
        Self { to, entries: 0 }
    }

    pub(super) fn directory(&mut self, path: &str, mode: u32) -> anyhow::Result<()> {
        self.entry(path, DIRECTORY | mode, (0, 0), &[])
    }

    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> anyhow::Result<()> {
        self.entry(path, FILE | mode, (0, 0), content)
    }

    pub(super) fn link(&mut self, path: &str, target: &str) -> anyhow::Result<()> {
        self.entry(path, LINK | 0o777, (0, 0), target.as_bytes())
    }

    pub(super) fn character_device(
        &mut self,
        path: &str,
        mode: u32,
        number: (u32, u32),
    ) -> anyhow::Result<()> {
        self.entry(path, CHARACTER_DEVICE | mode, number, &[])
    }

    /// Writes what says that nothing follows.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        (major, minor): (u32, u32),
        content: &[u8],
    ) -> anyhow::Result<()> {
        self.entries += 1;
        let (size, name) = (u32::try_from(content.len())?, u32::try_from(path.len() + 1)?);
        // inode, mode, uid, gid, links, mtime, size, device (2), number (2), length of the name, checksum
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name, 0];
        let mut head = b"070701".to_vec();
        for field in fields {
            write!(head, "{field:08x}")?;
        }
        head.extend_from_slice(path.as_bytes());
        head.push(0);
        pad(&mut head);
        self.to.write_all(&head)?;
        self.to.write_all(content)?;
        self.to.write_all(&[0; 3][..content.len().wrapping_neg() % 4])?;
        Ok(())
    }
}

/// To the next multiple of four.
fn pad(bytes: &mut Vec<u8>) {
    while !bytes.len().is_multiple_of(4) {
        bytes.push(0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn an_archive_is_what_the_format_says() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        archive.file("a", 0o644, b"hello").unwrap();
        archive.finish().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let head = "07070100000001000081a4000000000000000000000001000000000000000500000000000000000000000000000000\
                    0000000200000000a\0";
        assert_eq!(&text[..112], head);
        // Name and content end on multiples of four.
        assert_eq!(&text[112..120], "hello\0\0\0");
        assert_eq!(text.len() % 4, 0);
        assert!(text[120..].starts_with("070701") && text.contains("TRAILER!!!"));
    }
}
