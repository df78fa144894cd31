import { createSync } from 'bulkhead';
import { z } from 'zod';

const Order = z.object({ id: z.string(), total: z.string(), paid: z.boolean(), updated_at: z.string() });

interface ApiOrder {
  id: number;
  total_price: string;
  financial_status: string;
  updated_at: string;
}

const orderOf = ({ id, total_price, financial_status, updated_at }: ApiOrder) => ({
  id: String(id),
  total: total_price,
  paid: financial_status === 'paid',
  updated_at,
});

/** Webhooks keep it fresh; once a day it is compared with everything, for deliveries that were lost. */
export default createSync({
  description: 'Orders, as the shop tells of them',
  frequency: 'every day',
  models: { Order },
  webhookSubscriptions: ['orders/create', 'orders/updated', 'orders/delete'],

  exec: async (bulkhead) => {
    await bulkhead.trackDeletesStart('Order');
    const pages = bulkhead.paginate<ApiOrder>({
      endpoint: '/orders.json',
      params: { status: 'any' },
      retries: 5,
      paginate: { type: 'link', link_rel_in_response_header: 'next', response_path: 'orders', limit_name_in_request: 'limit', limit: 250 },
    });
    for await (const page of pages) await bulkhead.batchSave(page.map(orderOf), 'Order');
    await bulkhead.trackDeletesEnd('Order');
  },

  onWebhook: async (bulkhead, payload: { topic: string; order: ApiOrder }) => {
    if (payload.topic === 'orders/delete') await bulkhead.batchDelete([{ id: String(payload.order.id) }], 'Order');
    else await bulkhead.batchSave([orderOf(payload.order)], 'Order');
  },
});
