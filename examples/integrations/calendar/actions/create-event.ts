import { createAction } from 'bulkhead';
import { z } from 'zod';

export default createAction({
  description: 'Puts an event into the calendar',
  input: z.object({ title: z.string().min(1), starts_at: z.iso.datetime(), minutes: z.number().int().positive().default(30) }),
  output: z.object({ id: z.string(), link: z.string() }),
  metadata: z.object({ calendar: z.string() }),

  exec: async (bulkhead, { title, starts_at, minutes }) => {
    const { calendar } = await bulkhead.getMetadata();
    const end = new Date(Date.parse(starts_at) + minutes * 60_000).toISOString();
    const { data } = await bulkhead.post<{ id: string; htmlLink: string }>({
      endpoint: `/calendars/${calendar}/events`,
      data: { summary: title, start: { dateTime: starts_at }, end: { dateTime: end } },
    });
    return { id: data.id, link: data.htmlLink };
  },
});
