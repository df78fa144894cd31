import { createSync } from 'bulkhead';
import { z } from 'zod';

const Person = z.object({ id: z.string(), name: z.string(), email: z.string() });

/** Runs on a schedule for every connection and saves records, which your product reads over HTTP. */
export default createSync({
  description: 'Copies people, and notices who is gone',
  frequency: 'every hour',
  models: { Person },

  exec: async (bulkhead) => {
    await bulkhead.trackDeletesStart('Person');
    const pages = bulkhead.paginate<{ id: number; name: string; email: string }>({
      endpoint: '/users',
      retries: 3,
      paginate: { type: 'offset', offset_name_in_request: 'offset', limit_name_in_request: 'limit', limit: 2 },
    });
    for await (const page of pages) {
      const people = page.map(({ id, name, email }) => ({ id: String(id), name, email }));
      await bulkhead.batchSave(people, 'Person');
    }
    await bulkhead.trackDeletesEnd('Person');
  },
});
