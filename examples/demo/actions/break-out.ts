import fs from 'node:fs/promises';
import net from 'node:net';
import { createAction } from 'bulkhead';
import { z } from 'zod';

const FILES = ['/etc/shadow', '/root', '/proc/1/environ', '/proc/1/root', '/var/lib/bulkhead', '/home'];
const ADDRESSES = [
  { host: '169.254.169.254', port: 80, what: 'cloud metadata' },
  { host: '127.0.0.1', port: 22, what: "the host's own services" },
  { host: '10.0.0.1', port: 443, what: 'a private network' },
  { host: '::ffff:169.254.169.254', port: 80, what: 'cloud metadata, written otherwise' },
];

/** Tries to read the host and to reach private addresses, and tells what was refused. Nothing here should work. */
export default createAction({
  description: 'Tries to get out of the sandbox',
  input: z.object({}).optional(),
  output: z.object({
    refused: z.number(),
    succeeded: z.array(z.string()),
    attempts: z.array(z.object({ attempt: z.string(), refused: z.boolean(), why: z.string() })),
  }),

  exec: async () => {
    const attempts = [];
    for (const file of FILES) attempts.push(await tried(`read ${file}`, () => read(file)));
    attempts.push(await tried('list the bundles of others', otherBundles));
    attempts.push(await tried('write beside the bundle', () => fs.writeFile('/bundle/planted.js', 'planted')));
    attempts.push(await tried('see other processes', otherProcesses));
    attempts.push(await tried('find secrets in the environment', async () => secretsIn(process.env)));
    for (const { host, port, what } of ADDRESSES) {
      attempts.push(await tried(`connect to ${host} (${what})`, () => connect(host, port)));
    }
    const succeeded = attempts.filter(({ refused }) => !refused).map(({ attempt }) => attempt);
    return { refused: attempts.length - succeeded.length, succeeded, attempts };
  },
});

async function tried(attempt: string, act: () => Promise<unknown>) {
  try {
    const found = await act();
    return { attempt, refused: false, why: `it worked: ${String(found).slice(0, 80)}` };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { attempt, refused: true, why: code === 'EGRESS_DENIED' ? message : (code ?? message) };
  }
}

async function read(path: string): Promise<string> {
  const stat = await fs.stat(path);
  return stat.isDirectory() ? (await fs.readdir(path)).join(' ') : fs.readFile(path, 'utf8');
}

/** Only one's own bundle may be seen. */
async function otherBundles(): Promise<string> {
  const entries = await fs.readdir('/bundle', { recursive: true });
  const scripts = entries.filter((entry) => entry.endsWith('.js'));
  if (scripts.length > 1) return scripts.join(' ');
  throw new Error('only its own is there');
}

async function otherProcesses(): Promise<string> {
  const pids = (await fs.readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const others = pids.filter((pid) => Number(pid) !== process.pid);
  if (others.length > 0) return others.join(' ');
  throw new Error('only itself is there');
}

function secretsIn(env: NodeJS.ProcessEnv): string {
  const named = Object.keys(env).filter((name) => /key|token|secret|password|database|bulkhead/i.test(name));
  if (named.length > 0) return named.join(' ');
  throw new Error('none is there');
}

function connect(host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port, timeout: 5_000 });
    socket.on('connect', () => {
      socket.destroy();
      resolve('connected');
    });
    socket.on('timeout', () => socket.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })));
    socket.on('error', reject);
  });
}
