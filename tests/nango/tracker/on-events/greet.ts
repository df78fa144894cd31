import { createOnEvent } from 'nango';

export default createOnEvent({
    event: 'post-connection-creation',
    description: 'Notes the first project of a new connection',
    exec: async (nango) => {
        const { data } = await nango.get<{ data: { gid: string }[] }>({ endpoint: '/api/1.0/projects' });
        const first = data.data[0];
        if (first) await nango.setMetadata({ projectId: first.gid });
    }
});
