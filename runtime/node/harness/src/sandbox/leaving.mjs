// All the ways in which a function's process comes to its end. Each leads to one Result, with the logs before it.

const original = { exit: process.exit, reallyExit: process.reallyExit, abort: process.abort };

/**
 * @param {{
 *   onExit: (status: number) => never,
 *   onAbort: () => void,
 *   onError: (error: unknown) => void,
 *   onDry: () => void,
 * }} to what to do when the function exits, aborts, fails outside its handler, or leaves nothing to wait for
 * @returns {() => void} stops watching
 */
export function watchLeaving({ onExit, onAbort, onError, onDry }) {
  process.exit = (status = process.exitCode ?? 0) => onExit(Number(status) || 0);
  process.reallyExit = process.exit;
  // A crash asked for stays a crash, but what was logged before it is not lost.
  process.abort = () => {
    onAbort();
    original.abort.call(process);
  };
  process.on('uncaughtException', onError);
  process.on('unhandledRejection', onError);
  process.on('beforeExit', onDry);
  return () => {
    Object.assign(process, original);
    process.off('uncaughtException', onError).off('unhandledRejection', onError).off('beforeExit', onDry);
  };
}

/** Leaves at once, past the function's overrides; for tests without an addon. */
export function reallyExit(status) {
  original.reallyExit.call(process, status);
}
