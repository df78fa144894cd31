//! A guest whose stages fail where a test wants them to, in a real compartment. This test's own program is put into a copy
//! of the runtime image, in the place of the guest's, and is zygote and sandbox too: the same library, with somebody else
//! to carry stages out. Which stages there are is found by failing one after the other, until nothing fails any more.

use std::cell::RefCell;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use bulkhead_guest::stages::{Sequence, Stages};
use bulkhead_guest::{run_by, serve};
use bulkhead_protocol::{FromGuest, SandboxGone, SandboxLimits, ToGuest, ZygoteSpec};
use bulkhead_wall::conformance::Place;
use bulkhead_wall::{CompartmentSpec, DynWall, Mount};
use bulkhead_wall_process::kind::Kind;
use bulkhead_wall_process::launcher::{self, LauncherConfig};
use bulkhead_wall_process::walls;
use libtest_mimic::{Arguments, Failed, Trial};

/// Generous: the machine may be busy; nothing here measures time.
const PATIENCE: Duration = Duration::from_secs(200);

/// Where the guest's program is, inside.
const GUEST: &str = "/runtime/guest";

/// Where a guest is told its fault. The bundle's directory is the test's own, which changes it meanwhile; gVisor's kernel
/// keeps what it has read once.
const FAULT: &str = "/bundle/it/fault";

/// What a planted failure says.
const PLANTED: &str = "planted by the test";

/// What shows that code of a tenant's ran.
const TENANT: &str = "this is a tenant's";

/// More than any sequence has.
const STAGES_MAX: usize = 40;

/// Slots of a compartment.
const SLOTS: usize = 2;

/// What a zygote is told whose sandboxes all succeed.
const NO_FAULT: &str = "none";

/// How a stage fails: it is not carried out, or it is, and there is something to undo.
const HOW: [&str; 2] = ["instead", "after"];

/// Fails one stage, `SEQUENCE NUMBER HOW MARK`: as it was told when it was started, or as the file says now. Stages are
/// counted from when the text became what it is.
struct Planted {
    told: Option<String>,
    seen: RefCell<(String, usize)>,
}

impl Stages for Planted {
    fn carry_out(
        &self,
        sequence: Sequence,
        _: &'static str,
        act: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        let read = || std::fs::read_to_string(FAULT).unwrap_or_default();
        let text = self.told.clone().unwrap_or_else(read);
        let words: Vec<&str> = text.split_whitespace().collect();
        let [wanted, number, how, _] = words[..] else { return act() };
        if wanted != format!("{sequence:?}") {
            return act();
        }
        let here = {
            let mut seen = self.seen.borrow_mut();
            if seen.0 != text {
                *seen = (text.clone(), 0);
            }
            seen.1 += 1;
            number == (seen.1 - 1).to_string()
        };
        if here && how == HOW[0] {
            return Err(io::Error::other(PLANTED));
        }
        act()?;
        if here { Err(io::Error::other(PLANTED)) } else { Ok(()) }
    }
}

/// What this program is in the place of, if it is started as such: then it does not return but at the end.
fn role() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.first().is_none_or(|name| name != GUEST) {
        return None;
    }
    let planted = Planted { told: arguments.get(1).cloned(), seen: RefCell::default() };
    let planted: &'static Planted = Box::leak(Box::new(planted));
    if arguments.len() == 1 {
        return Some(match run_by(planted) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("guest: {error}");
                ExitCode::FAILURE
            }
        });
    }
    println!("{TENANT} zygote");
    match serve::serve(planted) {
        Ok(_) => {
            // Until it is killed: what leaves at once may be gone before the guest has looked at it.
            println!("{TENANT} sandbox");
            loop {
                std::thread::park();
            }
        }
        Err(message) => serve::failed("serve".to_owned(), message),
    }
}

/// How many processes there are, and how many descriptors the guest has open.
pub(crate) type Traces = (usize, usize);

/// What a zygote closes, in order, behind every wall.
const ZYGOTE: [&str; 8] = [
    "descriptors",
    "signals",
    "session",
    "bounding_set",
    "uid",
    "rlimits",
    "no_new_privs",
    "seccomp",
];

/// What a wall's guest closes, in order, and what of it can be looked at from the host.
pub(crate) struct Expected {
    pub(crate) guest: &'static [&'static str],
    pub(crate) sandbox: &'static [&'static str],
    /// What is there, where the host sees it.
    pub(crate) traces: Option<fn(&str) -> Traces>,
}

