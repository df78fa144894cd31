import { createWebhook } from 'bulkhead';

/** A webhook that is no sync's: handled once per delivery, with its headers and its raw body. */
export default createWebhook({
  description: 'Notes that a shop has removed the app',
  exec: async (bulkhead, { headers, body }) => {
    if (headers['x-shop-topic'] !== 'app/uninstalled') return { ignored: true };
    await bulkhead.updateMetadata({ uninstalled_at: body.at });
    return { ignored: false };
  },
});
