//! Real compartments behind gVisor, with the real runtime image.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use bulkhead_protocol::{FromGuest, SandboxLimits, ToGuest};
use bulkhead_wall::conformance::{self, Place, action};
use bulkhead_wall::{DynWall, wall_cases};
use bulkhead_wall_gvisor::Gvisor;
use bulkhead_wall_process::launcher::{self, LauncherConfig, LauncherHandle};
use bulkhead_wall_process::walls;

fn main() -> ExitCode {
    conformance::run(start, wall, wall_cases![a_destroyed_compartment_leaves_nothing])
}

fn start() -> LauncherHandle {
    // As a server's is: nothing may lean on files being readable by themselves.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let gvisor = Gvisor::find().expect("runsc, which scripts/setup.sh installs");
    let config = LauncherConfig {
        rootfs: bulkhead_testkit::rootfs().unwrap_or_else(|error| panic!("{error}")),
        bundles: std::env::temp_dir(),
        holes: launcher::Holes::Refused,
        instance: format!("test-g-{}", std::process::id()),
        walls: vec![Box::new(gvisor)],
    };
    launcher::start(config).unwrap_or_else(|error| panic!("{error}"))
}

fn wall(handle: LauncherHandle) -> DynWall {
    Arc::new(walls(handle).unwrap().remove(0))
}

async fn a_destroyed_compartment_leaves_nothing(wall: DynWall) {
    let before = (processes(), cgroups());
    let mut place =
        Place::ready(&wall, &action("return new Promise(() => setInterval(() => {}, 1000));"))
            .await;
    let limits = SandboxLimits { memory_mib: 128, cpu_ms: None, processes: 32 };
    for sandbox in 1..=4 {
        place.tell(&ToGuest::NewSandbox { sandbox, zygote: 1, limits: limits.clone() }).await;
        assert!(matches!(place.told().await, FromGuest::SandboxReady { .. }));
    }
    assert!(processes() >= before.0 + 3, "runsc, its gofer and kernel");
    place.compartment.destroy().await.unwrap();
    assert_eq!((processes(), cgroups()), before);
}

/// Processes in the compartments of this test's launcher: other tests have theirs on the same machine.
fn processes() -> usize {
    let layout = bulkhead_wall_process::cgroup::detect().unwrap();
    let pids = layout.hierarchies.iter().find(|it| it.has("pids")).unwrap();
    processes_below(&pids.own.join(format!("bulkhead-test-g-{}", std::process::id())))
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
    let top = format!("bulkhead-test-g-{}", std::process::id());
    let below = |it: &bulkhead_wall_process::cgroup::Hierarchy| {
        std::fs::read_dir(it.own.join(&top))
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().is_dir())
            .count()
    };
    layout.hierarchies.iter().map(below).sum()
}
