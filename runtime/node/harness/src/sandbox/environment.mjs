// What a sandbox's process looks like to the function: environment, directory, pid, machine.

import fs from 'node:fs';
import os from 'node:os';

/** The whole environment of a sandbox. Nothing of the zygote's is handed down. */
export function environment(scratch) {
  return {
    HOME: scratch,
    TMPDIR: scratch,
    TMP: scratch,
    TEMP: scratch,
    LANG: 'C.UTF-8',
    NODE_ENV: 'production',
    PATH: '/usr/bin:/bin',
    TZ: 'UTC',
  };
}

/** @param {string} scratch the sandbox's own directory */
export function settleIn(scratch) {
  // Also resets the directory that Node has cached: the zygote's.
  process.chdir(scratch);
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, environment(scratch));
  // Node caches both; after a fork they are the zygote's.
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
