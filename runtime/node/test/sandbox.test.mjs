// A sandbox's life, in a real process of the pinned Node.js, with and without --single-threaded. Nothing is forked
// here: the addon's part is played by test/support/addon.cjs.

import assert from 'node:assert/strict';
import test from 'node:test';
import { Kind, run, sandbox } from './support/peer.mjs';

const action = (exec, more = '') => `
  import { createAction, createSync, createWebhook, ActionError } from 'bulkhead';
  import { z } from 'zod';
  import fs from 'node:fs';
  export default createAction({ input: z.any(), output: z.any(), ${more} exec: ${exec} });`;

for (const flags of [[], ['--single-threaded']]) {
  const mode = flags.length === 0 ? 'threads' : 'single-threaded';
  const check = (name, act) => test(`${name} (${mode})`, { concurrency: true }, act);
  const ran = (source, options) => run(source, { flags, ...options });

  check('the handler runs once started, on its input', async () => {
    const { peer, result } = await ran(action('async (nango, input) => ({ got: input, id: nango.executionId })'), { start: { input: { a: 1 } } });
    assert.deepEqual(result, { is: 'completed', output: { got: { a: 1 }, id: 'exe_test' } });
    assert.equal(peer.started, 1);
    assert.equal(peer.output, '');
  });

  check('a parked sandbox waits, and runs nothing', async () => {
    const peer = await sandbox(action('async () => 1'), { flags });
    await new Promise((done) => setTimeout(done, 600));
    assert.deepEqual([peer.started, peer.results.length, peer.child.exitCode], [0, 0, null]);
    peer.start();
    assert.equal((await peer.result()).output, 1);
  });

  check('fs.watch tells of what is made, changed and removed', async () => {
    const watch = `async () => {
      const told = [];
      const next = (watcher) => new Promise((done) => watcher.once('change', (kind, name) => done(told.push(kind + ' ' + name))));
      const watcher = fs.watch('.');
      for (const act of [() => fs.writeFileSync('a', 'x'), () => fs.writeFileSync('a', 'longer'), () => fs.rmSync('a')]) {
        const change = next(watcher);
        act();
        await change;
      }
      await new Promise((done) => { watcher.once('close', done); watcher.close(); });
      try { fs.watch('nothing-there'); } catch (error) { told.push(error.code); }
      return told;
    }`;
    const { result } = await ran(action(watch));
    assert.deepEqual(result.output, ['rename a', 'change a', 'rename a', 'ENOENT']);
  });

  check('the process looks as declared, and nothing of the zygote shows', async () => {
    const { peer, result } = await ran(
      action('async () => ({ env: process.env, cwd: process.cwd(), pid: process.pid, cpus: os.cpus().length })').replace('import fs', "import os from 'node:os'; import fs"),
    );
    const { env, cwd, pid, cpus } = result.output;
    assert.deepEqual(Object.keys(env).sort(), ['HOME', 'LANG', 'NODE_ENV', 'PATH', 'TEMP', 'TMP', 'TMPDIR', 'TZ']);
    assert.deepEqual([env.HOME, env.TMPDIR, cwd, pid], [peer.scratch, peer.scratch, peer.scratch, peer.child.pid]);
    assert.ok(cpus >= 1);
  });

  check('Math.random follows the seed; what Node caches of random bytes is thrown away', async () => {
    const source = `import { randomUUID, randomInt } from 'node:crypto'; const { random } = Math; const before = [randomUUID(), randomInt(1e9)]; ${action('async () => ({ random: Math.random(), kept: random(), before, uuids: [randomUUID(), crypto.randomUUID()] })')}`;
    const seeds = ['ab'.repeat(32), 'ab'.repeat(32), 'cd'.repeat(32)];
    const outputs = (await Promise.all(seeds.map((seed) => ran(source, { start: { seed } })))).map(({ result }) => result.output);
    assert.equal(outputs[0].random, outputs[1].random);
    assert.notEqual(outputs[0].random, outputs[2].random);
    assert.notEqual(outputs[0].kept, outputs[2].kept, 'a reference from the top level is reseeded too');
    assert.equal(new Set(outputs.flatMap(({ uuids }) => uuids)).size, 6);
  });

  check('a rehearsal leaves nothing that the function or the worker could see', async () => {
    const look = `async (nango) => ({ random: Math.random(), atLoad, listeners: process.listenerCount('uncaughtException'),
      names: Object.keys(globalThis), env: process.env.TMPDIR === process.cwd(), timers: process.getActiveResourcesInfo() })`;
    const source = `const atLoad = Object.keys(process.env).sort(); ${action(look)}`;
    const lives = [0, 2].map(async (rehearsals) => {
      const peer = await sandbox(source, { flags });
      for (let n = 0; n < rehearsals; n++) peer.send(Kind.Rehearse, Buffer.alloc(0));
      peer.start();
      const result = await peer.result();
      return { result, started: peer.started, logs: peer.logs, calls: peer.calls, output: peer.output };
    });
    const [plain, rehearsed] = await Promise.all(lives);
    assert.deepEqual(rehearsed, plain);
    assert.deepEqual(plain.result.output.atLoad, ['LANG', 'NODE_ENV', 'PATH', 'TZ']);
    assert.deepEqual([plain.started, plain.logs, plain.calls, plain.output], [1, [], [], '']);
  });

  check('what is thrown is told with code, payload and stack', async () => {
    const cases = [
      ["throw new TypeError('bad')", { code: 'script_error', message: 'bad' }],
      ["throw new ActionError({ reason: 1 })", { code: 'action_error', payload: { reason: 1 } }],
      ["throw new nango.ActionError({ reason: 2 })", { code: 'action_error', payload: { reason: 2 } }],
      ["throw 'text'", { code: 'script_error', message: 'text' }],
      ["setTimeout(() => { throw new Error('later') }, 1); await new Promise(() => setTimeout(() => {}, 5000))", { code: 'script_error', message: 'later' }],
      ["Promise.reject(new Error('nobody')); await new Promise(() => setTimeout(() => {}, 5000))", { code: 'script_error', message: 'nobody' }],
      ["await new Promise(() => {})", { code: 'handler_never_settled' }],
      ["process.exit(4)", { code: 'script_error', message: 'The function called process.exit(4)' }],
      ["await nango.get({ endpoint: '/x' })", { code: 'upstream_error', payload: { status: 500, headers: {}, data: 'oops' } }],
      ["await nango.getMetadata()", { code: 'lease_lost', message: 'stale' }],
      ["return 10n", { code: 'invalid_output' }],
      ["return 'x'.repeat(2000)", { code: 'output_too_large' }],
    ];
    const answers = {
      'proxy.request': () => { throw Object.assign(new Error('x'), { code: 'upstream_error', payload: { status: 500, statusText: '', headers: {}, text: 'oops' } }); },
      'metadata.get': () => { throw Object.assign(new Error('stale'), { code: 'lease_lost' }); },
    };
    for (const [body, expected] of cases) {
      const { result } = await ran(action(`async (nango) => { ${body} }`), { answers, start: { output_bytes: 1000 } });
      assert.equal(result.is, 'failed', body);
      for (const [name, value] of Object.entries(expected)) assert.deepEqual(result.error[name], value, body);
    }
  });

  check('input and output are checked with the own schemas', async () => {
    const source = action('async (_, { n }) => (n === 2 ? { wrong: 1 } : { n })').replace('input: z.any(), output: z.any()', "input: z.object({ n: z.coerce.number() }), output: z.object({ n: z.number() })");
    const bad = await ran(source, { start: { input: { n: 'x' } } });
    assert.equal(bad.result.error.code, 'invalid_input');
    assert.deepEqual(bad.result.error.payload[0].path, ['n']);
    assert.equal(bad.peer.started, 0, 'the handler never began');
    assert.deepEqual((await ran(source, { start: { input: { n: '1' } } })).result.output, { n: 1 });
    assert.equal((await ran(source, { start: { input: { n: 2 } } })).result.error.code, 'invalid_output');
    const none = action('async (_, input) => ({ input: String(input) })').replace('input: z.any()', 'input: z.void()');
    assert.deepEqual((await ran(none)).result.output, { input: 'undefined' });
  });

  check('all that is logged arrives, in order, before the result', async () => {
    const body = `console.debug('a'); console.log('b %d', 1); console.warn('c'); console.error(new Error('d').message);
      process.stdout.write('e1\\ne2'); process.stderr.write('f\\n'); await nango.log('g', { level: 'warn' }); console.table([{ h: 1 }]);`;
    const { peer } = await ran(action(`async (nango) => { ${body} }`));
    const lines = peer.logs.map(({ level, message }) => `${level} ${message}`);
    assert.deepEqual(lines.slice(0, 7), ['debug a', 'info b 1', 'warn c', 'error d', 'info e1', 'error f', 'warn g']);
    assert.match(lines[7], /^info ┌/);
    assert.equal(lines[8], 'info e2', 'a line without its end comes last');
    assert.ok(peer.logs.every(({ at }) => Math.abs(at - Date.now()) < 60_000));
  });

  check('a flood of lines is slowed down, not lost, and leaves the memory alone', async () => {
    const body = "for (let n = 0; n < 60_000; n++) console.log(n + 'x'.repeat(500)); return process.memoryUsage.rss()";
    const { peer, result } = await ran(action(`async () => { ${body} }`));
    assert.equal(peer.logs.length, 60_000);
    assert.match(peer.logs.at(-1).message, /^59999x/);
    assert.ok(result.output < 300 << 20, `${result.output >> 20} MiB`);
  });

  check('a line too long for a message is cut', async () => {
    const { peer } = await ran(action("async () => console.log('\\u0001'.repeat(3_000_000))"));
    assert.match(peer.logs[0].message, / … \[line cut\]$/);
  });

  check('a crash stays a crash, and what was logged before is there', async () => {
    const peer = await sandbox(action("async () => { console.log('before'); process.abort(); }"), { flags });
    peer.start();
    const [status, signal] = await peer.exited;
    assert.deepEqual([status, signal, peer.results.length], [null, 'SIGABRT', 0]);
    assert.deepEqual(peer.logs.map(({ message }) => message), ['before']);
  });

  check('a signal fires the AbortSignal, and waiting for it is not running dry', async () => {
    const source = action("(nango) => new Promise((_, no) => nango.signal.addEventListener('abort', () => no(nango.signal.reason)))");
    for (const [is, message] of [['cancel', /cancelled/], ['deadline', /time limit/]]) {
      const peer = await sandbox(source, { flags });
      peer.start();
      await peer.begun;
      peer.send(Kind.Signal, { is });
      assert.match((await peer.result()).error.message, message);
    }
  });

  check('a checkpoint saved past the soft deadline ends the attempt, whatever is caught', async () => {
    const body = "try { await nango.saveCheckpoint({ page: 1 }); } catch {} console.log('unheard'); return 1";
    const answers = { 'checkpoint.get': { checkpoint: null, version: 0 }, 'checkpoint.save': { version: 1, stop: true } };
    const { peer, result } = await ran(action(`async (nango) => { ${body} }`), { answers });
    assert.deepEqual(result, { is: 'interrupted' });
    assert.deepEqual(peer.logs, []);
  });

  check('more calls than may be unanswered wait for their turn', async () => {
    let open = 0;
    let most = 0;
    const answers = {
      'metadata.get': async () => {
        most = Math.max(most, ++open);
        await new Promise((done) => setTimeout(done, 20));
        open--;
        return {};
      },
    };
    const body = 'await Promise.all(Array.from({ length: 1000 }, () => nango.getMetadata())); return 1';
    const { result } = await ran(action(`async (nango) => { ${body} }`), { answers });
    assert.equal(result.output, 1);
    assert.equal(most, 256);
  });

  check('a large reply and a large call come through in pieces', async () => {
    const text = 'ä'.repeat(3_000_000);
    const answers = { 'metadata.get': { text }, 'metadata.set': ({ metadata }) => ({ length: metadata.text.length }) };
    const body = 'const { text } = await nango.getMetadata(); return (await nango.setMetadata({ text: text.slice(0, 2_000_000) })).length';
    const { result } = await ran(action(`async (nango) => { ${body} }`), { answers });
    assert.equal(result.output, 2_000_000);
    const tooLarge = await ran(action("async (nango) => nango.setMetadata({ text: 'x'.repeat(9_000_000) })"));
    assert.equal(tooLarge.result.error.code, 'call_too_large');
  });

  check('a webhook goes to exec, or to the onWebhook of a sync', async () => {
    const webhook = "import { createWebhook } from 'nango'; export default createWebhook({ exec: async (n, d) => d.body.a })";
    assert.equal((await ran(webhook, { start: { kind: 'webhook', input: { headers: {}, body: { a: 5 }, raw: '' } } })).result.output, 5);
    const sync = "import { createSync } from 'nango'; export default createSync({ models: {}, exec: async () => 1, onWebhook: async (n, body) => body.a })";
    assert.equal((await ran(sync, { start: { kind: 'webhook', input: { headers: {}, body: { a: 6 }, raw: '' } } })).result.output, 6);
    assert.equal((await ran(sync, { start: { kind: 'sync' } })).result.output, 1);
  });

  check('what the bundle keeps going while it loads does not keep it from being served', async () => {
    const source = `setInterval(() => {}, 1000); const early = Promise.resolve().then(() => 'early'); ${action('async () => early')}`;
    assert.equal((await ran(source)).result.output, 'early');
  });

  check('console and connections that the bundle kept from its top level work', async () => {
    const source = `const { log } = console; log('while loading'); ${action("async () => { log('kept'); }")}`;
    const { peer } = await ran(source);
    assert.deepEqual(peer.logs.map(({ message }) => message), ['kept']);
    assert.equal(peer.output, 'while loading\n');
  });

  check('a bundle that does not load is told with its stack', async () => {
    for (const [source, message] of [
      ["throw new Error('at the top'); export default {}", /FAILED bundle: Error: at the top\n\s+at/],
      [`Promise.reject(new Error('nobody minds')); ${action('async () => 1')}`, /FAILED bundle: Error: nobody minds\n\s+at/],
      ['export default { type: "action" }', /FAILED bundle: TypeError: The bundle has no default export/],
    ]) {
      const peer = await sandbox(source, { flags });
      assert.equal((await peer.exited)[0], 70);
      assert.match(peer.output, message);
    }
  });

  check('when the worker is gone, so is the sandbox', async () => {
    const peer = await sandbox(action('async () => new Promise(() => setInterval(() => {}, 1000))'), { flags });
    peer.start();
    await peer.begun;
    peer.stream.destroy();
    assert.equal((await peer.exited)[0], 0);
  });
}

