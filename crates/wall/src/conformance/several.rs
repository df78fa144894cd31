//! For walls whose compartments have room for several zygotes: one function's is hostile to the next.

use bulkhead_protocol::{FromGuest, SandboxGone, ToGuest};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Case, Place, action};
use crate::DynWall;

/// All of them.
#[must_use]
pub fn several() -> Vec<(&'static str, Case)> {
    crate::wall_cases![
        zygotes_of_two_functions_do_not_reach_each_other,
        a_zygote_that_fails_or_goes_leaves_the_others_alone,
        a_zygote_over_its_memory_ends_and_no_other,
        what_a_stopped_zygote_left_is_gone,
    ]
}

/// What code finds that looks for another function's: bundle, processes, files.
const LOOK: &str = "
    const fs = require('fs');
    const attempt = (what) => { try { return what(); } catch (error) { return error.code; } };
    const others = () => {
        const own = fs.readdirSync('/proc/self/task').map(Number);
        return Array.from({ length: 400 }, (_, pid) => pid + 1).filter((pid) => !own.includes(pid));
    };
    const look = () => ({
        uid: process.getuid(),
        bundles: attempt(() => fs.readdirSync('/bundle').join()),
        other: attempt(() => fs.readFileSync('/bundle/../bundle/1/function/bundle.js').length),
        own: attempt(() => fs.readFileSync('/bundle/function/bundle.js', 'utf8').includes('VIC' + 'TIM')),
        write: attempt(() => fs.writeFileSync('/bundle/function/bundle.js', '')),
        network: attempt(() => fs.readlinkSync('/proc/self/ns/net')),
        processes: fs.readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name)).length,
        signalled: others().filter((pid) => attempt(() => process.kill(pid, 0)) === true).length,
        memory: others().filter((pid) => typeof attempt(() => fs.openSync(`/proc/${pid}/mem`, 'r')) === 'number').length,
    });";

fn sha256(source: &str) -> String {
    Sha256::digest(source).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn add(place: &mut Place, zygote: u32, source: &str) {
    match place.add(zygote, source, &sha256(source)).await {
        FromGuest::ZygoteReady { zygote: ready, .. } if ready == zygote => {}
        other => panic!("{other:?}"),
    }
}

fn failed(told: FromGuest) -> String {
    match told {
        FromGuest::ZygoteFailed { error, .. } => error.stage,
        other => panic!("{other:?}"),
    }
}

async fn output(place: &mut Place, (zygote, sandbox): (u32, u32)) -> Value {
    place.zygote = zygote;
    let (result, gone, _) = place.run(sandbox, json!({})).await;
    assert_eq!(gone, SandboxGone::Exited { status: 0 });
    result.unwrap()["output"].clone()
}

/// The second zygote looks while it loads, which is when an author's code has most of a zygote, and from a sandbox; with
/// a sandbox of the first one at its side, which holds something in its scratch directory and its memory.
async fn zygotes_of_two_functions_do_not_reach_each_other(wall: DynWall) {
    let mut place = Place::for_several(&wall).await;
    let victim = action(
        "if (input.network) return fs.readlinkSync('/proc/self/ns/net');
         fs.writeFileSync('/tmp/VICTIM', 'x'); return new Promise(() => setInterval(() => {}, 1000));",
    );
    add(&mut place, 1, &victim).await;
    let (result, _, _) = place.run(1, json!({"network": true})).await;
    let network = result.unwrap()["output"].clone();
    assert!(network.as_str().unwrap().starts_with("net:["), "{network}");
    place.start(2, json!({})).await;
    let attacker = format!(
        "{LOOK} const loading = look(); module.exports.default = {{ type: 'action', kind: 'action',
         exec: async () => ({{ loading, running: look(), scratch: fs.readdirSync('/tmp').length }}) }};"
    );
    add(&mut place, 2, &attacker).await;
    let mut seen = output(&mut place, (2, 3)).await;
    for when in ["loading", "running"] {
        // Where names of abstract sockets are.
        let own = seen[when].as_object_mut().unwrap().remove("network").unwrap();
        assert!(own.as_str().unwrap().starts_with("net:["), "{own}");
        assert_ne!(own, network, "{when}");
    }
    let nothing = json!({
        "uid": 501, "bundles": "function", "other": "ENOENT", "own": false, "write": "EROFS",
        "processes": 1, "signalled": 0, "memory": 0,
    });
    let mut running = nothing.clone();
    running["uid"] = json!(1000);
    assert_eq!(seen["loading"], nothing);
    assert_eq!(seen["running"], running);
    assert_eq!(seen["scratch"], 0);
    place.compartment.destroy().await.unwrap();
}

async fn a_zygote_that_fails_or_goes_leaves_the_others_alone(wall: DynWall) {
    let mut place = Place::for_several(&wall).await;
    add(&mut place, 1, &action("return 'first';")).await;
    let throws = "throw new Error('no');";
    assert_eq!(failed(place.add(2, throws, &sha256(throws)).await), "bundle");
    assert_eq!(failed(place.add(3, throws, &sha256("something else")).await), "bundle_transfer");
    for zygote in [2, 3] {
        place.tell(&ToGuest::StopZygote { zygote }).await;
    }
    add(&mut place, 4, &action("return 'second';")).await;
    assert_eq!(output(&mut place, (1, 1)).await, "first");
    assert_eq!(output(&mut place, (4, 2)).await, "second");
    place.tell(&ToGuest::StopZygote { zygote: 4 }).await;
    assert_eq!(output(&mut place, (1, 3)).await, "first");
    place.compartment.destroy().await.unwrap();
}

/// More than a zygote may use and less than there is: it is its own limit that it meets.
async fn a_zygote_over_its_memory_ends_and_no_other(wall: DynWall) {
    let mut place = Place::for_several(&wall).await;
    add(&mut place, 1, &action("return 'first';")).await;
    let large =
        format!("const large = Buffer.alloc(1200 << 20, 1); {}", action("return large[0];"));
    assert_eq!(failed(place.add(2, &large, &sha256(&large)).await), "zygote");
    assert_eq!(output(&mut place, (1, 1)).await, "first");
    place.compartment.destroy().await.unwrap();
}

/// A process that outlives its zygote would keep the memory of the place, in which no other zygote of its size can be
/// then. Nobody says when what is left is gone: so it is tried until it is.
async fn what_a_stopped_zygote_left_is_gone(wall: DynWall) {
    let mut place = Place::for_several(&wall).await;
    let leaves = format!(
        "const large = `const large = Buffer.alloc(600 << 20, 1); setInterval(() => large, 1000);
             process.send('large');`;
         const leave = `const child = require('child_process').spawn(process.execPath, ['-e', process.argv[1]],
             {{ detached: true, stdio: ['ignore', 'ignore', 'ignore', 'ipc'] }});
             child.on('message', () => process.exit(0)); child.on('exit', () => process.exit(1));`;
         const {{ status }} = require('child_process').spawnSync(process.execPath, ['-e', leave, large], {{ stdio: 'ignore' }});
         if (status !== 0) throw new Error(`it left with ${{status}}`); {}",
        action("return 'left';")
    );
    add(&mut place, 1, &leaves).await;
    place.tell(&ToGuest::StopZygote { zygote: 1 }).await;
    for zygote in 2.. {
        match place.add(zygote, &leaves, &sha256(&leaves)).await {
            FromGuest::ZygoteReady { .. } => break,
            FromGuest::ZygoteFailed { .. } => place.tell(&ToGuest::StopZygote { zygote }).await,
            other => panic!("{other:?}"),
        }
    }
    place.compartment.destroy().await.unwrap();
}
