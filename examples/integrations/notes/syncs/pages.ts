import { createSync } from 'bulkhead';
import { z } from 'zod';

const Page = z.object({ id: z.string(), title: z.string(), edited_at: z.string() });

interface ApiPage {
  uid: string;
  properties: { title: string };
  last_edited: string;
}

/**
 * Cursor pagination. The cursor of the next page is the checkpoint: an attempt that is cut goes on with the page that it
 * had not saved yet.
 */
export default createSync({
  description: 'Copies pages, page by page',
  frequency: 'every hour',
  models: { Page },
  checkpoint: z.object({ cursor: z.string() }),

  exec: async (bulkhead) => {
    const from = await bulkhead.getCheckpoint();
    const pages = bulkhead.paginate<ApiPage>({
      endpoint: '/pages',
      params: { cursor: from?.cursor },
      retries: 3,
      paginate: {
        type: 'cursor',
        cursor_name_in_request: 'cursor',
        cursor_path_in_response: 'next.cursor',
        response_path: 'results',
        limit_name_in_request: 'page_size',
        limit: 2,
        // After the page was saved: the handler below has run by then.
        on_page: async ({ nextPageParam }) => {
          if (typeof nextPageParam === 'string') await bulkhead.saveCheckpoint({ cursor: nextPageParam });
        },
      },
    });
    for await (const page of pages) {
      const found = page.map(({ uid, properties, last_edited }) => ({
        id: uid,
        title: properties.title,
        edited_at: last_edited,
      }));
      await bulkhead.batchSave(found, 'Page');
    }
    await bulkhead.clearCheckpoint();
  },
});
