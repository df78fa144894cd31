import { spawn } from 'node:child_process';
import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Starts processes without end, none of which ends by itself: process_limit. */
export default createAction({
  description: 'Forks without end',
  input: z.unknown(),
  output: z.unknown(),
  limits: { processes: 16, time_ms: 20_000 },
  exec: async () => {
    for (let started = 0; ; started++) {
      const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore', detached: true });
      await new Promise((resolve, reject) => {
        child.on('spawn', resolve);
        child.on('error', reject);
      });
    }
  },
});
