import { createHash } from 'node:crypto';
import { createWebhook } from 'bulkhead';
import { z } from 'zod';

const Delivery = z.object({ id: z.string(), event: z.string() });

/** Handles one delivery of a provider's webhook. */
export default createWebhook({
  description: 'Takes note of a delivery',
  exec: async (bulkhead, { body, raw }) => {
    const { id, event } = Delivery.parse(body);
    await bulkhead.log(`${event} ${id}`);
    return { handled: id, digest: createHash('sha256').update(raw).digest('hex') };
  },
});
