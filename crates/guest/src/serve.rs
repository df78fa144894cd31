//! A zygote's loop: wait for a request, fork, and in the child confine oneself and go back to what the zygote has loaded.

use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};

use bulkhead_protocol::GuestError;

use crate::children::Children;
use crate::confine::{Confinement, Place, confine};
use crate::fdpass;
use crate::filter::{self, Who};
use crate::stages::Stages;
use crate::sys::{Exited, exit_now, fork, inherit_heap};
use crate::zygote_wire::{FromZygote, PACKET_BYTES_MAX, ToZygote, control};

/// Descriptors that come before the cgroup files in a request: stream and output.
const STREAM_AND_OUTPUT: usize = 2;

/// A forked and confined child.
#[derive(Debug)]
pub struct Child {
    /// Its stream, a descriptor that it owns.
    pub stream: i32,
    /// Its scratch directory.
    pub scratch: String,
}

struct Request {
    sandbox: u32,
    place: Place,
    output: OwnedFd,
}

/// Serves forks until the guest goes away. Returns in a confined child only: one that could not be confined leaves.
///
/// # Errors
/// What keeps this process from being a zygote.
pub fn serve(by: &dyn Stages) -> Result<Child, String> {
    let guest = control();
    let confinement = setup(guest).map_err(|error| error.to_string())?;
    // From here on only this loop runs in the zygote, and it leaves the heap of what was loaded alone.
    inherit_heap().map_err(|error| error.to_string())?;
    say(guest, &FromZygote::Ready);
    let mut children = Children::new(&confinement.lacks).map_err(|error| error.to_string())?;
    loop {
        let woken = children.wait(guest).map_err(|error| error.to_string())?;
        if woken.child {
            let ended = children.take_ended().map_err(|error| error.to_string())?;
            ended.into_iter().for_each(|exited| report(guest, exited));
        }
        if !woken.guest {
            continue;
        }
        // The guest has gone, and with it everybody who could want something of this process.
        let Some(request) = receive(guest)? else { exit_now(0) };
        let sandbox = request.sandbox;
        match fork() {
            Ok(0) => {
                // The guest sees it end before it was confined, and refuses the sandbox.
                if children.forget().is_err() {
                    exit_now(1);
                }
                return become_sandbox(&confinement, request, by);
            }
            Ok(pid) => {
                if let Err(error) = children.add(pid) {
                    say(guest, &not_forked(sandbox, &error));
                }
            }
            Err(error) => say(guest, &not_forked(sandbox, &error)),
        }
    }
}

/// Tells the guest that the bundle does not load, and leaves.
pub fn failed(stage: String, message: String) -> ! {
    let message: String = message.chars().take(16 * 1024).collect();
    say(control(), &FromZygote::Failed(GuestError { stage, message }));
    exit_now(1)
}

fn setup(guest: BorrowedFd<'_>) -> Result<Confinement, GuestError> {
    let failed = |message: String| GuestError { stage: "setup".to_owned(), message };
    let (packet, _) =
        packet(guest).map_err(failed)?.ok_or_else(|| failed("no guest".to_owned()))?;
    let ToZygote::Setup { execute, read, devices, lacks } = packet else {
        return Err(failed("the first packet must be the set-up".to_owned()));
    };
    let filters =
        filter::compile(Who::Sandbox, &lacks).map_err(|error| failed(error.to_string()))?;
    Ok(Confinement { execute, read, devices, lacks, filters })
}

fn become_sandbox(
    confinement: &Confinement,
    request: Request,
    by: &dyn Stages,
) -> Result<Child, String> {
    let Request { place, output, .. } = request;
    if confine(confinement, &place, &output, by).is_err() {
        exit_now(1);
    }
    let scratch = place.scratch.to_string_lossy().into_owned();
    Ok(Child { stream: place.stream.into_raw_fd(), scratch })
}

fn receive(guest: BorrowedFd<'_>) -> Result<Option<Request>, String> {
    let Some((packet, mut fds)) = packet(guest)? else { return Ok(None) };
    let ToZygote::Fork { sandbox, scratch, cpu_s, tasks } = packet else {
        return Err("set up twice".to_owned());
    };
    if fds.len() < STREAM_AND_OUTPUT {
        return Err("a request without its descriptors".to_owned());
    }
    let join = fds.split_off(STREAM_AND_OUTPUT);
    let mut fds = fds.into_iter();
    match (fds.next(), fds.next()) {
        (Some(stream), Some(output)) => {
            let place = Place { stream, join, scratch, cpu_s, tasks };
            Ok(Some(Request { sandbox, place, output }))
        }
        _ => Err("a request without its descriptors".to_owned()),
    }
}

fn packet(guest: BorrowedFd<'_>) -> Result<Option<(ToZygote, Vec<OwnedFd>)>, String> {
    let mut buffer = vec![0_u8; PACKET_BYTES_MAX];
    let received = fdpass::receive(guest, &mut buffer).map_err(|error| error.to_string())?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let packet = serde_json::from_slice(&buffer[..received.bytes]);
    Ok(Some((packet.map_err(|error| error.to_string())?, received.fds)))
}

fn report(guest: BorrowedFd<'_>, exited: Exited) {
    let Exited { pid, status, cpu_us, memory_bytes_peak } = exited;
    say(guest, &FromZygote::Exited { pid, status: status.0, cpu_us, memory_bytes_peak });
}

fn not_forked(sandbox: u32, error: &std::io::Error) -> FromZygote {
    let error = GuestError { stage: "fork".to_owned(), message: error.to_string() };
    FromZygote::NotForked { sandbox, error }
}

fn say(guest: BorrowedFd<'_>, packet: &FromZygote) {
    let told = serde_json::to_vec(packet)
        .map_err(|error| error.to_string())
        .and_then(|bytes| fdpass::send(guest, &bytes, &[]).map_err(|error| error.to_string()));
    if told.is_err() {
        // Without its guest a zygote serves nobody.
        exit_now(1);
    }
}
