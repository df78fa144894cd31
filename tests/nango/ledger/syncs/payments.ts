import { createSync } from 'nango';
import type { ProxyConfiguration } from 'nango';
import { z } from 'zod';

const Payment = z.object({ id: z.string(), amount: z.number() });
const Checkpoint = z.object({ link: z.string() });

interface ProviderPayment {
    uuid: string;
    cents: number;
}

/** Everything, page by page, by the links of the answers; goes on where it was, and still finds what is gone. */
export default createSync({
    description: 'Fetches all payments and detects deletes',
    version: '1.1.0',
    frequency: 'every 6 hours',
    autoStart: true,
    syncType: 'full',
    endpoints: [{ method: 'GET', path: '/ledger/payments' }],
    checkpoint: Checkpoint,
    models: { Payment },

    exec: async (nango) => {
        const checkpoint = await nango.getCheckpoint();
        await nango.trackDeletesStart('Payment');

        const proxyConfig: ProxyConfiguration = {
            endpoint: checkpoint?.link ?? '/payments',
            paginate: {
                type: 'link',
                link_rel_in_response_header: 'next',
                response_path: 'payments',
                on_page: async ({ nextPageParam }) => {
                    if (typeof nextPageParam === 'string') {
                        await nango.saveCheckpoint({ link: nextPageParam });
                    }
                }
            },
            retries: 5
        };
        for await (const page of nango.paginate<ProviderPayment>(proxyConfig)) {
            await nango.batchSave(
                page.map(({ uuid, cents }) => ({ id: uuid, amount: cents / 100 })),
                'Payment'
            );
        }

        const { deletedKeys } = await nango.trackDeletesEnd('Payment');
        await nango.clearCheckpoint();
        await nango.log(`Gone: ${deletedKeys.join(', ') || 'none'}`, { level: 'warn' });
    }
});
