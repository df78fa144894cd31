import { createAction } from 'nango';
import { z } from 'zod';

export default createAction({
    description: 'Closes a period',
    version: '1.0.0',
    input: z.object({ period: z.string() }),
    output: z.object({ closed: z.array(z.string()), locked: z.boolean() }),

    exec: async (nango, input) => {
        const locked = await nango.tryAcquireLock({ key: `close-${input.period}`, ttlMs: 60_000 });
        if (!locked) {
            throw new nango.ActionError({ message: 'Somebody is closing this period' });
        }
        const variables = await nango.getEnvironmentVariables();
        const accounts = variables?.find((variable) => variable.name === 'ACCOUNTS')?.value.split(',') ?? [];
        for (const account of accounts) {
            await nango.patch({ endpoint: `/accounts/${account}`, data: { closed: input.period } });
            await nango.put({ endpoint: `/accounts/${account}/log`, data: `closed ${input.period}`, headers: { 'content-type': 'text/plain' } });
        }
        await nango.triggerAction(nango.providerConfigKey, nango.connectionId, 'report', { period: input.period });
        await nango.releaseLock({ key: `close-${input.period}` });
        return { closed: accounts, locked };
    }
});
