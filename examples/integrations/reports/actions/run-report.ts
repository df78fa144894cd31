import { setTimeout as wait } from 'node:timers/promises';
import { ActionError, createAction } from 'bulkhead';
import { z } from 'zod';

interface Job {
  id: string;
  state: 'queued' | 'running' | 'done' | 'failed';
  problem?: string;
}

/** A job of the API's: started, asked for until it is done, then its result is fetched. */
export default createAction({
  description: 'Runs a report and returns its rows',
  input: z.object({ report: z.string(), month: z.string(), poll_ms: z.number().default(2_000) }),
  output: z.object({ rows: z.array(z.record(z.string(), z.unknown())) }),
  limits: { time_ms: 300_000 },

  exec: async (bulkhead, { report, month, poll_ms }) => {
    const started = await bulkhead.post<Job>({ endpoint: '/jobs', data: { report, month } });
    let job = started.data;
    while (job.state === 'queued' || job.state === 'running') {
      // Ends at the soft deadline and when the execution is cancelled.
      await wait(poll_ms, undefined, { signal: bulkhead.signal });
      job = (await bulkhead.get<Job>({ endpoint: `/jobs/${job.id}`, retries: 3 })).data;
    }
    if (job.state === 'failed') throw new ActionError({ message: `The report failed: ${job.problem ?? 'no reason given'}` });
    const { data } = await bulkhead.get<{ rows: Record<string, unknown>[] }>({ endpoint: `/jobs/${job.id}/result`, retries: 3 });
    return { rows: data.rows };
  },
});
