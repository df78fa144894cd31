import axios from 'axios';
import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Sleeps, and half-way tells what it keeps: its proportional share of memory, as the kernel counts it. */
export default createAction({
  description: 'Sleeps for some milliseconds',
  input: z.object({ ms: z.number().max(600_000) }),
  output: z.object({ slept: z.number(), axios: z.string(), pss_kib: z.number() }),
  exec: async (bulkhead, { ms }) => {
    await setTimeout(ms / 2, undefined, { signal: bulkhead.signal });
    const pss = /^Pss:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'utf8'));
    await setTimeout(ms / 2, undefined, { signal: bulkhead.signal });
    return { slept: ms, axios: axios.VERSION, pss_kib: Number(pss?.[1]) };
  },
});
