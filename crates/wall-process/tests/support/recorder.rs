//! A wall whose stages are recorded, and fail where a test wants them to. Which stages there are is asked of the wall
//! itself: one that is added later is made to fail too, without a word here.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_wall::{Capability, CompartmentSpec, Mount, Wall, WallError};
use bulkhead_wall_process::build::{HostStage, Stage};
use bulkhead_wall_process::cgroup::Tree;
use bulkhead_wall_process::kind::Kind;
use bulkhead_wall_process::launcher::{self, LauncherConfig};
use bulkhead_wall_process::{LaunchedWall, walls};
use libtest_mimic::{Arguments, Failed, Trial};

/// Generous: the machine may be busy; nothing here measures time.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a planted failure says.
const PLANTED: &str = "planted by the recorder";

/// A descriptor that no stage gives away.
const RECORD_FD: i32 = 900;

/// Where a wall fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The launcher's stage is not carried out.
    Host(HostStage),
    /// This stage of process 1 is not carried out.
    Instead(usize),
    /// It is carried out, and fails then: there is something to undo.
    After(usize),
    /// It panics.
    Panics(usize),
}

/// A wall that notes each stage as it begins, and fails once.
struct Recorded {
    inner: Arc<dyn Kind + Send + Sync>,
    name: &'static str,
    fault: Fault,
    record: PathBuf,
}

impl Recorded {
    fn note(&self, stage: &str) -> io::Result<()> {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&self.record)?;
        writeln!(file, "{stage}")
    }
}

impl Kind for Recorded {
    fn name(&self) -> &'static str {
        self.name
    }

    fn probe(&self) -> Capability {
        Capability {
            available: true,
            fork_isolation: true,
            requirements: Vec::new(),
            differences: Vec::new(),
        }
    }

    fn tree(&self, spec: &CompartmentSpec) -> Tree {
        self.inner.tree(spec)
    }

    fn stages(&self) -> Vec<Stage<'_>> {
        // Opened now: once the root is another, the file can't be found any more.
        let open = std::fs::OpenOptions::new().append(true).create(true).open(&self.record);
        let record = open.and_then(|file| Ok(rustix::io::fcntl_dupfd_cloexec(&file, RECORD_FD)?));
        let record: Arc<OwnedFd> = Arc::new(record.unwrap());
        let recorded = |(place, stage): (usize, Stage<'static>)| {
            let (record, fault, name) = (Arc::clone(&record), self.fault, stage.name);
            Stage::new(name, move |child| {
                rustix::io::write(&*record, format!("{name}\n").as_bytes())?;
                match fault {
                    Fault::Instead(at) if at == place => return Err(io::Error::other(PLANTED)),
                    Fault::Panics(at) if at == place => panic!("{PLANTED}"),
                    _ => {}
                }
                stage.run(child).map_err(|error| io::Error::other(error.message))?;
                if fault == Fault::After(place) { Err(io::Error::other(PLANTED)) } else { Ok(()) }
            })
        };
        // The inner kind lives as long as the process.
        let inner: &'static dyn Kind = &**Box::leak(Box::new(Arc::clone(&self.inner)));
        inner.stages().into_iter().enumerate().map(recorded).collect()
    }

    fn permit(&self, stage: HostStage) -> io::Result<()> {
        self.note(&format!("host {}", stage.name()))?;
        if self.fault == Fault::Host(stage) { Err(io::Error::other(PLANTED)) } else { Ok(()) }
    }
}

