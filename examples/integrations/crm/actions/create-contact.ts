import { ActionError, createAction } from 'bulkhead';
import { z } from 'zod';

/** Writes once: a contact with this address that exists already is returned, not made a second time. */
export default createAction({
  description: 'Creates a contact, unless there is one',
  input: z.object({ email: z.email(), first: z.string(), last: z.string().default('') }),
  output: z.object({ id: z.string(), created: z.boolean() }),

  exec: async (bulkhead, input) => {
    const found = await bulkhead.get<{ data: { contacts: { contact_id: number }[] } }>({
      endpoint: '/contacts',
      params: { email: input.email },
      retries: 3,
    });
    const [there] = found.data.data.contacts;
    if (there !== undefined) return { id: String(there.contact_id), created: false };
    try {
      const { data } = await bulkhead.post<{ contact_id: number }>({ endpoint: '/contacts', data: input });
      return { id: String(data.contact_id), created: true };
    } catch (error: any) {
      if (error.response?.status !== 422) throw error;
      throw new ActionError({ message: 'The CRM refuses this contact', fields: error.response.data.errors });
    }
  },
});
