// The sandbox: the forked child's life, from its first moment to its Result.

import { Kind } from './protocol/frame.mjs';
import { Link } from './protocol/link.mjs';
import { Calls } from './protocol/calls.mjs';
import { connectOver } from './net/patch.mjs';
import { lookupBy } from './net/lookup.mjs';
import { resultError } from './context/errors.mjs';
import { emptyCaches, reseed } from './sandbox/random.mjs';
import { settleIn } from './sandbox/environment.mjs';
import { flushPartials, sinkTo } from './sandbox/console.mjs';
import { watchLeaving } from './sandbox/leaving.mjs';
import { Logs } from './sandbox/logs.mjs';
import { rehearseStart } from './rehearsal.mjs';
import { resultBytes, run } from './run.mjs';

/** How long a sandbox that is about to leave waits for the worker to take what it has to say. */
const FLUSH_MS = 30_000;

/**
 * Goes on in the forked child. Returns at once; the event loop does the rest.
 * @param {object} definition the bundle's default export
 * @param {{stream: number, scratch: string}} place
 * @param {(status: number) => never} exit
 * @param {Link} link over the stream
 * @returns {() => void} for rehearsals: takes back what was done to the process
 */
export function enter(definition, { stream, scratch }, exit, link = new Link(stream)) {
  settleIn(scratch);
  emptyCaches();
  const logs = Logs.over(link);
  const calls = new Calls(link);
  const leave = once((result) => {
    flushPartials();
    logs.flush();
    link.send(Kind.Result, 0, resultBytes(result));
    link.flush(FLUSH_MS);
    return exit(0);
  });
  const fail = (error) => leave({ is: 'failed', error });
  link.onGone = () => exit(0);
  sinkTo((level, message) => logs.add(level, message));
  connectOver(link);
  lookupBy(calls);
  const unwatch = watchLeaving({
    onExit: (status) => fail({ code: 'script_error', message: `The function called process.exit(${status})` }),
    onAbort: () => {
      flushPartials();
      logs.flush();
      link.flush(FLUSH_MS);
    },
    onError: (error) => fail(resultError(error)),
    onDry: () => fail(neverSettled()),
  });
  // Only speed depends on a rehearsal; one that fails must not pass for a failure of the function.
  link.on(Kind.Rehearse, () => rehearseStart().catch(() => {}));
  // Held until the Start comes: a parked sandbox waits for as long as it takes.
  link.awaiting();
  link.on(Kind.Start, async (start) => {
    reseed(start.seed);
    const running = run(definition, start, { link, calls, logs, interrupted: () => leave({ is: 'interrupted' }) });
    link.settled();
    leave(await running);
  });
  return () => {
    unwatch();
    sinkTo(null);
    connectOver(null);
    lookupBy(null);
  };
}

function neverSettled() {
  const message =
    'The handler never came to an end: it waits for something that cannot happen any more. ' +
    'Look for a promise that nobody resolves or a callback that is never called';
  return { code: 'handler_never_settled', message };
}

/** The first result counts; what comes later finds the process leaving. */
function once(leave) {
  let leaving = false;
  return (result) => {
    if (leaving) return undefined;
    leaving = true;
    return leave(result);
  };
}
