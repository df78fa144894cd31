//! Real compartments, with the real runtime image: a zygote, forked sandboxes, and what they may not do.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bulkhead_protocol::{
    Assembler, Decoder, Frame, FromGuest, GUEST, Kind, SandboxGone, SandboxLimits, SlotUsage,
    ToGuest, ZygoteSpec, fragments,
};
use bulkhead_wall::{Compartment, CompartmentSpec, Mount, Wall};
use bulkhead_wall_process::{ProcessWall, launcher};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Generous: the machine may be busy; nothing here measures time.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    // One after the other: some of them count what is on the machine.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(None)).exit_code();
    }
    let config = launcher::LauncherConfig {
        rootfs: bulkhead_testkit::rootfs().unwrap_or_else(|error| panic!("{error}")),
        instance: format!("test-{}", std::process::id()),
    };
    let handle = launcher::start(config).unwrap_or_else(|error| panic!("{error}"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let wall = runtime.block_on(async { ProcessWall::new(handle) }).unwrap();
    let shared = std::sync::Arc::new((runtime, wall));
    libtest_mimic::run(&arguments, trials(Some(&shared))).exit_code()
}

type Shared = std::sync::Arc<(tokio::runtime::Runtime, ProcessWall)>;

macro_rules! trials {
    ($shared:expr, $($name:ident),* $(,)?) => {
        vec![$({
            let shared: Option<Shared> = $shared.cloned();
            Trial::test(stringify!($name), move || match shared {
                Some(shared) => {
                    let timed = async { tokio::time::timeout(PATIENCE, $name(&shared.1)).await };
                    shared.0.block_on(timed).map_err(|_| Failed::from("took too long"))?;
                    Ok(())
                }
                None => Err(Failed::from("no wall")),
            })
        }),*]
    };
}

fn trials(shared: Option<&Shared>) -> Vec<Trial> {
    trials!(
        shared,
        a_function_runs_and_leaves_nothing,
        a_sandbox_sees_only_its_own,
        forks_of_one_zygote_do_not_reach_each_other,
        a_bundle_that_throws_is_told,
        what_a_sandbox_may_not_send_ends_it,
        every_slot_is_used_again,
        each_limit_ends_the_sandbox_with_its_name,
        what_opens_the_kernel_is_refused,
        a_destroyed_compartment_leaves_nothing,
        what_the_wall_can_do_was_probed_as_root,
    )
}

/// A compartment with a zygote that has loaded `source`.
struct Place {
    compartment: Box<dyn Compartment>,
    stream: UnixStream,
    decoder: Decoder,
    _bundle: tempfile::TempDir,
}

impl Place {
    async fn new(wall: &ProcessWall, source: &str) -> Self {
        let bundle = bundle(source);
        let spec = CompartmentSpec {
            mounts: vec![Mount {
                source: bundle.path().into(),
                target: PathBuf::from("/bundle/it"),
            }],
            slots: 4,
            scratch_mib: 16,
            scratch_inodes: 256,
            memory_mib: 128,
            processes: 32,
        };
        let mut compartment = wall.create(spec).await.unwrap();
        let stream = compartment.take_stream().unwrap();
        let mut place = Self { compartment, stream, decoder: Decoder::default(), _bundle: bundle };
        let hello = place.told().await;
        assert_eq!(hello, FromGuest::Hello { version: bulkhead_protocol::VERSION, slots: 4 });
        let spec = ZygoteSpec {
            argv: [
                "/runtime/node",
                "--single-threaded",
                "/runtime/harness/zygote.js",
                "/bundle/it/bundle.js",
            ]
            .map(str::to_owned)
            .to_vec(),
            env: vec![("PATH".to_owned(), "/runtime".to_owned())],
            ready_ms_max: 20_000,
        };
        place.tell(&ToGuest::StartZygote { zygote: 1, spec }).await;
        place
    }

    async fn ready(wall: &ProcessWall, source: &str) -> Self {
        let mut place = Self::new(wall, source).await;
        match place.told().await {
            FromGuest::ZygoteReady { zygote: 1, .. } => place,
            other => panic!("{other:?}"),
        }
    }

    async fn tell(&mut self, message: &ToGuest) {
        let text = serde_json::to_vec(message).unwrap();
        self.send(fragments(GUEST, 0, Kind::ToGuest, &text)).await;
    }

    async fn send(&mut self, frames: Vec<Frame>) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        self.stream.write_all(&bytes).await.unwrap();
    }

    async fn frame(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return frame;
            }
            let mut buffer = vec![0_u8; 65_536];
            let count = self.stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the guest left");
            self.decoder.feed(&buffer[..count]);
        }
    }

    async fn told(&mut self) -> FromGuest {
        loop {
            let frame = self.frame().await;
            if frame.kind == Kind::FromGuest {
                return serde_json::from_slice(&frame.payload).unwrap();
            }
        }
    }

    /// Makes a sandbox and starts it on `input`.
    async fn start(&mut self, sandbox: u32, input: Value) {
        let limits = SandboxLimits { memory_mib: 128, cpu_ms: Some(3_000), processes: 32 };
        self.tell(&ToGuest::NewSandbox { sandbox, zygote: 1, limits }).await;
        match self.told().await {
            FromGuest::SandboxReady { .. } => {}
            other => panic!("{other:?}"),
        }
        let start = json!({
            "execution": "exe_1", "attempt": 1, "kind": "action", "soft_deadline": 4_000_000_000_000_i64,
            "deadline": 4_000_000_000_000_i64, "input": input, "context": {}, "seed": "00".repeat(32),
            "output_bytes": 1_000_000,
        });
        let start = serde_json::to_vec(&start).unwrap();
        self.send(fragments(sandbox, 0, Kind::Start, &start)).await;
    }

    /// Makes a sandbox, runs `input` in it; its result, how it went, what it used.
    async fn run(&mut self, sandbox: u32, input: Value) -> (Option<Value>, SandboxGone, SlotUsage) {
        self.start(sandbox, input).await;
        let (mut result, mut at_answer) = (None, None);
        let mut assembler = Assembler::default();
        loop {
            let frame = self.frame().await;
            if frame.kind == Kind::FromGuest {
                match serde_json::from_slice(&frame.payload).unwrap() {
                    FromGuest::SandboxAnswers { usage, .. } => at_answer = Some(usage),
                    FromGuest::SandboxGone { gone, usage, .. } => return (result, gone, usage),
                    other => panic!("{other:?}"),
                }
                continue;
            }
            assert_eq!(
                frame.sandbox, sandbox,
                "frames carry the number of the stream they came from"
            );
            if let Some((_, Kind::Result, message)) = assembler.push(frame).unwrap() {
                let used: SlotUsage = at_answer.expect("what was used comes before the result");
                assert!(used.cpu_us > 0 && used.memory_bytes_peak > 0, "{used:?}");
                result = Some(serde_json::from_slice(&message).unwrap());
            }
        }
    }
}

