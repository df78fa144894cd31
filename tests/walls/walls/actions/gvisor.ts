import { release } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Wants gVisor at least, and tells which kernel it runs on. */
export default createAction({
  description: 'Tells its kernel',
  wall: 'gvisor',
  input: z.object({ ms: z.number().optional() }).nullish(),
  output: z.object({ kernel: z.string() }),
  exec: async (_, input) => {
    await setTimeout(input?.ms ?? 0);
    return { kernel: release() };
  },
});
