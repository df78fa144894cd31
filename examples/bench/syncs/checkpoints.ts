import { setTimeout } from 'node:timers/promises';
import { createSync } from 'bulkhead';
import { z } from 'zod';

/**
 * Saves checkpoints and tells how long each took; or, asked to be cut, saves one and works on past its cap without
 * looking at the deadline.
 */
export default createSync({
  description: 'Saves many checkpoints',
  frequency: 'every day',
  autoStart: false,
  models: {},
  checkpoint: z.object({ n: z.number() }),
  metadata: z.object({ saves: z.number().optional(), cut: z.boolean().optional() }),
  limits: { time_ms: 8_000 },

  exec: async (bulkhead) => {
    const { saves = 0, cut = false } = (await bulkhead.getMetadata()) ?? {};
    if (cut && (await bulkhead.getCheckpoint()) === null) {
      await bulkhead.saveCheckpoint({ n: 1 });
      await setTimeout(600_000);
    }
    const took: number[] = [];
    for (let n = 0; n < saves; n += 1) {
      const began = performance.now();
      await bulkhead.saveCheckpoint({ n });
      took.push(Math.round((performance.now() - began) * 1_000) / 1_000);
    }
    await bulkhead.log(`saves ${JSON.stringify(took)}`);
    await bulkhead.clearCheckpoint();
  },
});
