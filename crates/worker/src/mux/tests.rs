//! The stream itself, with a guest played byte by byte.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Mutex;

use bulkhead_protocol::{CONTROL, SANDBOX_WINDOW_BYTES, fragments};

use super::*;
use crate::clock::SystemMonotonic;

/// The far end of a stream, played by the test.
struct Played {
    stream: UnixStream,
    decoder: Decoder,
}

impl Played {
    async fn say(&mut self, message: &FromGuest) {
        let json = serde_json::to_vec(message).unwrap();
        self.send(fragments(GUEST, CONTROL, Kind::FromGuest, &json)).await;
    }

    async fn send(&mut self, frames: Vec<Frame>) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        // A worker that hangs up in the middle is what some tests are about.
        self.stream.write_all(&bytes).await.ok();
    }

    async fn frame(&mut self) -> Frame {
        let mut buffer = vec![0; 4_096];
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return frame;
            }
            let length = self.stream.read(&mut buffer).await.unwrap();
            assert!(length > 0, "the worker hung up");
            self.decoder.feed(&buffer[..length]);
        }
    }

    async fn order(&mut self) -> ToGuest {
        let frame = self.frame().await;
        assert_eq!(frame.kind, Kind::ToGuest);
        serde_json::from_slice(&frame.payload).unwrap()
    }
}

type Changes = Arc<Mutex<Vec<Change>>>;

struct Bench {
    guest: Arc<Guest>,
    played: Played,
    changes: Changes,
    _tasks: Tasks,
}

async fn connect(hello: &FromGuest) -> Result<Bench, Broken> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut played = Played { stream: theirs, decoder: Decoder::default() };
    played.say(hello).await;
    let (tasks, changes) = (Tasks::default(), Changes::default());
    let seen = Arc::clone(&changes);
    let on_change = Box::new(move |change| seen.lock().unwrap().push(change));
    let guest = Guest::connect(ours, Arc::new(SystemMonotonic::new()), &tasks, on_change).await?;
    Ok(Bench { guest, played, changes, _tasks: tasks })
}

fn hello() -> FromGuest {
    FromGuest::Hello { version: VERSION, slots: 4 }
}

fn limits() -> SandboxLimits {
    SandboxLimits { memory_mib: 1, cpu_ms: None, processes: 1 }
}

impl Bench {
    async fn new() -> Self {
        connect(&hello()).await.ok().unwrap()
    }

    async fn sandbox(&mut self) -> Sandbox {
        let forking = self.guest.fork(1, limits()).ok().unwrap();
        let ToGuest::NewSandbox { sandbox, .. } = self.played.order().await else { panic!() };
        self.played.say(&FromGuest::SandboxReady { sandbox, fork_us: 1 }).await;
        forking.ready(Duration::from_secs(5)).await.ok().unwrap()
    }

    async fn breaks_with(&mut self, frames: Vec<Frame>, expected: Broken) {
        let mut sandbox = self.sandbox().await;
        self.played.send(frames).await;
        let (gone, _) = sandbox.gone().await;
        assert_eq!(gone, Gone::Broken(expected));
        assert_eq!(self.changes.lock().unwrap().as_slice(), [Change::Broken]);
        assert!(self.guest.is_broken() && self.guest.fork(1, limits()).is_err());
    }
}

#[tokio::test]
async fn a_guest_says_hello_first_in_the_right_version() {
    let bench = Bench::new().await;
    assert_eq!((bench.guest.slots(), bench.guest.slots_used()), (4, 0));
    let check = async |hello| connect(&hello).await.err();
    let other = FromGuest::Hello { version: VERSION + 1, slots: 4 };
    assert_eq!(check(other).await, Some(Broken::Version(VERSION + 1)));
    let violation = Some(Broken::Violation("something else than a hello"));
    assert_eq!(check(FromGuest::Hello { version: VERSION, slots: 0 }).await, violation);
    assert_eq!(check(FromGuest::ZygoteReady { zygote: 1, load_us: 1 }).await, violation);
}

#[tokio::test]
async fn no_more_sandboxes_are_asked_for_than_there_are_slots() {
    let bench = Bench::new().await;
    let held: Vec<_> = (0..4).map(|_| bench.guest.fork(1, limits()).ok().unwrap()).collect();
    assert_eq!(bench.guest.fork(2, limits()).err(), Some(NoFork::Full));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_says_half_a_hello_or_nothing_is_given_up() {
    let mut bytes = Vec::new();
    let json = serde_json::to_vec(&hello()).unwrap();
    fragments(GUEST, CONTROL, Kind::FromGuest, &json)
        .iter()
        .for_each(|frame| frame.encode(&mut bytes));
    for said in [0, 7, bytes.len() - 1] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&bytes[..said]).await.unwrap();
        let (tasks, monotonic) = (Tasks::default(), Arc::new(SystemMonotonic::new()));
        let guest = Guest::connect(ours, monotonic, &tasks, Box::new(drop));
        // Of the clock that moves when nothing else can: without a deadline of its own this one comes.
        let guest = tokio::time::timeout(HELLO_WAIT * 2, guest).await.unwrap();
        assert_eq!(guest.err(), Some(Broken::NoHello), "after {said} bytes");
        // Until now it was there, and silent.
        drop(theirs);
    }
}

