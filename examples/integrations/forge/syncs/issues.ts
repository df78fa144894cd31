import { createSync } from 'bulkhead';
import { z } from 'zod';

const Issue = z.object({
  id: z.string(),
  number: z.number(),
  title: z.string(),
  state: z.enum(['open', 'closed']),
  updated_at: z.string(),
});

interface ApiIssue extends Omit<z.infer<typeof Issue>, 'id'> {
  node: string;
  pull_request?: object;
}

/** Link pagination: the header `Link: <…>; rel="next"` says where to go on. Only what changed since is asked for. */
export default createSync({
  description: 'Copies the issues of a repository that changed',
  frequency: 'every 15m',
  models: { Issue },
  metadata: z.object({ repository: z.string() }),
  checkpoint: z.object({ since: z.string() }),

  exec: async (bulkhead) => {
    const { repository } = await bulkhead.getMetadata();
    const { since } = (await bulkhead.getCheckpoint()) ?? {};
    let newest = since;
    const pages = bulkhead.paginate<ApiIssue>({
      endpoint: `/repos/${repository}/issues`,
      params: { state: 'all', sort: 'updated', direction: 'asc', since },
      retries: 5,
      paginate: { type: 'link', link_rel_in_response_header: 'next', limit_name_in_request: 'per_page', limit: 100 },
    });
    for await (const page of pages) {
      const issues = page
        .filter((issue) => issue.pull_request === undefined)
        .map(({ node, number, title, state, updated_at }) => ({ id: node, number, title, state, updated_at }));
      await bulkhead.batchSave(issues, 'Issue');
      newest = page.at(-1)?.updated_at ?? newest;
    }
    if (newest !== undefined) await bulkhead.saveCheckpoint({ since: newest });
  },
});
