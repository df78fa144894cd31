import { setTimeout } from 'node:timers/promises';
import { createSync } from 'bulkhead';
import { z } from 'zod';

const Page = z.object({ id: z.string(), page: z.number() });
const PAGES = [['a', 'b'], ['c'], ['d', 'e'], ['a', 'f']];

/** Every page takes longer than the soft deadline is away, so that every checkpoint ends the attempt. */
export default createSync({
  description: 'Is interrupted at every checkpoint',
  frequency: 'every hour',
  autoStart: false,
  models: { Page },
  checkpoint: z.object({ page: z.number() }),
  metadata: z.object({ without: z.string().optional(), interrupted: z.boolean() }),
  limits: { time_ms: 20_000, soft_percent: 1 },

  exec: async (bulkhead) => {
    const { without, interrupted } = await bulkhead.getMetadata();
    const first = (await bulkhead.getCheckpoint())?.page ?? 0;
    await bulkhead.trackDeletesStart('Page');
    for (const [place, ids] of [...PAGES.entries()].slice(first)) {
      if (interrupted) await setTimeout(250);
      const there = ids.filter((id) => id !== without).map((id) => ({ id, page: place }));
      await bulkhead.batchSave(there, 'Page');
      if (interrupted) await bulkhead.saveCheckpoint({ page: place + 1 });
    }
    await bulkhead.trackDeletesEnd('Page');
    await bulkhead.clearCheckpoint();
  },
});
