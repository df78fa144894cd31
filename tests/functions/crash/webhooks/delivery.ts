import { setTimeout } from 'node:timers/promises';
import { createWebhook } from 'bulkhead';
import { z } from 'zod';

const Delivery = z.object({ n: z.number(), ms: z.number() });

/** Handles one delivery; tells which, and which attempt did it. */
export default createWebhook({
  description: 'Handles a delivery',
  exec: async (bulkhead, { body }) => {
    const { n, ms } = Delivery.parse(body);
    await setTimeout(ms);
    return { n, attempt: bulkhead.attempt };
  },
});