/// Runs the test for a kind of wall.
pub(crate) fn run(
    kind: impl FnOnce() -> Box<dyn Kind>,
    instance: &str,
    expected: Expected,
) -> ExitCode {
    if let Some(code) = role() {
        return code;
    }
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    if arguments.list {
        return libtest_mimic::run(&arguments, vec![trial(None)]).exit_code();
    }
    let image = image();
    let instance = format!("{instance}-{}", std::process::id());
    let config = LauncherConfig {
        rootfs: image.path().join("rootfs"),
        bundles: std::env::temp_dir(),
        holes: launcher::Holes::Refused,
        instance: instance.clone(),
        walls: vec![kind()],
    };
    let handle = launcher::start(config).unwrap_or_else(|error| panic!("{error}"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let wall = runtime.block_on(async { walls(handle) }).unwrap().remove(0);
    let bundle = tempfile::tempdir().unwrap();
    std::fs::set_permissions(bundle.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let suite = Suite { wall: Arc::new(wall), bundle, expected, instance, marks: 0, _image: image };
    libtest_mimic::run(&arguments, vec![trial(Some((runtime, suite)))]).exit_code()
}

fn trial(suite: Option<(tokio::runtime::Runtime, Suite)>) -> Trial {
    Trial::test(
        "each_stage_in_a_compartment_that_fails_is_named_and_nothing_of_a_tenants_runs",
        move || {
            let (runtime, mut suite) = suite.ok_or_else(|| Failed::from("no wall"))?;
            let timed = async { tokio::time::timeout(PATIENCE, suite.check()).await };
            runtime.block_on(timed).map_err(|_| Failed::from("took too long"))?;
            Ok(())
        },
    )
}

/// The runtime image, by links, with this program in it.
fn image() -> tempfile::TempDir {
    let rootfs = bulkhead_testkit::rootfs().unwrap_or_else(|error| panic!("{error}"));
    // On the same file system, so that nothing is copied.
    let beside = rootfs.parent().unwrap().parent().unwrap();
    let image = tempfile::Builder::new().prefix("inside-").tempdir_in(beside).unwrap();
    #[allow(clippy::disallowed_methods, reason = "a test prepares what it looks at")]
    let copied = Command::new("cp").arg("-al").arg(&rootfs).arg(image.path()).status().unwrap();
    assert!(copied.success());
    let guest = image.path().join("rootfs").join(GUEST.trim_start_matches('/'));
    std::fs::remove_file(&guest).unwrap();
    std::fs::copy(std::env::current_exe().unwrap(), &guest).unwrap();
    std::fs::set_permissions(&guest, PermissionsExt::from_mode(0o755)).unwrap();
    image
}

struct Suite {
    wall: DynWall,
    bundle: tempfile::TempDir,
    expected: Expected,
    instance: String,
    marks: usize,
    _image: tempfile::TempDir,
}

impl Suite {
    async fn check(&mut self) {
        assert_eq!(self.of_guests().await, self.expected.guest);
        assert_eq!(self.of_zygotes().await, ZYGOTE);
        assert_eq!(self.of_sandboxes().await, self.expected.sandbox);
        assert_eq!(self.of_placing().await, ["uid_map"]);
        self.of_reclaiming().await;
    }

    /// A guest that is not closed says nothing to anybody, and ends its compartment.
    async fn of_guests(&mut self) -> Vec<String> {
        let mut names = Names::default();
        for (how, number) in tries() {
            if names.are_all(how) {
                continue;
            }
            self.plant("Guest", number, how);
            match self.compartment(1).await {
                Ok(place) => {
                    names.end(how);
                    place.compartment.destroy().await.unwrap();
                }
                Err(error) => {
                    assert_eq!(error.stage, "guest", "{error}");
                    let said = error.message.split("guest: ").nth(1).unwrap_or(&error.message);
                    let (name, message) = said.split_once(": ").expect("stage and message");
                    assert!(message.starts_with(PLANTED), "{error}");
                    names.push(how, name.to_owned());
                }
            }
        }
        names.both()
    }

    /// A zygote that is not closed does not run its program. Where its guest can be told of another fault it goes on, and
    /// the next sandbox of another zygote is none the worse.
    async fn of_zygotes(&mut self) -> Vec<String> {
        let goes_on = self.expected.traces.is_some();
        self.mend();
        let mut place = self.compartment(SLOTS).await.unwrap_or_else(|error| panic!("{error}"));
        ready(&mut place, 1, NO_FAULT).await;
        self.an_ordinary_run(&mut place).await;
        let before = self.traces();
        let mut names = Names::default();
        for ((how, number), zygote) in tries().zip(2..) {
            if names.are_all(how) {
                continue;
            }
            self.plant("Zygote", number, how);
            if !goes_on {
                let next = self.compartment(SLOTS).await.unwrap_or_else(|error| panic!("{error}"));
                std::mem::replace(&mut place, next).compartment.destroy().await.unwrap();
            }
            start(&mut place, zygote, NO_FAULT).await;
            match place.told().await {
                FromGuest::ZygoteReady { .. } => names.end(how),
                FromGuest::ZygoteFailed { error, output, .. } => {
                    assert_eq!(error.message, PLANTED, "{}", error.stage);
                    assert!(!output.contains(TENANT), "{}: {output}", error.stage);
                    names.push(how, error.stage);
                }
                other => panic!("{other:?}"),
            }
            if goes_on {
                place.tell(&ToGuest::StopZygote { zygote }).await;
                self.mend();
                self.an_ordinary_run(&mut place).await;
                self.is_as(before, "a zygote").await;
            }
        }
        place.compartment.destroy().await.unwrap();
        names.both()
    }

    /// The same of sandboxes, whose zygote is told the fault when it is started.
    async fn of_sandboxes(&mut self) -> Vec<String> {
        self.mend();
        let mut place = self.compartment(SLOTS).await.unwrap_or_else(|error| panic!("{error}"));
        ready(&mut place, 1, NO_FAULT).await;
        self.an_ordinary_run(&mut place).await;
        let before = self.traces();
        let mut names = Names::default();
        for ((how, number), zygote) in tries().zip(2..) {
            if names.are_all(how) {
                continue;
            }
            ready(&mut place, zygote, &format!("Sandbox {number} {how} {zygote}")).await;
            place.zygote = zygote;
            names.take(how, self.sandbox(&mut place).await);
            place.zygote = 1;
            place.tell(&ToGuest::StopZygote { zygote }).await;
            self.an_ordinary_run(&mut place).await;
            self.is_as(before, "a sandbox").await;
        }
        place.compartment.destroy().await.unwrap();
        names.both()
    }

    /// The same of what the guest does for them.
    async fn of_placing(&mut self) -> Vec<String> {
        let mut names = Names::default();
        for (how, number) in tries() {
            if names.are_all(how) {
                continue;
            }
            self.plant("Placing", number, how);
            let mut place = self.compartment(1).await.unwrap_or_else(|error| panic!("{error}"));
            ready(&mut place, 1, NO_FAULT).await;
            names.take(how, self.sandbox(&mut place).await);
            if number == 0 {
                // Which was that one: the next is none the worse.
                let (gone, said) = self.sandbox(&mut place).await;
                assert!(said.contains(TENANT), "{gone:?}");
            }
            place.compartment.destroy().await.unwrap();
        }
        names.both()
    }

    /// A slot that could not be made as new is nobody's any more.
    async fn of_reclaiming(&mut self) {
        for (how, number) in tries().filter(|(_, number)| *number < 3) {
            self.plant("Reclaim", number, how);
            let mut place = self.compartment(1).await.unwrap_or_else(|error| panic!("{error}"));
            ready(&mut place, 1, NO_FAULT).await;
            let (_, said) = self.sandbox(&mut place).await;
            assert!(said.contains(TENANT), "{said}");
            let (gone, said) = self.sandbox(&mut place).await;
            // There are two stages.
            match gone {
                SandboxGone::NotStarted { error } if number < 2 => assert_eq!(error.stage, "slot"),
                gone => assert_eq!((number, gone), (2, SandboxGone::Killed), "{how}: {said}"),
            }
            place.compartment.destroy().await.unwrap();
        }
    }

    /// What fails from now on, in guests.
    fn plant(&mut self, sequence: &str, number: usize, how: &str) {
        self.marks += 1;
        self.tell(&format!("{sequence} {number} {how} {}", self.marks));
    }

    /// Nothing does.
    fn mend(&self) {
        self.tell("");
    }

    /// A new file in the place of the old one, so that nobody reads half of it.
    fn tell(&self, text: &str) {
        let [new, fault] = ["new", "fault"].map(|name| self.bundle.path().join(name));
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, PermissionsExt::from_mode(0o644)).unwrap();
        std::fs::rename(new, fault).unwrap();
    }

    async fn compartment(&self, slots: usize) -> Result<Place, bulkhead_wall::WallError> {
        let mount =
            Mount { source: self.bundle.path().into(), target: PathBuf::from("/bundle/it") };
        let spec = CompartmentSpec {
            mounts: vec![mount],
            slots: u32::try_from(slots).unwrap(),
            scratch_mib: 16,
            scratch_inodes: 256,
            memory_mib: 128,
            processes: 32,
            zygotes: 0,
        };
        Place::of(&self.wall, spec).await
    }

    /// With slots that are fewer than the faults before it: one that was lost is missed.
    async fn an_ordinary_run(&mut self, place: &mut Place) {
        let (gone, said) = self.sandbox(place).await;
        assert_eq!(gone, SandboxGone::Killed);
        assert!(said.contains(TENANT), "{said}");
    }

    /// Asks for a sandbox, and kills it once it has said something; how it went, and what it said.
    async fn sandbox(&mut self, place: &mut Place) -> (SandboxGone, String) {
        self.marks += 1;
        let sandbox = u32::try_from(self.marks).unwrap();
        let limits = SandboxLimits { memory_mib: 128, cpu_ms: None, processes: 32 };
        let zygote = place.zygote;
        place.tell(&ToGuest::NewSandbox { sandbox, zygote, limits }).await;
        let mut said = String::new();
        loop {
            let frame = place.frame().await;
            if frame.sandbox == sandbox {
                said += &String::from_utf8_lossy(&frame.payload);
                place.tell(&ToGuest::KillSandbox { sandbox }).await;
                continue;
            }
            match serde_json::from_slice(&frame.payload).unwrap() {
                FromGuest::SandboxGone { sandbox: which, gone, .. } if which == sandbox => {
                    return (gone, said);
                }
                FromGuest::SandboxReady { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn traces(&self) -> Option<Traces> {
        self.expected.traces.map(|traces| traces(&self.instance))
    }

    /// What was begun is undone. Who was killed is there until it is reaped.
    async fn is_as(&self, before: Option<Traces>, after: &str) {
        let mut now = self.traces();
        for _ in 0..1_000 {
            if now == before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            now = self.traces();
        }
        panic!("after {after}: {before:?} processes and descriptors before, {now:?} now");
    }
}

/// Every way to fail, stage by stage: as many as there could be.
fn tries() -> impl Iterator<Item = (&'static str, usize)> {
    HOW.into_iter().flat_map(|how| (0..STAGES_MAX).map(move |number| (how, number)))
}

/// The stages that failed, instead of and after being carried out, until none did any more.
#[derive(Default)]
struct Names([(Vec<String>, bool); 2]);

impl Names {
    fn of(&mut self, how: &str) -> &mut (Vec<String>, bool) {
        &mut self.0[usize::from(how == HOW[1])]
    }

    fn push(&mut self, how: &str, name: String) {
        self.of(how).0.push(name);
    }

    /// Nothing failed: there was no such stage.
    fn end(&mut self, how: &str) {
        self.of(how).1 = true;
    }

    fn are_all(&mut self, how: &str) -> bool {
        self.of(how).1
    }

    /// What became of a sandbox.
    fn take(&mut self, how: &str, (gone, said): (SandboxGone, String)) {
        match gone {
            SandboxGone::NotStarted { error } => {
                assert_eq!(error.message, PLANTED, "{}", error.stage);
                assert!(!said.contains(TENANT), "{}: {said}", error.stage);
                self.push(how, error.stage);
            }
            gone => {
                assert!(said.contains(TENANT), "{gone:?}");
                self.end(how);
            }
        }
    }

    fn both(self) -> Vec<String> {
        let [(instead, all), (after, all_after)] = self.0;
        assert!(all && all_after, "more stages than there could be: {instead:?} {after:?}");
        assert_eq!(instead, after);
        instead
    }
}

async fn start(place: &mut Place, zygote: u32, fault: &str) {
    let argv = vec![GUEST.to_owned(), fault.to_owned()];
    let spec = ZygoteSpec { argv, env: Vec::new(), ready_ms_max: 60_000 };
    place.tell(&ToGuest::StartZygote { zygote, spec, bundle: None }).await;
}

async fn ready(place: &mut Place, zygote: u32, fault: &str) {
    start(place, zygote, fault).await;
    match place.told().await {
        FromGuest::ZygoteReady { zygote: ready, .. } if ready == zygote => {}
        other => panic!("{other:?}"),
    }
}

/// Processes in the compartments of a launcher's instance, and the descriptors of the first of them.
#[allow(dead_code, reason = "not every wall shows its processes to the host")]
pub(crate) fn traces(instance: &str) -> Traces {
    let layout = bulkhead_wall_process::cgroup::detect().unwrap();
    let hierarchy = layout.hierarchies.iter().find(|it| it.has("pids")).unwrap();
    let pids = processes_below(&hierarchy.own.join(format!("bulkhead-{instance}")));
    let guest = pids.iter().min().expect("a guest");
    let descriptors = std::fs::read_dir(format!("/proc/{guest}/fd")).map_or(0, Iterator::count);
    (pids.len(), descriptors)
}

fn processes_below(path: &Path) -> Vec<u32> {
    let procs = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<u32> = procs.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            pids.extend(processes_below(&entry.path()));
        }
    }
    pids
}
