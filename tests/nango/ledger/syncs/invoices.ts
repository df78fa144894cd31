import { createHmac } from 'crypto';
import { createSync } from 'nango';
import type { NangoSync } from 'nango';
import { z } from 'zod';

const Invoice = z.object({ id: z.string(), number: z.string(), amount: z.number(), signature: z.string() });
const models = { Invoice };

const sync = createSync({
    description: 'Fetches invoices by an API that wants its requests signed and takes no more than it likes',
    version: '0.0.1',
    frequency: 'every half hour',
    autoStart: true,
    syncType: 'incremental',
    trackDeletes: false,
    endpoints: [{ method: 'GET', path: '/ledger/invoices', group: 'Invoices' }],
    models,

    exec: async (nango) => {
        await nango.setMergingStrategy({ strategy: 'ignore_if_modified_after' }, 'Invoice');
        for await (const invoices of fetchAll(nango)) {
            const known = await nango.getRecordsByIds(invoices.map((invoice) => invoice.id), 'Invoice');
            await nango.batchSave(invoices.filter((invoice) => !known.has(invoice.id)), 'Invoice');
            await nango.batchDelete(invoices.filter((invoice) => invoice.amount === 0).map(({ id }) => ({ id })), 'Invoice');
        }
    },

    onWebhook: async (nango, payload) => {
        await nango.batchUpdate([{ id: payload.id, amount: payload.amount }], 'Invoice');
    },
    webhookSubscriptions: ['*']
});

export default sync;

async function* fetchAll(nango: NangoSync<typeof models>): AsyncGenerator<z.infer<typeof Invoice>[]> {
    const pages = nango.paginate<{ id: number; no: string; cents: number }>({
        endpoint: '/invoices',
        headers: { 'x-signature': createHmac('sha256', 'k').update('/invoices').digest('hex') },
        params: { since: nango.lastSyncDate?.toISOString() },
        paginate: {
            type: 'offset',
            offset_name_in_request: 'page',
            offset_start_value: 1,
            offset_calculation_method: 'per-page',
            limit_name_in_request: 'size',
            limit: 2,
            response_path: 'items'
        },
        retryOn: [418],
        retries: 2
    });
    for await (const page of pages) {
        yield page.map(({ id, no, cents }) => ({ id: String(id), number: no, amount: cents / 100, signature: `s${id}` }));
    }
}