fn bundle(source: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bundle.js"), source).unwrap();
    let open = |path: &Path, mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(path, permissions).unwrap();
    };
    open(dir.path(), 0o755);
    open(&dir.path().join("bundle.js"), 0o644);
    dir
}

/// An action whose body is `exec`.
fn action(exec: &str) -> String {
    format!(
        "const fs = require('fs');
         module.exports.default = {{ type: 'action', kind: 'action', exec: async (nango, input) => {{ {exec} }} }};"
    )
}

async fn a_function_runs_and_leaves_nothing(wall: &ProcessWall) {
    let mut place = Place::ready(
        wall,
        &action("fs.writeFileSync('/tmp/x', 'y'); return { sum: input.a + input.b };"),
    )
    .await;
    let (result, gone, usage) = place.run(1, json!({"a": 1, "b": 2})).await;
    assert_eq!(result, Some(json!({"is": "completed", "output": {"sum": 3}})));
    assert_eq!(gone, SandboxGone::Exited { status: 0 });
    assert!(usage.memory_bytes_peak > 0 && usage.cpu_us > 0, "{usage:?}");
    place.compartment.destroy().await.unwrap();
}

async fn a_sandbox_sees_only_its_own(wall: &ProcessWall) {
    let look = action(
        "const seen = {};
         const attempt = (name, what) => { try { seen[name] = what(); } catch (error) { seen[name] = error.code; } };
         attempt('uid', () => process.getuid());
         attempt('proc', () => fs.readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name)).length);
         attempt('one', () => fs.readFileSync('/proc/1/environ'));
         attempt('shadow', () => fs.readFileSync('/etc/shadow'));
         attempt('host', () => fs.readdirSync('/root'));
         attempt('write', () => fs.writeFileSync('/bundle/it/x', 'x'));
         attempt('exec', () => { fs.writeFileSync('/tmp/x', '#!'); fs.chmodSync('/tmp/x', 0o755);
             return require('child_process').spawnSync('/tmp/x').error.code; });
         attempt('scratch', () => fs.readdirSync('/tmp').length);
         attempt('others', () => fs.readdirSync('/scratch'));
         attempt('kill', () => process.kill(process.ppid, 9));
         return seen;",
    );
    let mut place = Place::ready(wall, &look).await;
    let (result, ..) = place.run(1, json!({})).await;
    let seen = &result.unwrap()["output"];
    assert_eq!(
        seen,
        &json!({
            "uid": 1000, "proc": 1, "one": "ENOENT", "shadow": "ENOENT", "host": "ENOENT",
            "write": "EROFS", "exec": "EACCES", "scratch": 1, "others": "EACCES", "kill": "EPERM",
        })
    );
    place.compartment.destroy().await.unwrap();
}

