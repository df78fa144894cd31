import { setTimeout } from 'node:timers/promises';
import { createSync } from 'bulkhead';
import { z } from 'zod';

const Step = z.object({ id: z.string(), n: z.number() });

/** Takes a number of steps, each with a record and a checkpoint. Listens to nothing: `saveCheckpoint` ends it where it must. */
export default createSync({
  description: 'Takes steps',
  frequency: 'every hour',
  autoStart: false,
  models: { Step },
  checkpoint: z.object({ n: z.number() }),
  metadata: z.object({ steps: z.number(), ms: z.number() }),

  exec: async (bulkhead) => {
    const { steps, ms } = (await bulkhead.getMetadata()) ?? { steps: 10, ms: 100 };
    let n = (await bulkhead.getCheckpoint())?.n ?? 0;
    await bulkhead.log(`begins at ${n}`);
    while (n < steps) {
      await setTimeout(ms);
      await bulkhead.batchSave([{ id: `s${n}`, n }], 'Step');
      n += 1;
      await bulkhead.saveCheckpoint({ n });
    }
    await bulkhead.clearCheckpoint();
  },
});
