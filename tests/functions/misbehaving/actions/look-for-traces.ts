import fs from 'node:fs';
import path from 'node:path';
import { randomBytes, randomUUID } from 'node:crypto';
import { createAction } from 'bulkhead';
import { z } from 'zod';
import { kept } from '../traces.js';

/** Leaves and looks for the same traces, in this order: look first. Tells what it found, and what must differ. */
export default createAction({
  description: 'Looks for traces',
  input: z.object({ mark: z.string() }),
  output: z.object({
    found: z.array(z.string()),
    random: z.number(),
    bytes: z.string(),
    uuid: z.string(),
    pid: z.number(),
  }),
  exec: async (_, { mark }) => {
    const found: string[] = [];
    if (kept.length > 0) found.push('memory');
    if ('trace' in globalThis) found.push('global or prototype');
    if (process.env.TRACE !== undefined) found.push('environment');
    for (const directory of [process.cwd(), '/tmp', '/var/tmp', '/dev/shm', process.env.HOME ?? '/', '/bundle', '/']) {
      if (fs.existsSync(path.join(directory, 'trace'))) found.push(`file in ${directory}`);
    }
    const others = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
    if (others.length > 0) found.push(`processes ${others.join(' ')}`);
    leave(mark);
    return {
      found,
      random: Math.random(),
      bytes: randomBytes(16).toString('hex'),
      uuid: randomUUID(),
      pid: process.pid,
    };
  },
});

function leave(mark: string): void {
  kept.push(mark);
  Object.assign(globalThis, { trace: mark });
  process.env.TRACE = mark;
  fs.writeFileSync('trace', mark);
  fs.writeFileSync('/tmp/trace', mark);
}