/// They share a network namespace, where abstract sockets have no owner: only Landlock's scopes are in the way.
async fn forks_of_one_zygote_do_not_reach_each_other(wall: &ProcessWall) {
    let meet = action(
        "const net = require('net'); const name = String.fromCharCode(0) + 'meet';
         if (input.listen) return new Promise((done, fail) => net.createServer((peer) => peer.end('hello'))
             .on('error', fail).listen(name, () => nango.log('listens')));
         const call = () => new Promise((done) => net.connect(name).on('error', (error) => done(error.code))
             .on('data', (text) => done(String(text))));
         const own = net.createServer((peer) => peer.end('own')).listen(name + 2);
         const mine = await new Promise((done) => net.connect(name + 2).on('error', (error) => done(error.code))
             .on('data', (text) => done(String(text))));
         own.close();
         return { other: await call(), mine };",
    );
    let mut place = Place::ready(wall, &meet).await;
    place.start(1, json!({"listen": true})).await;
    while place.frame().await.kind != Kind::Log {}
    let (result, ..) = place.run(2, json!({})).await;
    let output = json!({"other": "EPERM", "mine": "own"});
    assert_eq!(result.unwrap(), json!({"is": "completed", "output": output}));
    place.compartment.destroy().await.unwrap();
}

async fn a_bundle_that_throws_is_told(wall: &ProcessWall) {
    let mut place = Place::new(wall, "throw new Error('no such luck');").await;
    match place.told().await {
        FromGuest::ZygoteFailed { zygote: 1, error, .. } => {
            assert_eq!(error.stage, "bundle");
            assert!(error.message.contains("no such luck"), "{}", error.message);
        }
        other => panic!("{other:?}"),
    }
    place.compartment.destroy().await.unwrap();
}

async fn what_a_sandbox_may_not_send_ends_it(wall: &ProcessWall) {
    // Finds the stream among its descriptors and says what only a guest may say, for another sandbox.
    let forge = action(
        "const frame = Buffer.alloc(16); frame.writeUInt32LE(7, 4); frame[12] = 65;
         for (let fd = 3; fd < 64; fd++) { try { fs.writeSync(fd, frame); } catch {} }
         return new Promise(() => setInterval(() => {}, 1000));",
    );
    let mut place = Place::ready(wall, &forge).await;
    let (result, gone, _) = place.run(1, json!({})).await;
    assert_eq!(result, None);
    assert!(matches!(gone, SandboxGone::ProtocolViolation { .. }), "{gone:?}");
    place.compartment.destroy().await.unwrap();
}

