import { createSync } from 'bulkhead';
import { z } from 'zod';

const Contact = z.object({ id: z.string(), email: z.string().nullable(), name: z.string() });

interface ApiContact {
  contact_id: number;
  email?: string;
  first: string;
  last: string;
}

/** Offset pagination, of everything there is. What is not there any more is marked as deleted. */
export default createSync({
  description: 'Copies all contacts',
  frequency: 'every day',
  models: { Contact },

  exec: async (bulkhead) => {
    await bulkhead.trackDeletesStart('Contact');
    const pages = bulkhead.paginate<ApiContact>({
      endpoint: '/contacts',
      params: { sort: 'contact_id' },
      retries: 3,
      paginate: {
        type: 'offset',
        offset_name_in_request: 'skip',
        limit_name_in_request: 'take',
        limit: 3,
        response_path: 'data.contacts',
      },
    });
    for await (const page of pages) {
      const contacts = page.map(({ contact_id, email, first, last }) => ({
        id: String(contact_id),
        email: email ?? null,
        name: `${first} ${last}`.trim(),
      }));
      await bulkhead.batchSave(contacts, 'Contact');
    }
    const { deletedKeys } = await bulkhead.trackDeletesEnd('Contact');
    await bulkhead.log(`${deletedKeys.length} contacts are gone`);
  },
});
