import { createSync } from 'bulkhead';
import { z } from 'zod';

const User = z.object({ id: z.string(), name: z.string(), mail: z.string().nullable() });

interface Changes {
  value: { id: string; displayName?: string; mail?: string; removed?: boolean }[];
  nextLink?: string;
  deltaLink?: string;
}

/** Deltas: the API tells what changed since the link that it gave last time, deletions among it. */
export default createSync({
  description: 'Follows changes of a directory, deletions included',
  frequency: 'every 5m',
  models: { User },
  checkpoint: z.object({ link: z.string() }),

  exec: async (bulkhead) => {
    let link = (await bulkhead.getCheckpoint())?.link ?? '/users/delta';
    for (let more = true; more; ) {
      const { data } = await bulkhead.get<Changes>({ endpoint: link, retries: 3 });
      const changed = data.value.filter(({ removed }) => !removed);
      const removed = data.value.filter(({ removed }) => removed);
      await bulkhead.batchSave(changed.map(({ id, displayName, mail }) => ({ id, name: displayName ?? '', mail: mail ?? null })), 'User');
      await bulkhead.batchDelete(removed.map(({ id }) => ({ id })), 'User');
      more = data.nextLink !== undefined;
      link = data.nextLink ?? data.deltaLink ?? link;
      // Where the next page is, or at the end where the next execution goes on.
      await bulkhead.saveCheckpoint({ link });
    }
  },
});