async fn every_slot_is_used_again(wall: &ProcessWall) {
    let traces = action(
        "const before = { tmp: fs.readdirSync('/tmp'), global: globalThis.left, proto: ({}).left };
         fs.mkdirSync('/tmp/a/b/c', { recursive: true }); fs.writeFileSync('/tmp/a/b/c/d', 'x'.repeat(100000));
         fs.chmodSync('/tmp/a/b', 0); globalThis.left = 1; Object.prototype.left = 1;
         require('child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { detached: true }).unref();
         return before;",
    );
    let mut place = Place::ready(wall, &traces).await;
    for sandbox in 1..=12 {
        let (result, gone, _) = place.run(sandbox, json!({})).await;
        assert_eq!(
            result,
            Some(json!({"is": "completed", "output": {"tmp": []}})),
            "sandbox {sandbox}"
        );
        assert_eq!(gone, SandboxGone::Exited { status: 0 });
    }
    place.compartment.destroy().await.unwrap();
}

async fn each_limit_ends_the_sandbox_with_its_name(wall: &ProcessWall) {
    let misbehave = action(
        "const spawn = () => require('child_process').spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)']);
         if (input.do === 'memory') { const held = []; for (;;) held.push(Buffer.alloc(1 << 20, 1)); }
         if (input.do === 'fork') { for (;;) { try { spawn().on('error', () => {}); } catch {}
             await new Promise((resolve) => setTimeout(resolve, 1)); } }
         if (input.do === 'disk') { for (let i = 0; ; i++) fs.writeFileSync('/tmp/' + i, Buffer.alloc(1 << 20)); }
         if (input.do === 'inodes') { for (let i = 0; ; i++) fs.writeFileSync('/tmp/' + i, ''); }
         if (input.do === 'cpu') for (;;);
         return 'well behaved';",
    );
    let mut place = Place::ready(wall, &misbehave).await;
    let (_, gone, usage) = place.run(1, json!({"do": "memory"})).await;
    assert_eq!(gone, SandboxGone::OutOfMemory);
    assert!(usage.memory_bytes_peak > 100 << 20, "{usage:?}");
    let (_, gone, usage) = place.run(2, json!({"do": "fork"})).await;
    assert_eq!(gone, SandboxGone::ProcessLimit);
    assert!(usage.process_refused);
    for (sandbox, resource) in [(3, "disk"), (4, "inodes")] {
        let (result, _, usage) = place.run(sandbox, json!({"do": resource})).await;
        assert_eq!(result.unwrap()["error"]["code"], "ENOSPC", "{resource}");
        assert!(usage.scratch_full, "{resource}: {usage:?}");
    }
    let (_, gone, _) = place.run(5, json!({"do": "cpu"})).await;
    assert_eq!(gone, SandboxGone::CpuLimit);
    let (result, ..) = place.run(6, json!({})).await;
    assert_eq!(result.unwrap()["output"], "well behaved", "the next is none the worse");
    place.compartment.destroy().await.unwrap();
}

/// Natively all of these work for whoever runs the tests; see `crates/guest/src/syscalls.json` for the list.
async fn what_opens_the_kernel_is_refused(wall: &ProcessWall) {
    let reach = action(
        "const seen = {};
         const attempt = async (name, what) => { try { await what(); seen[name] = 'done'; }
             catch (error) { seen[name] = error.code ?? String(error); } };
         await attempt('priority', () => require('os').setPriority(-20));
         await attempt('device', () => fs.openSync('/dev/kvm'));
         await attempt('memory device', () => fs.openSync('/dev/mem'));
         await attempt('kernel symbols', () => fs.readFileSync('/proc/kallsyms'));
         await attempt('kernel settings', () => fs.readFileSync('/proc/sys/kernel/core_pattern'));
         await attempt('system', () => fs.readdirSync('/sys'));
         await attempt('node binary', () => fs.openSync('/runtime/node', 'r+'));
         await attempt('guest binary', () => fs.openSync('/proc/1/exe', 'r+'));
         await attempt('shell', () => { const { error } = require('child_process').spawnSync('/bin/sh', ['-c', 'id']); if (error) throw error; });
         await attempt('signal', () => process.kill(1, 9));
         return seen;",
    );
    let mut place = Place::ready(wall, &reach).await;
    let (result, ..) = place.run(1, json!({})).await;
    assert_eq!(
        result.unwrap()["output"],
        json!({
            "priority": "ERR_SYSTEM_ERROR", "device": "ENOENT", "memory device": "ENOENT",
            "kernel symbols": "ENOENT", "kernel settings": "ENOENT", "system": "ENOENT",
            "node binary": "EACCES", "guest binary": "ENOENT", "shell": "ENOENT",
            "signal": "EPERM",
        })
    );
    place.compartment.destroy().await.unwrap();
}

async fn a_destroyed_compartment_leaves_nothing(wall: &ProcessWall) {
    let before = (processes(), cgroups());
    let mut place =
        Place::ready(wall, &action("return new Promise(() => setInterval(() => {}, 1000));")).await;
    let limits = SandboxLimits { memory_mib: 128, cpu_ms: None, processes: 32 };
    for sandbox in 1..=4 {
        place.tell(&ToGuest::NewSandbox { sandbox, zygote: 1, limits: limits.clone() }).await;
        assert!(matches!(place.told().await, FromGuest::SandboxReady { .. }));
    }
    assert!(processes() >= before.0 + 6, "guest, zygote and four sandboxes");
    place.compartment.destroy().await.unwrap();
    assert_eq!((processes(), cgroups()), before);
}

/// Processes in the compartments of this test's launcher: other tests have theirs on the same machine.
fn processes() -> usize {
    let layout = bulkhead_wall_process::cgroup::detect().unwrap();
    let pids = layout.hierarchies.iter().find(|it| it.has("pids")).unwrap();
    processes_below(&pids.own.join(format!("bulkhead-test-{}", std::process::id())))
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
    let top = format!("bulkhead-test-{}", std::process::id());
    let below = |it: &bulkhead_wall_process::cgroup::Hierarchy| {
        std::fs::read_dir(it.own.join(&top))
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().is_dir())
            .count()
    };
    layout.hierarchies.iter().map(below).sum()
}

/// A server that has given root away once took its own word for "not root", and built a compartment per execution.
async fn what_the_wall_can_do_was_probed_as_root(wall: &ProcessWall) {
    let capability = wall.probe().await;
    assert!(capability.available && capability.fork_isolation, "{capability:?}");
}
