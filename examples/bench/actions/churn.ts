import { spawn } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';
import { createAction } from 'bulkhead';
import { z } from 'zod';

const hows = ['well', 'crash', 'exit', 'fork', 'memory', 'wait'] as const;

/** Ends well, or in one of the ways that must leave nothing behind either. */
export default createAction({
  description: 'Ends as it is told',
  input: z.object({ how: z.enum(hows) }),
  output: z.object({ ended: z.string() }),
  limits: { time_ms: 120_000, memory_mib: 128, processes: 16 },
  exec: async (_, { how }) => {
    if (how === 'crash') process.abort();
    if (how === 'exit') process.exit(3);
    if (how === 'wait') await setTimeout(600_000);
    const kept: Buffer[] = [];
    while (how === 'memory') kept.push(Buffer.alloc(8 << 20, 1));
    while (how === 'fork') {
      const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore', detached: true });
      await new Promise((resolve, reject) => {
        child.on('spawn', resolve);
        child.on('error', reject);
      });
    }
    return { ended: how };
  },
});
