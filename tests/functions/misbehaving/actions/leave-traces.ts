import fs from 'node:fs';
import path from 'node:path';
import { spawn } from 'node:child_process';
import { createAction } from 'bulkhead';
import { z } from 'zod';
import { kept } from '../traces.js';

/** Leaves something wherever it can. `look-for-traces` must find nothing of it. */
export default createAction({
  description: 'Leaves traces',
  input: z.object({ mark: z.string() }),
  output: z.object({ left: z.array(z.string()) }),
  exec: async (_, { mark }) => {
    kept.push(mark);
    Object.assign(globalThis, { trace: mark });
    Object.assign(Object.prototype, { trace: mark });
    Array.prototype.toString = () => mark;
    process.env.TRACE = mark;
    JSON.parse = () => mark;
    Math.random = () => 0.5;
    const left = ['memory', 'global', 'prototype', 'builtin', 'environment'];
    for (const directory of [process.cwd(), '/tmp', '/var/tmp', '/dev/shm', process.env.HOME ?? '/', '/bundle', '/']) {
      try {
        fs.writeFileSync(path.join(directory, 'trace'), mark);
        left.push(`file in ${directory}`);
      } catch {
        // Not everywhere can be written.
      }
    }
    // A process that would outlive the handler.
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 100)'], { stdio: 'ignore', detached: true });
    await new Promise((resolve) => child.on('spawn', resolve).on('error', resolve));
    child.unref();
    left.push('process');
    return { left };
  },
});
