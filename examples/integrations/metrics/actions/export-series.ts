import { createAction } from 'bulkhead';
import { z } from 'zod';

const Point = z.object({ at: z.number(), value: z.number() });

/**
 * An API that lets a caller through a few times a minute. The host waits as long as the API's own header says and asks
 * again; what would take too long for a sandbox to wait ends the attempt, and the next one begins then.
 */
export default createAction({
  description: 'Exports the points of some series',
  input: z.object({ series: z.array(z.string()).min(1).max(50) }),
  output: z.object({ series: z.record(z.string(), z.array(Point)) }),
  concurrency: { key: { name: 'metrics-account', max: 2 } },
  retry: { max: 3 },

  exec: async (bulkhead, { series }) => {
    const found: Record<string, z.infer<typeof Point>[]> = {};
    for (const name of series) {
      const { data } = await bulkhead.get<{ points: [number, number][] }>({
        endpoint: '/query',
        params: { series: name },
        retries: 5,
        retryHeader: { at: 'x-ratelimit-reset' },
        // This API says 403 where others say 429.
        retryOn: [403],
      });
      found[name] = data.points.map(([at, value]) => ({ at, value }));
    }
    return { series: found };
  },
});
