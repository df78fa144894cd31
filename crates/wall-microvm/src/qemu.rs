//! QEMU as a driver: its `microvm` machine, with all of QEMU's devices left out that can be.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bulkhead_guest::machine::ports;

use crate::driver::{Accelerator, Attached, Driver, Machine, kernel_command_line};

/// Where QEMU is looked for: nobody's environment decides which program gets root.
pub(crate) const PLACES: [&str; 2] =
    ["/usr/bin/qemu-system-x86_64", "/usr/local/bin/qemu-system-x86_64"];

/// Where its firmware is: qboot, which does nothing but start the kernel.
pub(crate) const FIRMWARE: [&str; 2] =
    ["/usr/share/qemu/qboot.rom", "/usr/local/share/qemu/qboot.rom"];

/// The loader, which tells what a program is linked with.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// The loader's notes on where libraries are, for machines that have some in unusual places.
const LOADER_CACHE: &str = "/etc/ld.so.cache";

/// The most memory for translated code, MiB. QEMU would take a quarter of the host's.
const TRANSLATED_MIB: u32 = 256;

/// A QEMU of this machine.
#[derive(Debug, Clone)]
pub(crate) struct Qemu {
    pub(crate) program: PathBuf,
    firmware: PathBuf,
}

/// The QEMU of this machine.
pub(crate) fn find() -> Option<Qemu> {
    let first =
        |places: [&str; 2]| places.map(PathBuf::from).into_iter().find(|path| path.is_file());
    Some(Qemu { program: first(PLACES)?, firmware: first(FIRMWARE)? })
}

impl Driver for Qemu {
    fn program(&self) -> &Path {
        &self.program
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        #[allow(clippy::disallowed_methods, reason = "the loader alone knows its search path")]
        let mut command = Command::new(LOADER);
        command.arg("--list").arg(&self.program).env_clear().env("LC_ALL", "C");
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("{LOADER} --list: {}", said.trim())));
        }
        let mut files = vec![self.program.clone(), self.firmware.clone(), PathBuf::from(LOADER)];
        files.extend(libraries(&String::from_utf8_lossy(&output.stdout)));
        files.extend(Some(PathBuf::from(LOADER_CACHE)).filter(|path| path.is_file()));
        files.sort();
        files.dedup();
        Ok(files)
    }

    fn arguments(&self, machine: &Machine, attached: &Attached) -> Vec<String> {
        let accelerator = match (machine.accelerator, attached.kvm) {
            (Accelerator::Kvm, Some(_)) => "kvm,device=/dev/fdset/1".to_owned(),
            (Accelerator::Kvm, None) => "kvm".to_owned(),
            (Accelerator::Emulation, _) => format!("tcg,tb-size={TRANSLATED_MIB}"),
        };
        let processor = match machine.accelerator {
            Accelerator::Kvm => "host",
            // Emulated, the instructions that copy memory byte by byte are slow, and the kernel has others.
            Accelerator::Emulation => "max,-erms,-fsrm",
        };
        let mut said = Said(Vec::new());
        for flag in ["-nodefaults", "-no-user-config", "-no-reboot"] {
            said.0.push(flag.to_owned());
        }
        said.option("-display", "none");
        said.option(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        );
        said.option(
            "-machine",
            "microvm,acpi=on,pit=off,pic=off,rtc=on,isa-serial=off,usb=off,x-option-roms=off,\
             dump-guest-core=off,mem-merge=off",
        );
        said.option("-accel", &accelerator);
        said.option("-cpu", processor);
        said.option("-smp", &machine.processors.to_string());
        said.option("-m", &format!("{}M", machine.memory_mib));
        said.option("-bios", &self.firmware.display().to_string());
        said.option("-kernel", &machine.kernel.display().to_string());
        said.option("-initrd", &machine.initramfs.display().to_string());
        said.option("-append", &kernel_command_line(machine));
        if let Some(kvm) = attached.kvm {
            said.option("-add-fd", &format!("fd={kvm},set=1"));
        }
        said.option("-add-fd", &format!("fd={},set=2", attached.parcel));
        said.option("-add-fd", &format!("fd={},set=3", attached.words));
        said.option("-device", "virtio-serial-device,max_ports=4");
        said.port(ports::STREAM, &format!("socket,fd={}", attached.stream));
        said.port(ports::PARCEL, "file,path=/dev/null,input-path=/dev/fdset/2");
        said.port(ports::WORDS, "file,path=/dev/fdset/3,append=on");
        said.0
    }
}

struct Said(Vec<String>);

impl Said {
    fn option(&mut self, name: &str, value: &str) {
        self.0.extend([name.to_owned(), value.to_owned()]);
    }

    fn port(&mut self, number: u32, backend: &str) {
        self.option("-chardev", &format!("{backend},id=port{number}"));
        self.option("-device", &format!("virtserialport,chardev=port{number},nr={number}"));
    }
}

/// The paths in what the loader lists: `name => /path (0x…)`, or `/path (0x…)`.
fn libraries(listed: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let line = line.trim();
        let found = line.split_once(" => ").map_or(line, |(_, found)| found);
        let path = found.split_whitespace().next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    listed.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(accelerator: Accelerator) -> Vec<String> {
        let qemu = Qemu { program: "/qemu".into(), firmware: "/qboot.rom".into() };
        let machine = Machine {
            kernel: "/vmlinux".into(),
            initramfs: "/initramfs".into(),
            memory_mib: 512,
            processors: 1,
            accelerator,
            time_stamp_khz: 2_600_000,
        };
        qemu.arguments(&machine, &Attached { stream: 3, parcel: 4, words: 5, kvm: Some(6) })
    }

    #[test]
    fn nothing_that_closes_the_machine_is_left_to_a_default() {
        let said = arguments(Accelerator::Emulation);
        for flag in ["-nodefaults", "-no-user-config", "-no-reboot"] {
            assert!(said.iter().any(|it| it == flag), "{flag}");
        }
        let sandbox = said.iter().find(|it| it.starts_with("on,")).map_or("", |it| it.as_str());
        for shut in ["obsolete", "elevateprivileges", "spawn", "resourcecontrol"] {
            assert!(sandbox.contains(&format!("{shut}=deny")), "{shut}");
        }
        for absent in
            ["-netdev", "-nic", "-drive", "-blockdev", "-fsdev", "-virtfs", "-monitor", "-qmp"]
        {
            assert!(!said.iter().any(|it| it == absent), "{absent}");
        }
        let devices = said.windows(2).filter(|pair| pair[0] == "-device").map(|pair| &pair[1]);
        assert!(
            devices
                .into_iter()
                .all(|it| it.starts_with("virtserialport") || it.starts_with("virtio-serial"))
        );
    }

    #[test]
    fn an_emulated_machine_is_told_its_clock_and_a_real_one_has_it() {
        let emulated = arguments(Accelerator::Emulation).join(" ");
        assert!(emulated.contains("tsc_early_khz=2600000") && emulated.contains("tcg,tb-size="));
        let real = arguments(Accelerator::Kvm).join(" ");
        assert!(!real.contains("tsc_early_khz") && real.contains("kvm,device=/dev/fdset/1"));
    }

    #[test]
    fn the_loaders_list_is_read() {
        let listed = "\tlinux-vdso.so.1 (0x00007f7a84459000)\n\
                      \tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f7a82000000)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f83b55ee000)\n";
        let paths = ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(libraries(listed), paths.map(PathBuf::from));
    }
}
