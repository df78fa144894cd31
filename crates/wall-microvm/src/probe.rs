//! What this machine can do for the microVM wall.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bulkhead_wall::{Capability, CompartmentSpec, Requirement};
use bulkhead_wall_process::{probe as process, sys};
use rustix::io::FdFlags;
use rustix::pipe::PipeFlags;

use crate::driver::{Accelerator, Attached, INITRAMFS, KERNEL, KVM, Machine};
use crate::remembered::{Answer, Remembered};
use crate::{Microvm, memory_mib, parcel, processors, qemu};

const QEMU_REMEDY: &str = "install QEMU 8 or later: `apt-get install --no-install-recommends -t bookworm-backports qemu-system-x86` on \
                           Debian 12, `qemu-system-x86` elsewhere";

const IMAGE_REMEDY: &str = "`make setup` fetches Debian's cloud kernel, `cargo xtask image` makes the machine's image of it and of the \
                            runtime image";

const KVM_REMEDY: &str = "a machine whose processor and hypervisor offer virtualization to its guests (load kvm_intel or kvm_amd; on a \
                          virtual machine enable nesting). Without it machines are emulated: slower, and QEMU's makers promise no \
                          isolation for that mode, so that it rests on how QEMU itself is confined";

/// What can be told without booting a machine. `image` is the directory of kernel and initramfs.
#[must_use]
pub fn quick(image: &Path) -> Capability {
    let mut requirements =
        vec![process::root(), process::user_namespaces(), process::cgroups(), process::seccomp()];
    requirements.push(requirement("qemu", true, program(), QEMU_REMEDY));
    requirements.push(requirement("machine_image", true, files(image), IMAGE_REMEDY));
    capability(requirements)
}

/// The same, and the real guest boots: with KVM if that can be, else emulated. `runtime` is the directory of the runtime
/// image. A KVM that a server has tried in vain is not tried again, as it is not by the next server.
#[must_use]
pub fn thorough(runtime: &Path, remembered: Option<&Remembered>) -> Capability {
    let image = runtime.join("microvm");
    let mut found = quick(&image);
    let boot = |accelerator| {
        if !found.available {
            return Err("not tried: something that it needs is missing".to_owned());
        }
        trial(runtime, &image, accelerator)
    };
    let kvm = match remembered.and_then(in_vain) {
        _ if !Path::new(KVM).exists() => Err(format!("there is no {KVM}")),
        Some(known) => Err(known),
        None => boot(Accelerator::Kvm),
    };
    let emulation = if kvm.is_ok() {
        Ok("not needed: KVM boots the guest".to_owned())
    } else {
        boot(Accelerator::Emulation)
    };
    found.requirements.push(requirement("kvm", false, kvm, KVM_REMEDY));
    let remedy = "run QEMU by hand to see what it says; `BULKHEAD_LOG=debug bulkhead serve` logs the machine's last words";
    found.requirements.push(requirement("boots", true, emulation, remedy));
    capability(found.requirements)
}

/// What is remembered of a KVM that did not boot the guest, and how to have it tried again.
fn in_vain(remembered: &Remembered) -> Option<String> {
    let Answer { boots, why } = remembered.recall()?;
    let file = remembered.path().display();
    let said = || {
        format!(
            "remembered of a server's first machine: {why}; remove {file} to have it tried again"
        )
    };
    (!boots).then(said)
}

fn capability(requirements: Vec<Requirement>) -> Capability {
    let available = requirements.iter().all(|it| it.met || !it.required);
    // The machine's kernel is ours, and has all that keeps forks apart.
    Capability { available, fork_isolation: available, requirements, differences: Vec::new() }
}

fn requirement(
    name: &str,
    required: bool,
    found: Result<String, String>,
    remedy: &str,
) -> Requirement {
    let met = found.is_ok();
    let remedy = if met { String::new() } else { remedy.to_owned() };
    let found = found.unwrap_or_else(|why| why);
    Requirement { name: name.to_owned(), met, required, found, remedy }
}

