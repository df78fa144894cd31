//! Whoever sits where the harness would be, with the sandbox's end of the stream, and says what it likes: garbage,
//! floods, what is for others or from others, nothing at all. It ends with a name, or is held to its window; the
//! sandbox beside it gives its own answer, and the compartment's memory stays as it was.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bulkhead_protocol::{
    Decoder, Frame, FromGuest, GUEST, HEADER_BYTES, Kind, SANDBOX_WINDOW_BYTES, SandboxGone,
    SandboxLimits, ToGuest, ZygoteSpec, fragments,
};
use bulkhead_wall::{Compartment, CompartmentSpec, Mount, Wall};
use bulkhead_wall_process::{LaunchedWall, Process, launcher, walls};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Generous: the machine may be busy; nothing here measures time.
const PATIENCE: Duration = Duration::from_secs(60);

/// By how much the compartment may grow while it is abused: its slots' buffers, and sandboxes that come and go.
const GROWTH_BYTES_MAX: u64 = 48 << 20;

/// An honest sandbox, and one that is told what to do to the stream.
const SOURCE: &str = r#"
const fs = require('fs');
const frame = ({ length, sandbox = 0, channel = 0, kind, flags = 0, payload = Buffer.alloc(0) }) => {
  const head = Buffer.alloc(16);
  head.writeUInt32LE(length ?? payload.length, 0);
  head.writeUInt32LE(sandbox, 4);
  head.writeUInt32LE(channel, 8);
  head[12] = kind;
  head[13] = flags;
  return Buffer.concat([head, payload]);
};
const stream = () => Number(fs.readdirSync('/proc/self/fd').find((fd) => Number(fd) > 2 && fs.readlinkSync('/proc/self/fd/' + fd).startsWith('socket:')));
const write = (fd, bytes) => {
  for (let at = 0; at < bytes.length; ) {
    try { at += fs.writeSync(fd, bytes, at); } catch (error) { if (error.code !== 'EAGAIN') throw error; }
  }
};
const forever = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
const abuse = {
  garbage: (fd) => write(fd, require('crypto').randomBytes(1 << 16).fill(0xff, 0, 4)),
  'over-long': (fd) => write(fd, frame({ length: 65537, kind: 5 })),
  'unknown kind': (fd) => write(fd, frame({ kind: 200 })),
  'unknown flags': (fd) => write(fd, frame({ kind: 5, flags: 0x80 })),
  'as the guest': (fd) => write(fd, frame({ kind: 65, payload: Buffer.from(JSON.stringify({ is: 'sandbox_gone', sandbox: 1, gone: { how: 'killed' }, usage: {} })) })),
  'as the worker': (fd) => write(fd, frame({ kind: 64, payload: Buffer.from(JSON.stringify({ do: 'kill_sandbox', sandbox: 1 })) })),
  'for others': (fd) => { for (let n = 0; n < 64; n++) write(fd, frame({ sandbox: n, kind: 5, payload: Buffer.from('[]') })); forever(); },
  flood: (fd) => { for (;;) write(fd, frame({ channel: 7, kind: 19, payload: Buffer.alloc(65536) })); },
  stall: () => forever(),
  'half a frame': (fd) => { write(fd, frame({ kind: 5, payload: Buffer.alloc(5000) }).subarray(0, 4000)); forever(); },
};
module.exports.default = { type: 'action', kind: 'action', exec: async (nango, input) => {
  if (input.honest) return new Promise((done) => setTimeout(() => done(input.honest), 700));
  abuse[input.how](stream());
  return new Promise(() => setInterval(() => {}, 1000));
} };
"#;