/// Runs the suite for a kind of wall.
pub(crate) fn run(kind: impl FnOnce() -> Arc<dyn Kind + Send + Sync>, instance: &str) -> ExitCode {
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    if arguments.list {
        return libtest_mimic::run(&arguments, vec![trial(None)]).exit_code();
    }
    let inner = kind();
    let stages: Vec<&'static str> = inner.stages().iter().map(|stage| stage.name).collect();
    let faults = faults(stages.len());
    let records = tempfile::tempdir().unwrap();
    let recorded = |(number, fault): (usize, &Fault)| {
        let name: &'static str = Box::leak(format!("fault-{number}").into_boxed_str());
        let record = records.path().join(name);
        Box::new(Recorded { inner: Arc::clone(&inner), name, fault: *fault, record })
            as Box<dyn Kind>
    };
    let config = LauncherConfig {
        rootfs: bulkhead_testkit::rootfs().unwrap_or_else(|error| panic!("{error}")),
        bundles: std::env::temp_dir(),
        holes: launcher::Holes::Refused,
        instance: format!("{instance}-{}", std::process::id()),
        walls: faults.iter().enumerate().map(recorded).collect(),
    };
    let (rootfs, instance) = (config.rootfs.clone(), config.instance.clone());
    let handle = launcher::start(config).unwrap_or_else(|error| panic!("{error}"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let walls = runtime.block_on(async { walls(handle) }).unwrap();
    let suite = Suite { stages, faults, walls, records, rootfs, instance };
    libtest_mimic::run(&arguments, vec![trial(Some((runtime, suite)))]).exit_code()
}

/// No fault first, then every place where one can be.
fn faults(stages: usize) -> Vec<Fault> {
    let host = HostStage::ALL.map(Fault::Host);
    let mut faults = [vec![Fault::None], host.to_vec()].concat();
    faults.extend((0..stages).map(Fault::Instead));
    // The last one replaces the program: nothing comes after it.
    faults.extend((0..stages - 1).map(Fault::After));
    faults.push(Fault::Panics(stages / 2));
    // Once more at the end: nothing that went wrong may have left the launcher worse.
    faults.push(Fault::None);
    faults
}

fn trial(suite: Option<(tokio::runtime::Runtime, Suite)>) -> Trial {
    Trial::test("each_stage_that_fails_is_named_and_nothing_is_left_of_it", move || {
        let (runtime, suite) = suite.ok_or_else(|| Failed::from("no wall"))?;
        let timed = async { tokio::time::timeout(PATIENCE, suite.check()).await };
        runtime.block_on(timed).map_err(|_| Failed::from("took too long"))?;
        Ok(())
    })
}

struct Suite {
    stages: Vec<&'static str>,
    faults: Vec<Fault>,
    walls: Vec<LaunchedWall>,
    records: tempfile::TempDir,
    rootfs: PathBuf,
    instance: String,
}

impl Suite {
    async fn check(&self) {
        let bundle = tempfile::tempdir().unwrap();
        std::fs::write(bundle.path().join("bundle.js"), "").unwrap();
        // Once for nothing: then the launcher is surely at work.
        let first = self.walls[0].create(spec(bundle.path())).await.unwrap();
        first.destroy().await.unwrap();
        std::fs::remove_file(self.records.path().join(self.walls[0].name())).unwrap();
        let before = self.traces();
        for (fault, wall) in self.faults.iter().zip(&self.walls) {
            let built = wall.create(spec(bundle.path())).await;
            match (*fault, built) {
                (Fault::None, Ok(compartment)) => {
                    assert!(self.traces() != before, "a compartment leaves traces while it lives");
                    compartment.destroy().await.unwrap();
                }
                (Fault::None, Err(error)) => panic!("{error}"),
                (fault, Ok(_)) => panic!("{fault:?}: a compartment was built all the same"),
                (fault, Err(error)) => self.is_named(fault, &error),
            }
            self.went_as_far_as(*fault, wall.name());
            assert_eq!(self.traces(), before, "after {fault:?}");
        }
    }

    fn is_named(&self, fault: Fault, error: &WallError) {
        let (stage, said) = match fault {
            Fault::None => unreachable!("no error is expected"),
            Fault::Host(stage) => (stage.name(), PLANTED),
            Fault::Instead(place) | Fault::After(place) => (self.stages[place], PLANTED),
            Fault::Panics(place) => (self.stages[place], "it panicked"),
        };
        assert_eq!((error.stage.as_str(), error.message.as_str()), (stage, said), "{fault:?}");
    }

    /// Every stage before the fault, the faulty one, and none after it: above all not the one that starts the guest,
    /// which is what would load a bundle.
    fn went_as_far_as(&self, fault: Fault, wall: &str) {
        let record = std::fs::read_to_string(self.records.path().join(wall)).unwrap();
        let lines: Vec<&str> = record.lines().collect();
        let host: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("host ")).collect();
        let inside: Vec<&str> =
            lines.iter().filter(|line| !line.starts_with("host ")).copied().collect();
        let all_host = HostStage::ALL.map(HostStage::name);
        let mapped = self.stages.iter().position(|stage| *stage == "uid_map").unwrap();
        match fault {
            Fault::None => assert_eq!((&host[..], inside), (&all_host[..], self.stages.clone())),
            Fault::Host(stage) => {
                let place = HostStage::ALL.iter().position(|it| *it == stage).unwrap();
                assert_eq!(host, all_host[..=place], "{fault:?}");
                let forked = stage == HostStage::UidMap || stage == HostStage::GidMap;
                let reached = if forked { &self.stages[..=mapped] } else { &[] };
                assert_eq!(inside, reached, "{fault:?}");
            }
            Fault::Instead(place) | Fault::After(place) | Fault::Panics(place) => {
                assert_eq!(inside, self.stages[..=place], "{fault:?}");
            }
        }
    }

    /// Everything that could be left: the launcher's children and descriptors (which is also what namespaces are held
    /// by), mounts of the launcher and of this process, cgroups, files beside the image.
    fn traces(&self) -> Vec<String> {
        let launcher = launcher_of(std::process::id());
        let read = |path: String| std::fs::read_to_string(&path).unwrap_or_default();
        let descriptors = std::fs::read_dir(format!("/proc/{launcher}/fd")).unwrap().count();
        let mut traces = vec![
            read(format!("/proc/{launcher}/task/{launcher}/children")),
            read(format!("/proc/{launcher}/mountinfo")),
            read("/proc/self/mountinfo".to_owned()),
            format!("{descriptors} descriptors"),
        ];
        let layout = bulkhead_wall_process::cgroup::detect().unwrap();
        for hierarchy in &layout.hierarchies {
            let top = hierarchy.own.join(format!("bulkhead-{}", self.instance));
            traces.extend(directories(&top));
        }
        traces.extend(files(&self.rootfs, 2));
        traces
    }
}

/// The process that [`launcher::start`] forked.
fn launcher_of(parent: u32) -> u32 {
    let children = std::fs::read_dir(format!("/proc/{parent}/task")).unwrap().flatten();
    let children = children.map(|task| std::fs::read_to_string(task.path().join("children")));
    let children: Vec<String> = children.map(Result::unwrap_or_default).collect();
    let mut pids = children.iter().flat_map(|line| line.split_whitespace());
    let is_launcher = |pid: &&str| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "bulkhead-launch"
    };
    pids.find(is_launcher).expect("the launcher runs").parse().unwrap()
}

fn directories(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).unwrap().flatten().map(|entry| entry.path());
    let mut found: Vec<String> =
        entries.filter(|path| path.is_dir()).map(|path| path.display().to_string()).collect();
    found.sort();
    found
}

/// Names below a directory, this many levels deep.
fn files(path: &Path, levels: u32) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let mut found: Vec<String> = Vec::new();
    for entry in entries.flatten().map(|entry| entry.path()) {
        found.push(entry.display().to_string());
        if levels > 1 && entry.is_dir() && !entry.is_symlink() {
            found.extend(files(&entry, levels - 1));
        }
    }
    found.sort();
    found
}

fn spec(bundle: &Path) -> CompartmentSpec {
    CompartmentSpec {
        mounts: vec![Mount { source: bundle.into(), target: PathBuf::from("/bundle/it") }],
        slots: 2,
        scratch_mib: 16,
        scratch_inodes: 256,
        memory_mib: 128,
        processes: 32,
        zygotes: 0,
    }
}
