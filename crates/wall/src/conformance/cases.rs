//! The tests themselves.

use bulkhead_protocol::{FromGuest, Kind, SandboxGone};
use serde_json::json;

use super::{Case, Place, action};
use crate::DynWall;

/// All of them.
pub(super) fn all() -> Vec<(&'static str, Case)> {
    crate::wall_cases![
        a_function_runs_and_leaves_nothing,
        a_sandbox_sees_only_its_own,
        a_sandbox_writes_nowhere_but_to_its_scratch,
        forks_of_one_zygote_do_not_reach_each_other,
        a_bundle_that_throws_is_told,
        what_a_sandbox_may_not_send_ends_it,
        every_slot_is_used_again,
        each_limit_ends_the_sandbox_with_its_name,
        what_opens_the_kernel_is_refused,
        what_the_wall_can_do_was_probed_as_root,
    ]
}

/// Whether the wall declares that difference.
async fn lacks(wall: &DynWall, name: &str) -> bool {
    wall.probe().await.differences.iter().any(|it| it.name == name)
}

async fn a_function_runs_and_leaves_nothing(wall: DynWall) {
    let mut place = Place::ready(
        &wall,
        &action("fs.writeFileSync('/tmp/x', 'y'); return { sum: input.a + input.b };"),
    )
    .await;
    let (result, gone, usage) = place.run(1, json!({"a": 1, "b": 2})).await;
    assert_eq!(result, Some(json!({"is": "completed", "output": {"sum": 3}})));
    assert_eq!(gone, SandboxGone::Exited { status: 0 });
    assert!(usage.memory_bytes_peak > 0 && usage.cpu_us > 0, "{usage:?}");
    place.compartment.destroy().await.unwrap();
}

async fn a_sandbox_sees_only_its_own(wall: DynWall) {
    let look = action(
        "const seen = {};
         const attempt = (name, what) => { try { seen[name] = what(); } catch (error) { seen[name] = error.code; } };
         attempt('uid', () => process.getuid());
         attempt('proc', () => fs.readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name)).length);
         attempt('one', () => fs.readlinkSync('/proc/1/cwd'));
         attempt('shadow', () => fs.readFileSync('/etc/shadow'));
         attempt('host', () => fs.readdirSync('/root'));
         attempt('write', () => fs.writeFileSync('/bundle/function/x', 'x'));
         attempt('exec', () => { fs.writeFileSync('/tmp/x', '#!'); fs.chmodSync('/tmp/x', 0o755);
             return require('child_process').spawnSync('/tmp/x').error.code; });
         attempt('scratch', () => fs.readdirSync('/tmp').length);
         attempt('others', () => fs.readdirSync('/scratch'));
         attempt('kill', () => process.kill(process.ppid, 9));
         return seen;",
    );
    let mut place = Place::ready(&wall, &look).await;
    let (result, ..) = place.run(1, json!({})).await;
    let mut seen = result.unwrap()["output"].clone();
    if lacks(&wall, "hidden_processes").await {
        // Guest, zygote and itself; none of the others is readable beyond its name.
        let processes = seen["proc"].as_u64().unwrap();
        assert!((2..=4).contains(&processes), "{seen}");
        assert_eq!(seen["one"], "EACCES");
        seen["proc"] = json!(1);
        seen["one"] = json!("ENOENT");
    }
    // Owner and mode are looked at before or after the mount.
    let write = if lacks(&wall, "landlock").await { "EACCES" } else { "EROFS" };
    assert_eq!(
        seen,
        json!({
            "uid": 1000, "proc": 1, "one": "ENOENT", "shadow": "ENOENT", "host": "ENOENT",
            "write": write, "exec": "EACCES", "scratch": 1, "others": "EACCES", "kill": "EPERM",
        })
    );
    place.compartment.destroy().await.unwrap();
}

/// Abstract sockets have no owner: Landlock's scopes are in the way, or a network namespace for each.
async fn forks_of_one_zygote_do_not_reach_each_other(wall: DynWall) {
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
    let mut place = Place::ready(&wall, &meet).await;
    place.start(1, json!({"listen": true})).await;
    while place.frame().await.kind != Kind::Log {}
    let (result, ..) = place.run(2, json!({})).await;
    let other = if lacks(&wall, "landlock").await { "ECONNREFUSED" } else { "EPERM" };
    let output = json!({"other": other, "mine": "own"});
    assert_eq!(result.unwrap(), json!({"is": "completed", "output": output}));
    place.compartment.destroy().await.unwrap();
}

