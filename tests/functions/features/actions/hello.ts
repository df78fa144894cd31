import { createAction } from 'bulkhead';
import { z } from 'zod';
import tls from 'node:tls';
import dns from 'node:dns/promises';

/** Begins TLS with each of the servers, and says what came of it. Narrowed to names under localhost. */
export default createAction({
  description: 'Connects to servers under names of its own choosing',
  input: z.object({ port: z.number(), tries: z.array(z.object({ host: z.string(), servername: z.string() })) }),
  output: z.array(z.string()),
  egress: [{ name: 'local-names', effect: 'allow', hosts: ['*.localhost'] }],
  exec: async (bulkhead, { port, tries }) => {
    const said: string[] = [];
    for (const { host, servername } of tries) {
      said.push(await connect(host, port, servername));
    }
    said.push(await dns.lookup('elsewhere.test').then(() => 'resolved', (error) => `${error.code} ${error.rule}`));
    return said;
  },
});

function connect(host: string, port: number, servername: string): Promise<string> {
  return new Promise((done) => {
    // Whose certificate it is does not matter here: the gateway looks at the name only.
    const socket = tls.connect({ host, port, servername, rejectUnauthorized: false });
    socket.on('secureConnect', () => {
      socket.destroy();
      done('connected');
    });
    socket.on('error', (error: NodeJS.ErrnoException & { rule?: string }) => done(`${error.code} ${error.rule}`));
  });
}
