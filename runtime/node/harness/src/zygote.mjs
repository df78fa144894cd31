// The zygote: warms the runtime, loads a bundle, and serves forks. See docs/protocol.md, "Zygote".
//
//   node --single-threaded zygote.js BUNDLE

import { createRequire } from 'node:module';
import path from 'node:path';
import { patchConsole } from './sandbox/console.mjs';
import { declareEnvironment, patchMachine } from './sandbox/environment.mjs';
import { patchRandom } from './sandbox/random.mjs';
import { tellStacksOf } from './sandbox/stacks.mjs';
import { patchWatch } from './sandbox/watch.mjs';
import { patchNetwork } from './net/patch.mjs';
import { rehearseSchemas } from './rehearsal.mjs';
import { enter } from './session.mjs';
import { warm } from './warm.mjs';

const ADDON = process.env.BULKHEAD_FORK_ADDON ?? '/runtime/fork.node';

/**
 * Everything is replaced before the bundle loads, because it may keep references; then the event loop runs dry, so
 * that nothing of the warming goes on; only then, outside any turn of the event loop, the bundle loads and forks are
 * served. A fork within a turn would leave the child's loop in the middle of a poll that is not its own.
 */
function main() {
  const addon = createRequire('/')(ADDON);
  const failed = (stage) => (error) => addon.failed(stage, String(error?.stack ?? error));
  declareEnvironment();
  patchConsole();
  patchMachine();
  patchNetwork();
  patchRandom();
  patchWatch();
  process.once('beforeExit', () => {
    const notLoaded = failed('bundle');
    process.on('uncaughtException', notLoaded);
    const bundle = path.resolve(process.argv[2]);
    tellStacksOf(bundle);
    const definition = load(bundle);
    rehearseSchemas(definition);
    // What the bundle left for later turns is done here and once, not in every fork; no event loop is needed for it.
    process._tickCallback();
    // Returns in the forked child only.
    const place = addon.serve();
    process.off('uncaughtException', notLoaded);
    enter(definition, place, (status) => addon.exit(status));
  });
  warm().catch(failed('warm'));
}

function load(bundle) {
  const exported = createRequire(bundle)(bundle);
  const definition = exported?.default ?? exported;
  if (typeof definition?.exec === 'function') return definition;
  throw new TypeError('The bundle has no default export made by createAction, createSync, createWebhook or createOnEvent');
}

main();
