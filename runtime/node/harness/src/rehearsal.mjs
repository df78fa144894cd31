// A whole execution, played through in the zygote against a worker that answers at once: so that the harness's own
// code is compiled before the first real one.

import http from 'node:http';
import { Assembler, Decoder, encode, Kind } from './protocol/frame.mjs';
import { Calls } from './protocol/calls.mjs';
import { connectOver } from './net/patch.mjs';
import { Logs } from './sandbox/logs.mjs';
import { resultBytes, run } from './run.mjs';
import { reseed } from './sandbox/random.mjs';

const ANSWERS = {
  'proxy.request': { status: 200, statusText: 'OK', headers: {}, json: [{ id: 1 }] },
  'checkpoint.get': { checkpoint: null, version: 0 },
  'checkpoint.save': { version: 1, stop: false },
  'records.save': { added: 1, updated: 0, unchanged: 0, deleted: 0 },
  'metadata.get': {},
};

const HTTP_ANSWER = [
  'HTTP/1.1 200 OK',
  'content-type: application/json',
  'transfer-encoding: chunked',
  'connection: close',
  '',
  '2',
  '{}',
  '0',
  '',
  '',
].join('\r\n');

/** Takes the place of a link: what is sent is encoded and decoded again; calls and HTTP requests are answered. */
class Stage {
  #handlers = new Map();
  #channels = new Map();
  #decoder = new Decoder();
  #assembler = new Assembler();

  on(kind, handler) {
    this.#handlers.set(kind, handler);
  }

  open(channel, handler) {
    this.#channels.set(channel, handler);
  }

  close(channel) {
    this.#channels.delete(channel);
  }

  awaiting() {}

  settled() {}

  sendJson(kind, value, channel) {
    this.send(kind, channel, Buffer.from(JSON.stringify(value)));
  }

  send(kind, channel = 0, bytes = Buffer.alloc(0)) {
    this.#decoder.feed(encode(channel, kind, bytes));
    for (let frame = this.#decoder.next(); frame !== null; frame = this.#decoder.next()) {
      const message = this.#assembler.push(frame);
      if (message?.kind === Kind.Call) this.#answer(JSON.parse(message.payload.toString()));
      else if (message?.kind === Kind.Open) this.#give(channel, Kind.Opened, '{"address":"192.0.2.1","port":80}');
      else if (message?.kind === Kind.Data) this.#answerHttp(channel);
    }
  }

  #give(channel, kind, text) {
    setImmediate(() => this.#channels.get(channel)?.(kind, Buffer.from(text)));
  }

  #answerHttp(channel) {
    this.#give(channel, Kind.Data, HTTP_ANSWER);
    this.#give(channel, Kind.End, '');
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

/** A function that is nobody's. */
export const nothing = { type: 'action', exec: (nango) => nango.log('rehearsed', { level: 'debug' }) };

/**
 * A start without the author's code, in a fork that is parked: the pages that it writes to are copied now, and not when
 * somebody waits. The real Start seeds randomness anew.
 */
export async function rehearseStart() {
  reseed('00'.repeat(32));
  const link = new Stage();
  const start = { execution: 'exe_rehearsal', attempt: 1, kind: 'action', input: {}, output_bytes: 1024, context: {} };
  const io = { link, calls: new Calls(link), logs: Logs.over(link), interrupted: () => {} };
  const result = await run(nothing, start, io);
  io.logs.flush();
  link.send(Kind.Result, 0, resultBytes(result));
}

/** Requests of both HTTP clients, answered by the stage: undici compiles its parser at the first connection. */
export async function rehearseHttp() {
  connectOver(new Stage());
  try {
    const url = 'http://rehearsal.invalid/';
    await (await fetch(url)).json();
    await (await fetch(url, { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } })).text();
    await new Promise((done, failed) => {
      http.get(url, (response) => response.resume().on('end', done)).on('error', failed);
    });
  } finally {
    connectOver(null);
  }
}

/**
 * Lets the function's own schemas look at nothing, so that zod's code is compiled. They are asked for no more than what
 * they are for; what they throw or refuse is of no interest.
 */
export function rehearseSchemas({ input, output }) {
  for (const schema of [input, output]) {
    for (const nothing of [undefined, {}]) {
      try {
        schema?.safeParseAsync?.(nothing).catch(() => {});
      } catch {
        // A schema that cannot take it says so when it matters.
      }
    }
  }
}
