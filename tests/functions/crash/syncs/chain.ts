import { setTimeout } from 'node:timers/promises';
import { createSync } from 'bulkhead';
import { z } from 'zod';

const Link = z.object({ id: z.string(), n: z.number(), sum: z.number() });
const Trace = z.object({ id: z.string(), n: z.number(), attempt: z.number() });

/**
 * Takes steps of which each builds on the one before, through the checkpoint. `Link` is what comes of it, the same
 * however often it was interrupted. `Trace` is who wrote when: one record per step and attempt, never written over, so
 * that a write of an attempt that has a successor would stand behind the successor's.
 */
export default createSync({
  description: 'Takes steps that build on one another',
  frequency: 'every day',
  autoStart: false,
  models: { Link, Trace },
  checkpoint: z.object({ n: z.number(), sum: z.number() }),
  metadata: z.object({ steps: z.number(), ms: z.number() }),
  retry: { max: 10, backoff_ms: 200, backoff_ms_max: 2_000 },

  exec: async (bulkhead) => {
    const { steps, ms } = (await bulkhead.getMetadata()) ?? { steps: 10, ms: 100 };
    let { n, sum } = (await bulkhead.getCheckpoint()) ?? { n: 0, sum: 7 };
    while (n < steps) {
      await setTimeout(ms);
      sum = (sum * 31 + n) % 1_000_003;
      await bulkhead.batchSave([{ id: `s${n}`, n, sum }], 'Link');
      await bulkhead.batchSave([{ id: `${n}/${bulkhead.attempt}`, n, attempt: bulkhead.attempt }], 'Trace');
      n += 1;
      await bulkhead.saveCheckpoint({ n, sum });
    }
    await bulkhead.clearCheckpoint();
  },
});
