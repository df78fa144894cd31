// What a sandbox's process looks like to the function: environment, directory, pid, machine.

import fs from 'node:fs';
import os from 'node:os';

/** The environment of every sandbox, beside the paths of its scratch directory. */
const DECLARED = {
  LANG: 'C.UTF-8',
  NODE_ENV: 'production',
  PATH: '/usr/bin:/bin',
  TZ: 'UTC',
};
/** What leads to the scratch directory. */
const SCRATCH_NAMES = ['HOME', 'TMPDIR', 'TMP', 'TEMP'];

/** In the zygote: what was its own environment must not be seen by the bundle, and every fork is spared the work. */
export function declareEnvironment() {
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, DECLARED);
}

/**
 * In the sandbox.
 * @param {string} scratch its own directory
 */
export function settleIn(scratch) {
  // Also resets the directory that Node has cached: the zygote's.
  process.chdir(scratch);
  for (const name of SCRATCH_NAMES) process.env[name] = scratch;
  // Node keeps it; after a fork it is the zygote's.
  Object.defineProperty(process, 'pid', { value: ownPid(), enumerable: true, configurable: true });
}

function ownPid() {
  return Number(fs.readlinkSync('/proc/self'));
}

/** Answers for what is not to be had in a sandbox, where Node would return nothing or throw. */
export function patchMachine() {
  const { cpus, networkInterfaces } = os;
  // Without /proc/cpuinfo and /sys the list is empty, and packages divide by its length.
  os.cpus = () => {
    const found = cpus();
    if (found.length > 0) return found;
    const times = { user: 0, nice: 0, sys: 0, idle: 0, irq: 0 };
    return Array.from({ length: os.availableParallelism() }, () => ({ model: 'unknown', speed: 0, times }));
  };
  // There is no network interface, and asking for them takes a kind of socket that is refused.
  os.networkInterfaces = () => {
    try {
      return networkInterfaces();
    } catch {
      return {};
    }
  };
}