#[tokio::test]
async fn whatever_a_guest_must_not_send_breaks_the_compartment() {
    let second = fragments(GUEST, CONTROL, Kind::FromGuest, &serde_json::to_vec(&hello()).unwrap());
    let cases = [
        (second, "a second hello"),
        (
            vec![Frame::new(GUEST, CONTROL, Kind::FromGuest, b"{}".to_vec())],
            "a message that is no FromGuest",
        ),
        (vec![Frame::new(GUEST, CONTROL, Kind::Call, vec![])], "a frame that a guest may not send"),
        (vec![Frame::new(1, CONTROL, Kind::Start, vec![])], "a frame that no sandbox may send"),
        (vec![Frame::new(1, CONTROL, Kind::FromGuest, vec![])], "a frame that no sandbox may send"),
    ];
    for (frames, what) in cases {
        Bench::new().await.breaks_with(frames, Broken::Violation(what)).await;
    }
}

#[tokio::test]
async fn a_guest_that_ignores_the_window_breaks_the_compartment() {
    let whole = Frame::new(1, CONTROL, Kind::Output, vec![0; PAYLOAD_BYTES_MAX]);
    let count = SANDBOX_WINDOW_BYTES as usize / PAYLOAD_BYTES_MAX + 5;
    let frames = vec![whole; count];
    let expected = Broken::Violation("more of a sandbox than was granted");
    Bench::new().await.breaks_with(frames, expected).await;
}

#[tokio::test]
async fn a_guest_that_hangs_up_ends_all_its_sandboxes() {
    let mut bench = Bench::new().await;
    let (mut one, mut two) = (bench.sandbox().await, bench.sandbox().await);
    drop(bench.played);
    assert_eq!(one.gone().await.0, Gone::Broken(Broken::HungUp));
    assert_eq!(two.gone().await.0, Gone::Broken(Broken::HungUp));
}

#[tokio::test]
async fn frames_come_before_the_end_and_credit_as_they_are_taken() {
    let mut bench = Bench::new().await;
    let mut sandbox = bench.sandbox().await;
    let frame = Frame::new(1, CONTROL, Kind::Output, vec![7; PAYLOAD_BYTES_MAX]);
    bench.played.send(vec![frame.clone(); 3]).await;
    for _ in 0..3 {
        assert!(matches!(sandbox.next().await, Event::Frame(got) if got == frame));
    }
    // The third is being dealt with while the first two are credited: an eighth of the window is reached.
    let gone = SandboxGone::Exited { status: 3 };
    let usage = bulkhead_protocol::SlotUsage::default();
    bench.played.say(&FromGuest::SandboxGone { sandbox: 1, gone: gone.clone(), usage }).await;
    assert_eq!(sandbox.gone().await.0, Gone::Guest(gone));
    let bytes = 2 * (PAYLOAD_BYTES_MAX as u32 + 16);
    assert_eq!(bench.played.order().await, ToGuest::Credit { sandbox: 1, bytes });
    assert_eq!(bench.changes.lock().unwrap().as_slice(), [Change::SlotFree]);
    assert_eq!(bench.guest.slots_used(), 0);
}

#[tokio::test]
async fn a_sandbox_that_is_dropped_is_killed_and_keeps_its_slot_until_it_is_gone() {
    let mut bench = Bench::new().await;
    drop(bench.sandbox().await);
    assert_eq!(bench.played.order().await, ToGuest::KillSandbox { sandbox: 1 });
    assert_eq!(bench.guest.slots_used(), 1);
}

#[tokio::test]
async fn a_small_message_does_not_wait_for_a_large_one() {
    let mut bench = Bench::new().await;
    let (one, two) = (bench.sandbox().await, bench.sandbox().await);
    let large = vec![0; 32 << 20];
    let (large_to, small_to) = (one.outgoing(), two.outgoing());
    let mut senders = tokio::task::JoinSet::new();
    senders.spawn(async move { large_to.send(CONTROL, Kind::Reply, &large).await });
    // Once the large one is under way …
    assert_eq!(bench.played.frame().await.sandbox, 1);
    senders.spawn(async move { small_to.send(CONTROL, Kind::Reply, b"{}").await });
    // … the small one comes after what fits in between, not after all 512 fragments.
    let mut before = 0;
    while bench.played.frame().await.sandbox != 2 {
        before += 1;
    }
    assert!(before <= 3 * OUT_FRAMES_MAX, "{before} frames went first");
}
