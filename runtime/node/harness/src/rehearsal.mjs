// A whole execution, played through in the zygote against a worker that answers at once: so that the harness's own
// code is compiled before the first real one.

import { Kind } from './protocol/frame.mjs';
import { Assembler, Decoder, encode } from './protocol/frame.mjs';
import { Calls } from './protocol/calls.mjs';
import { Logs } from './sandbox/logs.mjs';
import { resultBytes, run } from './run.mjs';

const ANSWERS = {
  'proxy.request': { status: 200, statusText: 'OK', headers: {}, json: [{ id: 1 }] },
  'checkpoint.get': { checkpoint: null, version: 0 },
  'checkpoint.save': { version: 1, stop: false },
  'records.save': { added: 1, updated: 0, unchanged: 0, deleted: 0 },
  'metadata.get': {},
};

/** Takes the place of a link: what is sent is encoded and decoded again, and a call is answered. */
class Stage {
  #handlers = new Map();
  #decoder = new Decoder();
  #assembler = new Assembler();

  on(kind, handler) {
    this.#handlers.set(kind, handler);
  }

  awaiting() {}

  settled() {}

  send(kind, channel = 0, bytes = Buffer.alloc(0)) {
    this.#decoder.feed(encode(channel, kind, bytes));
    for (let frame = this.#decoder.next(); frame !== null; frame = this.#decoder.next()) {
      const message = this.#assembler.push(frame);
      if (message?.kind === Kind.Call) this.#answer(JSON.parse(message.payload.toString()));
    }
  }

  #answer({ id, method }) {
    queueMicrotask(() => this.#handlers.get(Kind.Reply)({ id, ok: ANSWERS[method] ?? {} }));
  }
}

const definition = {
  type: 'sync',
  models: { Item: {} },
  async exec(nango) {
    await nango.getCheckpoint();
    await nango.getMetadata();
    const paginate = { type: 'offset', offset_name_in_request: 'offset', limit: 2 };
    for await (const page of nango.paginate({ endpoint: '/items', paginate })) await nango.batchSave(page.map(named), 'Item');
    await nango.saveCheckpoint({ page: 1 });
    await nango.log('rehearsed', { level: 'debug' });
    await nango.post({ endpoint: '/items', data: { id: 1 } });
    return {};
  },
};

function named({ id }) {
  return { id: String(id) };
}

/** @returns {Promise<object>} how it ended */
export async function rehearse() {
  const link = new Stage();
  const start = { execution: 'exe_rehearsal', attempt: 1, kind: 'sync', input: null, output_bytes: 1024, context: {} };
  const io = { link, calls: new Calls(link), logs: Logs.over(link), interrupted: () => {} };
  const result = await run(definition, start, io);
  io.logs.flush();
  link.send(Kind.Result, 0, resultBytes(result));
  return result;
}