/// Whatever two executions can both write to is a way from one to the other.
async fn a_sandbox_writes_nowhere_but_to_its_scratch(wall: DynWall) {
    let roam = action(
        "const path = require('path'); const written = []; let seen = 0;
         const own = fs.statSync(process.cwd());
         const isOwn = (here) => { const it = fs.statSync(here); return it.dev === own.dev && it.ino === own.ino; };
         const roam = (here) => { seen += 1;
             try { fs.writeFileSync(path.join(here, '.mark'), ''); written.push(isOwn(here) ? 'own' : here); } catch {}
             let names = []; try { names = fs.readdirSync(here, { withFileTypes: true }); } catch {}
             for (const entry of names) {
                 const below = path.join(here, entry.name);
                 if (entry.isDirectory() && below !== '/proc') roam(below);
             } };
         for (const known of ['/', '/dev', '/dev/shm', '/sys', '/var', '/run', '/etc', '/lib', '/runtime', '/bundle', '/scratch', process.cwd()]) roam(known);
         return { others: written.filter((it) => it !== 'own'), own: written.includes('own'), many: seen > 12 };",
    );
    let mut place = Place::ready(&wall, &roam).await;
    let (result, ..) = place.run(1, json!({})).await;
    assert_eq!(result.unwrap()["output"], json!({"others": [], "own": true, "many": true}));
    place.compartment.destroy().await.unwrap();
}

async fn a_bundle_that_throws_is_told(wall: DynWall) {
    let mut place = Place::new(&wall, "throw new Error('no such luck');").await;
    match place.told().await {
        FromGuest::ZygoteFailed { zygote: 1, error, .. } => {
            assert_eq!(error.stage, "bundle");
            assert!(error.message.contains("no such luck"), "{}", error.message);
        }
        other => panic!("{other:?}"),
    }
    place.compartment.destroy().await.unwrap();
}

async fn what_a_sandbox_may_not_send_ends_it(wall: DynWall) {
    // Finds the stream among its descriptors and says what only a guest may say, for another sandbox.
    let forge = action(
        "const frame = Buffer.alloc(16); frame.writeUInt32LE(7, 4); frame[12] = 65;
         for (let fd = 3; fd < 64; fd++) { try { fs.writeSync(fd, frame); } catch {} }
         return new Promise(() => setInterval(() => {}, 1000));",
    );
    let mut place = Place::ready(&wall, &forge).await;
    let (result, gone, _) = place.run(1, json!({})).await;
    assert_eq!(result, None);
    assert!(matches!(gone, SandboxGone::ProtocolViolation { .. }), "{gone:?}");
    place.compartment.destroy().await.unwrap();
}

async fn every_slot_is_used_again(wall: DynWall) {
    let traces = action(
        "const before = { tmp: fs.readdirSync('/tmp'), global: globalThis.left, proto: ({}).left };
         fs.mkdirSync('/tmp/a/b/c', { recursive: true }); fs.writeFileSync('/tmp/a/b/c/d', 'x'.repeat(100000));
         fs.chmodSync('/tmp/a/b', 0); globalThis.left = 1; Object.prototype.left = 1;
         require('child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { detached: true }).unref();
         return before;",
    );
    let mut place = Place::ready(&wall, &traces).await;
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

async fn each_limit_ends_the_sandbox_with_its_name(wall: DynWall) {
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
    let mut place = Place::ready(&wall, &misbehave).await;
    let (_, gone, usage) = place.run(1, json!({"do": "memory"})).await;
    assert_eq!(gone, SandboxGone::OutOfMemory);
    assert!(usage.memory_bytes_peak > 100 << 20, "{usage:?}");
    // Where each process's memory counts in full, so many of them need more than what is usual here.
    place.memory_mib = if lacks(&wall, "slot_cgroups").await { 2_048 } else { 128 };
    let (_, gone, usage) = place.run(2, json!({"do": "fork"})).await;
    place.memory_mib = 128;
    assert_eq!(gone, SandboxGone::ProcessLimit);
    assert!(usage.process_refused);
    let limited = if lacks(&wall, "inode_limits").await { 1 } else { 2 };
    for (sandbox, resource) in [(3, "disk"), (4, "inodes")].into_iter().take(limited) {
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
async fn what_opens_the_kernel_is_refused(wall: DynWall) {
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
    let mut place = Place::ready(&wall, &reach).await;
    let (result, ..) = place.run(1, json!({})).await;
    // A place with a lid on it says "not for you"; where Landlock speaks first, one that is not there says so.
    let lid = if lacks(&wall, "landlock").await { "EACCES" } else { "ENOENT" };
    let hidden = if lacks(&wall, "hidden_processes").await { "EACCES" } else { "ENOENT" };
    assert_eq!(
        result.unwrap()["output"],
        json!({
            "priority": "ERR_SYSTEM_ERROR", "device": "ENOENT", "memory device": "ENOENT",
            "kernel symbols": "ENOENT", "kernel settings": lid, "system": lid,
            "node binary": "EACCES", "guest binary": hidden, "shell": "ENOENT",
            "signal": "EPERM",
        })
    );
    place.compartment.destroy().await.unwrap();
}

/// A server that has given root away once took its own word for "not root", and built a compartment per execution.
async fn what_the_wall_can_do_was_probed_as_root(wall: DynWall) {
    let capability = wall.probe().await;
    assert!(capability.available && capability.fork_isolation, "{capability:?}");
}
