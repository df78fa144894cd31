import { createSync } from 'bulkhead';
import { z } from 'zod';

const Event = z.object({ id: z.string(), title: z.string(), starts_at: z.string(), all_day: z.boolean() });

interface ApiEvent {
  id: string;
  summary?: string;
  status: 'confirmed' | 'cancelled';
  start: { date?: string; dateTime?: string };
}

/**
 * OAuth2. The integration names the endpoints, the connection has the tokens; the host refreshes them before they end,
 * and no function ever sees one.
 */
export default createSync({
  description: 'Copies events, and follows their changes',
  frequency: 'every 10m',
  models: { Event },
  metadata: z.object({ calendar: z.string().default('primary') }),
  checkpoint: z.object({ sync_token: z.string() }),

  exec: async (bulkhead) => {
    const { calendar = 'primary' } = (await bulkhead.getMetadata()) ?? {};
    const before = await bulkhead.getCheckpoint();
    let syncToken: string | undefined;
    const pages = bulkhead.paginate<ApiEvent>({
      endpoint: `/calendars/${calendar}/events`,
      params: { syncToken: before?.sync_token },
      retries: 5,
      paginate: {
        type: 'cursor',
        cursor_name_in_request: 'pageToken',
        cursor_path_in_response: 'nextPageToken',
        response_path: 'items',
        on_page: ({ response }) => {
          syncToken = response.data.nextSyncToken ?? syncToken;
        },
      },
    });
    for await (const page of pages) {
      const there = page.filter(({ status }) => status === 'confirmed');
      await bulkhead.batchSave(there.map(eventOf), 'Event');
      const gone = page.filter(({ status }) => status === 'cancelled');
      await bulkhead.batchDelete(gone.map(({ id }) => ({ id })), 'Event');
    }
    if (syncToken !== undefined) await bulkhead.saveCheckpoint({ sync_token: syncToken });
  },
});

function eventOf({ id, summary, start }: ApiEvent) {
  return { id, title: summary ?? '', starts_at: start.dateTime ?? start.date ?? '', all_day: start.dateTime === undefined };
}