fn program() -> Result<String, String> {
    match qemu::find() {
        Some(_) => Ok(format!("{} and its firmware are there", qemu::PLACES.join(" or "))),
        None => Err(format!(
            "not at {}, or without {}",
            qemu::PLACES.join(", "),
            qemu::FIRMWARE.join(", ")
        )),
    }
}

fn files(image: &Path) -> Result<String, String> {
    for name in [KERNEL, INITRAMFS] {
        if !image.join(name).is_file() {
            return Err(format!("there is no {}", image.join(name).display()));
        }
    }
    Ok(format!("{KERNEL} and {INITRAMFS} are in {}", image.display()))
}

/// Boots the real guest and waits for its hello. Here the program is not confined as it is in earnest: it is handed an
/// empty parcel, and nothing of a tenant.
fn trial(runtime: &Path, image: &Path, accelerator: Accelerator) -> Result<String, String> {
    let failed = |error: std::io::Error| error.to_string();
    let wall = Microvm::with(image, accelerator).ok_or("there is no QEMU")?;
    let spec = CompartmentSpec {
        mounts: Vec::new(),
        slots: 1,
        scratch_mib: 16,
        scratch_inodes: 256,
        memory_mib: 128,
        processes: 16,
        zygotes: 0,
    };
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let parcel = parcel::pack(&spec, runtime, &runtime.join("rootfs")).map_err(failed)?;
    let (last, words) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|it| failed(it.into()))?;
    let machine = Machine {
        kernel: image.join(KERNEL),
        initramfs: image.join(INITRAMFS),
        memory_mib: memory_mib(&spec),
        processors: processors(accelerator),
        accelerator,
        time_stamp_khz: sys::time_stamp_khz(),
    };
    let theirs = OwnedFd::from(theirs);
    let attached = Attached {
        stream: inherited(&theirs)?,
        parcel: inherited(&parcel)?,
        words: inherited(&words)?,
        kvm: None,
    };
    #[allow(clippy::disallowed_methods, reason = "a probe tries")]
    let mut command = Command::new(wall.driver.program());
    command.args(wall.driver.arguments(&machine, &attached)).env_clear().stdin(Stdio::null());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    drop((theirs, parcel, words));
    let heard = first_word(&ours, accelerator.patience());
    let said = end(&mut child, last).map_err(failed)?;
    match heard {
        Ok(took) => Ok(format!(
            "the guest booted {} and said hello after {:.1} s",
            match accelerator {
                Accelerator::Kvm => "with KVM",
                Accelerator::Emulation => "under emulation (tcg)",
            },
            took.as_secs_f64()
        )),
        Err(why) => Err(format!("{why}{}{said}", if said.is_empty() { "" } else { ": " })),
    }
}

/// The descriptor's number, for a program that is about to be started with it.
fn inherited(fd: &OwnedFd) -> Result<i32, String> {
    rustix::io::fcntl_setfd(fd, FdFlags::empty()).map_err(|error| error.to_string())?;
    Ok(fd.as_raw_fd())
}

#[allow(clippy::disallowed_methods, reason = "a probe has a deadline and no clock passed in")]
fn first_word(mut stream: &UnixStream, at_most: Duration) -> Result<Duration, String> {
    let begun = Instant::now();
    stream.set_read_timeout(Some(at_most)).map_err(|error| error.to_string())?;
    let mut first = [0_u8; 1];
    match stream.read(&mut first) {
        Ok(1) => Ok(begun.elapsed()),
        Ok(_) => Err("the machine ended without a word".to_owned()),
        Err(_) => Err(format!("the guest did not boot within {} s", at_most.as_secs())),
    }
}

/// Kills it; what it said, and the machine in it.
fn end(child: &mut Child, last: OwnedFd) -> std::io::Result<String> {
    child.kill()?;
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(4_096).read_to_string(&mut said)?;
    }
    std::fs::File::from(last).take(4_096).read_to_string(&mut said)?;
    child.wait()?;
    Ok(said.trim().to_owned())
}
