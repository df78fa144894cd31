import { createSync } from 'bulkhead';
import { z } from 'zod';

const Item = z.object({ id: z.string(), name: z.string(), price: z.number(), updated_at: z.string() });

/**
 * Reads all items page by page. After each page it saves a checkpoint: an attempt that comes to its cap ends there, and
 * the next one goes on by itself.
 */
export default createSync({
  description: 'Copies all items of the demo API',
  frequency: 'every hour',
  autoStart: false,
  models: { Item },
  checkpoint: z.object({ offset: z.number() }),
  // How large and how slow pages are, so that a cap of a few seconds cuts it.
  metadata: z.object({ page_size: z.number().optional(), delay_ms: z.number().optional() }),
  limits: { time_ms: 4_000 },

  exec: async (bulkhead) => {
    const { page_size: limit = 100, delay_ms = 150 } = (await bulkhead.getMetadata()) ?? {};
    let offset = (await bulkhead.getCheckpoint())?.offset ?? 0;
    await bulkhead.log(`Attempt ${bulkhead.attempt} begins at item ${offset}`);

    for (;;) {
      const params = { offset, limit, delay_ms };
      const { data } = await bulkhead.get<{ items: z.infer<typeof Item>[] }>({ endpoint: '/items', params });
      if (data.items.length === 0) break;
      await bulkhead.batchSave(data.items, 'Item');
      offset += data.items.length;
      await bulkhead.saveCheckpoint({ offset });
    }

    await bulkhead.clearCheckpoint();
    await bulkhead.log(`All ${offset} items are saved`);
  },
});
