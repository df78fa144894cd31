//! A compartment under test, and what the tests say to the guest in it.

use std::path::{Path, PathBuf};

use bulkhead_protocol::{
    Assembler, BundleHead, Decoder, Frame, FromGuest, GUEST, Kind, SandboxGone, SandboxLimits,
    SlotUsage, ToGuest, ZygoteSpec, fragments,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::{Compartment, CompartmentSpec, DynWall, Mount, WallError};

/// A compartment with a zygote that has loaded `source`.
pub struct Place {
    /// The compartment itself.
    pub compartment: Box<dyn Compartment>,
    /// What its sandboxes may use, MiB.
    pub memory_mib: u64,
    /// Their CPU time, ms: that of a machine that is emulated, on a host that has other things to do, goes on meanwhile.
    pub cpu_ms: u64,
    /// The zygote that sandboxes are made of.
    pub zygote: u32,
    stream: UnixStream,
    decoder: Decoder,
    _bundle: Option<tempfile::TempDir>,
}

impl Place {
    /// Builds a compartment and starts a zygote with `source` in it, ready or not.
    pub async fn new(wall: &DynWall, source: &str) -> Self {
        let bundle = bundle(source);
        let mount =
            Mount { source: bundle.path().into(), target: PathBuf::from("/bundle/function") };
        let spec = CompartmentSpec { mounts: vec![mount], ..spec() };
        let mut place = Self::empty(wall, spec, bundle).await;
        place.tell(&ToGuest::StartZygote { zygote: 1, spec: zygote(), bundle: None }).await;
        place
    }

    /// Builds a compartment with room for as many zygotes as the wall has, and none in it yet.
    pub async fn for_several(wall: &DynWall) -> Self {
        let spec = CompartmentSpec { zygotes: wall.zygotes_max(), ..spec() };
        let place = Self::empty(wall, spec, bundle("")).await;
        Self { cpu_ms: 60_000, ..place }
    }

    async fn empty(wall: &DynWall, spec: CompartmentSpec, bundle: tempfile::TempDir) -> Self {
        let place = Self::of(wall, spec).await.unwrap();
        Self { _bundle: Some(bundle), ..place }
    }

    /// Builds a compartment with nothing in it but its guest, which has said hello.
    ///
    /// # Errors
    /// When it can't be built.
    pub async fn of(wall: &DynWall, spec: CompartmentSpec) -> Result<Self, WallError> {
        let slots = spec.slots;
        let mut compartment = wall.create(spec).await?;
        let stream = compartment.take_stream().unwrap();
        let decoder = Decoder::default();
        let mut place = Self {
            compartment,
            stream,
            memory_mib: 128,
            cpu_ms: 3_000,
            zygote: 1,
            decoder,
            _bundle: None,
        };
        let hello = place.told().await;
        assert_eq!(hello, FromGuest::Hello { version: bulkhead_protocol::VERSION, slots });
        Ok(place)
    }

    /// Starts one more zygote, with a bundle that goes over the stream; the guest's answer.
    pub async fn add(&mut self, zygote: u32, source: &str, sha256: &str) -> FromGuest {
        let head = BundleHead { bytes: source.len() as u64, sha256: sha256.to_owned() };
        let spec = self::zygote();
        self.tell(&ToGuest::StartZygote { zygote, spec, bundle: Some(head) }).await;
        let part = |part: &[u8]| Frame::new(GUEST, zygote, Kind::Bundle, part.to_vec());
        self.send(source.as_bytes().chunks(100).map(part).collect()).await;
        self.told().await
    }

    /// The same, and waits until the zygote is ready.
    pub async fn ready(wall: &DynWall, source: &str) -> Self {
        let mut place = Self::new(wall, source).await;
        match place.told().await {
            FromGuest::ZygoteReady { zygote: 1, .. } => place,
            other => panic!("{other:?}"),
        }
    }

    /// Says something to the guest.
    pub async fn tell(&mut self, message: &ToGuest) {
        let text = serde_json::to_vec(message).unwrap();
        self.send(fragments(GUEST, 0, Kind::ToGuest, &text)).await;
    }

    async fn send(&mut self, frames: Vec<Frame>) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The next frame.
    pub async fn frame(&mut self) -> Frame {
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

    /// The guest's next word; what sandboxes say meanwhile is lost.
    pub async fn told(&mut self) -> FromGuest {
        loop {
            let frame = self.frame().await;
            if frame.kind == Kind::FromGuest {
                return serde_json::from_slice(&frame.payload).unwrap();
            }
        }
    }

    /// Makes a sandbox and starts it on `input`.
    pub async fn start(&mut self, sandbox: u32, input: Value) {
        let cpu_ms = Some(self.cpu_ms);
        let limits = SandboxLimits { memory_mib: self.memory_mib, cpu_ms, processes: 32 };
        let zygote = self.zygote;
        self.tell(&ToGuest::NewSandbox { sandbox, zygote, limits }).await;
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
    pub async fn run(
        &mut self,
        sandbox: u32,
        input: Value,
    ) -> (Option<Value>, SandboxGone, SlotUsage) {
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
                // Not so the CPU time: some kernels count it in ticks, of which a short run uses none.
                assert!(used.memory_bytes_peak > 0, "{used:?}");
                result = Some(serde_json::from_slice(&message).unwrap());
            }
        }
    }
}

fn spec() -> CompartmentSpec {
    CompartmentSpec {
        mounts: Vec::new(),
        slots: 4,
        scratch_mib: 16,
        scratch_inodes: 256,
        memory_mib: 128,
        processes: 32,
        zygotes: 0,
    }
}

fn zygote() -> ZygoteSpec {
    let bundle = "/bundle/function/bundle.js";
    ZygoteSpec {
        argv: ["/runtime/node", "--single-threaded", "/runtime/harness/zygote.js", bundle]
            .map(str::to_owned)
            .to_vec(),
        env: vec![("PATH".to_owned(), "/runtime".to_owned())],
        ready_ms_max: 120_000,
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
#[must_use]
pub fn action(exec: &str) -> String {
    format!(
        "const fs = require('fs');
         module.exports.default = {{ type: 'action', kind: 'action', exec: async (nango, input) => {{ {exec} }} }};"
    )
}