fn main() -> ExitCode {
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    if arguments.list {
        return libtest_mimic::run(&arguments, vec![trial(None)]).exit_code();
    }
    let config = launcher::LauncherConfig {
        rootfs: bulkhead_testkit::rootfs().unwrap_or_else(|error| panic!("{error}")),
        bundles: std::env::temp_dir(),
        holes: launcher::Holes::Refused,
        instance: format!("channel-{}", std::process::id()),
        walls: vec![Box::new(Process)],
    };
    let handle = launcher::start(config).unwrap_or_else(|error| panic!("{error}"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let wall = runtime.block_on(async { walls(handle).map(|mut walls| walls.remove(0)) }).unwrap();
    libtest_mimic::run(&arguments, vec![trial(Some((runtime, wall)))]).exit_code()
}

fn trial(wall: Option<(tokio::runtime::Runtime, LaunchedWall)>) -> Trial {
    Trial::test("who_abuses_the_channel_harms_nobody_else", move || {
        let (runtime, wall) = wall.ok_or_else(|| Failed::from("no wall"))?;
        let timed = async { tokio::time::timeout(PATIENCE, every_abuse(&wall)).await };
        runtime.block_on(timed).map_err(|_| Failed::from("took too long"))?;
        Ok(())
    })
}

async fn every_abuse(wall: &LaunchedWall) {
    let mut place = Place::new(wall).await;
    let before = place.compartment.memory_bytes().await;
    let mut number = 1;
    for how in
        ["garbage", "over-long", "unknown kind", "unknown flags", "as the guest", "as the worker"]
    {
        let (gone, received) = place.abuse(number, how, false).await;
        assert!(matches!(gone, SandboxGone::ProtocolViolation { .. }), "{how}: {gone:?}");
        assert!(received < 1 << 16, "{how}: {received} bytes were passed on");
        number += 2;
    }
    for how in ["for others", "flood", "stall", "half a frame"] {
        let window = usize::try_from(SANDBOX_WINDOW_BYTES).unwrap();
        let (gone, received) = place.abuse(number, how, true).await;
        assert_eq!(gone, SandboxGone::Killed, "{how}");
        // One turn's read may go past the window.
        assert!(
            received <= window + (80 << 10),
            "{how}: {received} bytes past a window of {window}"
        );
        number += 2;
    }
    if let (Some(before), Some(after)) = (before, place.compartment.memory_bytes().await) {
        assert!(after < before + GROWTH_BYTES_MAX, "{before} bytes before, {after} after");
    }
    place.compartment.destroy().await.unwrap();
}

/// A compartment with a zygote that has loaded [`SOURCE`].
struct Place {
    compartment: Box<dyn Compartment>,
    stream: UnixStream,
    decoder: Decoder,
    _bundle: tempfile::TempDir,
}

impl Place {
    async fn new(wall: &LaunchedWall) -> Self {
        let bundle = tempfile::tempdir().unwrap();
        let file = bundle.path().join("bundle.js");
        std::fs::write(&file, SOURCE).unwrap();
        for (path, mode) in [(bundle.path(), 0o755), (file.as_path(), 0o644)] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(path, mode).unwrap();
        }
        let mount = Mount { source: bundle.path().into(), target: PathBuf::from("/bundle/it") };
        let spec = CompartmentSpec {
            mounts: vec![mount],
            slots: 2,
            scratch_mib: 16,
            scratch_inodes: 256,
            memory_mib: 128,
            processes: 32,
            zygotes: 0,
        };
        let mut compartment = wall.create(spec).await.unwrap();
        let stream = compartment.take_stream().unwrap();
        let mut place = Self { compartment, stream, decoder: Decoder::default(), _bundle: bundle };
        assert!(matches!(place.told().await, FromGuest::Hello { .. }));
        let argv = [
            "/runtime/node",
            "--single-threaded",
            "/runtime/harness/zygote.js",
            "/bundle/it/bundle.js",
        ];
        let spec = ZygoteSpec {
            argv: argv.map(str::to_owned).to_vec(),
            env: Vec::new(),
            ready_ms_max: 20_000,
        };
        place.tell(&ToGuest::StartZygote { zygote: 1, spec, bundle: None }).await;
        assert!(matches!(place.told().await, FromGuest::ZygoteReady { .. }));
        place
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

    async fn start(&mut self, sandbox: u32, input: Value) {
        let start = json!({
            "execution": "exe_1", "attempt": 1, "kind": "action", "soft_deadline": 4_000_000_000_000_i64,
            "deadline": 4_000_000_000_000_i64, "input": input, "context": {}, "seed": "00".repeat(32),
            "output_bytes": 1_000_000,
        });
        let start = serde_json::to_vec(&start).unwrap();
        self.send(fragments(sandbox, 0, Kind::Start, &start)).await;
    }

    /// Lets sandbox `number + 1` abuse its stream while sandbox `number` works honestly. How the abuser went, and how
    /// many bytes came under its number. With `kill` it is killed once the honest one is through.
    async fn abuse(&mut self, number: u32, how: &str, kill: bool) -> (SandboxGone, usize) {
        let (honest, abuser) = (number, number + 1);
        let limits = SandboxLimits { memory_mib: 128, cpu_ms: None, processes: 32 };
        for sandbox in [honest, abuser] {
            self.tell(&ToGuest::NewSandbox { sandbox, zygote: 1, limits: limits.clone() }).await;
            match self.told().await {
                FromGuest::SandboxReady { .. } => {}
                other => panic!("{how}: {other:?}"),
            }
        }
        self.start(honest, json!({"honest": how})).await;
        self.start(abuser, json!({"how": how})).await;
        let (mut answer, mut through, mut gone, mut received, mut killed) =
            (false, false, None, 0, false);
        // Both slots have to be free before the next.
        while !through || gone.is_none() {
            let frame = self.frame().await;
            if frame.kind == Kind::FromGuest {
                match serde_json::from_slice(&frame.payload).unwrap() {
                    FromGuest::SandboxGone { sandbox, gone: how, .. } if sandbox == abuser => {
                        gone = Some(how)
                    }
                    FromGuest::SandboxGone { sandbox, gone, .. } => {
                        assert_eq!(
                            (sandbox, gone),
                            (honest, SandboxGone::Exited { status: 0 }),
                            "{how}"
                        );
                        assert!(answer, "{how}: the honest one left without an answer");
                        through = true;
                    }
                    FromGuest::SandboxAnswers { sandbox, .. } => {
                        assert_eq!(sandbox, honest, "{how}")
                    }
                    other => panic!("{how}: {other:?}"),
                }
            } else if frame.sandbox == abuser {
                received += HEADER_BYTES + frame.payload.len();
            } else {
                assert_eq!(frame.sandbox, honest, "{how}: frames carry their stream's number");
                if frame.kind == Kind::Result {
                    let result: Value = serde_json::from_slice(&frame.payload).unwrap();
                    assert_eq!(result, json!({"is": "completed", "output": how}));
                    answer = true;
                }
            }
            if kill && !killed && answer {
                killed = true;
                self.tell(&ToGuest::KillSandbox { sandbox: abuser }).await;
            }
        }
        (gone.unwrap(), received)
    }
}
