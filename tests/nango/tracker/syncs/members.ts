import { createSync } from 'nango';
import * as z from 'zod';

const Member = z.object({ id: z.string(), name: z.string(), email: z.string().optional() });

interface Envelope<T> {
    data: T[];
}

/** Everything, every time; what is gone is deleted. */
export default createSync({
    description: 'Fetches all members and detects deletes',
    version: '1.0.0',
    frequency: 'every day',
    autoStart: true,
    syncType: 'full',
    endpoints: [{ method: 'GET', path: '/tracker/members' }],
    metadata: z.void(),
    models: { Member },

    exec: async (nango) => {
        await nango.trackDeletesStart('Member');

        let page = 1;
        const limit = 2;
        while (true) {
            const response = await nango.get<Envelope<{ gid: number; name: string; mail?: string }>>({
                endpoint: '/api/1.0/members',
                params: { page: String(page), limit },
                retries: 10
            });
            const members = response.data.data;
            if (members.length === 0) {
                break;
            }
            await nango.batchSave(
                members.map((member) => ({
                    id: member.gid.toString(),
                    name: member.name,
                    ...(member.mail ? { email: member.mail } : {})
                })),
                'Member'
            );
            if (members.length < limit) {
                break;
            }
            page += 1;
        }

        await nango.trackDeletesEnd('Member');
    }
});
