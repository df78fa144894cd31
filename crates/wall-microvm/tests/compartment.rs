//! Real virtual machines, emulated: the same on every machine, with or without KVM.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::ExitCode;

use bulkhead_protocol::{FromGuest, SandboxGone, SandboxLimits, ToGuest};
use bulkhead_wall::conformance::{self, Place, action};
use bulkhead_wall::{DynWall, wall_cases};
use bulkhead_wall_microvm::Microvm;
use bulkhead_wall_microvm::driver::Accelerator;
use bulkhead_wall_process::launcher::{self, LauncherConfig, LauncherHandle};
use bulkhead_wall_process::walls;
use serde_json::json;

fn main() -> ExitCode {
    let mut more = wall_cases![a_destroyed_machine_leaves_nothing, many_executions_leave_nothing];
    more.extend(conformance::several());
    conformance::run(start, wall, more)
}

fn start() -> LauncherHandle {
    // As a server's is: nothing may lean on files being readable by themselves.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let rootfs = bulkhead_testkit::rootfs().unwrap_or_else(|error| panic!("{error}"));
    let image = rootfs.parent().unwrap().join("microvm");
    assert!(
        image.join("vmlinux").is_file(),
        "no kernel: scripts/setup.sh fetches it, cargo xtask image makes the rest"
    );
    let microvm = Microvm::with(&image, Accelerator::Emulation);
    let microvm = microvm.expect("QEMU, which scripts/setup.sh installs");
    let config = LauncherConfig {
        rootfs,
        bundles: std::env::temp_dir(),
        holes: launcher::Holes::Refused,
        instance: instance(),
        walls: vec![Box::new(microvm)],
    };
    launcher::start(config).unwrap_or_else(|error| panic!("{error}"))
}

fn wall(handle: LauncherHandle) -> DynWall {
    bulkhead_wall_microvm::wall::join(walls(handle).unwrap(), None).remove(0)
}

fn instance() -> String {
    format!("test-m-{}", std::process::id())
}

async fn a_destroyed_machine_leaves_nothing(wall: DynWall) {
    let before = (processes(), cgroups());
    let mut place =
        Place::ready(&wall, &action("return new Promise(() => setInterval(() => {}, 1000));"))
            .await;
    let limits = SandboxLimits { memory_mib: 128, cpu_ms: None, processes: 32 };
    for sandbox in 1..=2 {
        place.tell(&ToGuest::NewSandbox { sandbox, zygote: 1, limits: limits.clone() }).await;
        assert!(matches!(place.told().await, FromGuest::SandboxReady { .. }));
    }
    assert!(processes() > before.0, "the program that runs the machine");
    place.compartment.destroy().await.unwrap();
    assert_eq!((processes(), cgroups()), before);
}

/// How many: the environment may ask for more than a test run has time for.
fn executions() -> u32 {
    #[allow(clippy::disallowed_methods, reason = "a test that is asked for more")]
    let asked = std::env::var("BULKHEAD_MICROVM_EXECUTIONS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(25)
}

/// Every tenth of them ends badly. What one leaves behind the next would find: a process, a file, a slot that is gone;
/// memory that is not given back ends the machine.
async fn many_executions_leave_nothing(wall: DynWall) {
    let look = action(
        "const seen = { tmp: fs.readdirSync('/tmp').length, others: fs.readdirSync('/proc').filter((it) => /^[0-9]+$/.test(it)).length };
         fs.writeFileSync('/tmp/left', Buffer.alloc(8 << 20, 1));
         require('child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { detached: true }).unref();
         if (input.crash) process.kill(process.pid, 'SIGKILL');
         return seen;",
    );
    let mut place = Place::ready(&wall, &look).await;
    for sandbox in 1..=executions() {
        let crash = sandbox % 10 == 0;
        let (result, gone, _) = place.run(sandbox, json!({"crash": crash})).await;
        if crash {
            assert_eq!(gone, SandboxGone::Signalled { signal: 9 }, "sandbox {sandbox}");
            continue;
        }
        let seen = json!({"is": "completed", "output": {"tmp": 0, "others": 1}});
        assert_eq!(result, Some(seen), "sandbox {sandbox}");
    }
    place.compartment.destroy().await.unwrap();
    assert_eq!((processes(), cgroups()), (0, 0));
}

/// Processes in the compartments of this test's launcher: other tests have theirs on the same machine.
fn processes() -> usize {
    let layout = bulkhead_wall_process::cgroup::detect().unwrap();
    let pids = layout.hierarchies.iter().find(|it| it.has("pids")).unwrap();
    processes_below(&pids.own.join(format!("bulkhead-{}", instance())))
}

fn processes_below(path: &Path) -> usize {
    let procs = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let below = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    procs.lines().count() + below.map(|path| processes_below(&path)).sum::<usize>()
}

/// Compartments' cgroups of this test's launcher.
fn cgroups() -> usize {
    let layout = bulkhead_wall_process::cgroup::detect().unwrap();
    let top = format!("bulkhead-{}", instance());
    let below = |it: &bulkhead_wall_process::cgroup::Hierarchy| {
        std::fs::read_dir(it.own.join(&top))
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().is_dir())
            .count()
    };
    layout.hierarchies.iter().map(below).sum()
}
