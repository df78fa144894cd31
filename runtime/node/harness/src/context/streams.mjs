// Bodies that pass piece by piece, up and down, so that none of them is ever here as a whole. Each piece is a call of its
// own: who reads asks for the next one, who writes waits until the last one was taken.

import { Readable } from 'node:stream';

/** Bytes of a piece that goes up: as text in JSON it is small enough for V8's young generation, which is emptied at once. */
const PIECE_BYTES = 64 << 10;

/** Bytes of a body that is held, so that it can be sent again. */
const HELD_BYTES_MAX = 4 << 20;

/** A body of bytes: `{dataBase64}` when it is short, else `{upload, length}`. */
export async function bodyOf(bytes) {
  if (bytes.length <= HELD_BYTES_MAX) return { dataBase64: bytes.toString('base64') };
  return { upload: slices(bytes), length: bytes.length };
}

/** A body that comes in pieces, likewise; how much it is shows only when it has come. */
export async function bodyInPieces(pieces) {
  const iterator = pieces[Symbol.asyncIterator]();
  const held = [];
  for (let bytes = 0; bytes <= HELD_BYTES_MAX; bytes += held.at(-1).length) {
    const { done, value } = await iterator.next();
    if (done) return { dataBase64: Buffer.concat(held).toString('base64') };
    held.push(Buffer.from(value));
  }
  return { upload: rest(held, iterator) };
}

function* slices(bytes) {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

async function* rest(held, iterator) {
  try {
    while (held.length > 0) yield* slices(held.shift());
    for (;;) {
      const { done, value } = await iterator.next();
      if (done) return;
      yield* slices(Buffer.from(value));
    }
  } finally {
    await iterator.return?.();
  }
}

/**
 * Sends a request whose bodies pass piece by piece.
 * @returns {Promise<{head: object, body: Readable}>} `toError` has put errors of the body into the author's words
 */
export async function exchange(calls, request, { upload, length }, toError) {
  if (upload === undefined) {
    const { stream, head } = await calls.call('stream.open', { request });
    return { head, body: answerBody(calls, stream, toError) };
  }
  const { stream } = await calls.call('stream.open', { request, upload: true, length });
  try {
    for await (const piece of upload) {
      const { taken } = await calls.call('stream.write', { stream, base64: piece.toString('base64') });
      // It was answered already: what the API says counts, not what it did not want to hear.
      if (!taken) break;
    }
  } catch (error) {
    await calls.call('stream.close', { stream }).catch(() => {});
    throw error;
  }
  const { head } = await calls.call('stream.answer', { stream });
  return { head, body: answerBody(calls, stream, toError) };
}

function answerBody(calls, stream, toError) {
  let ended = false;
  return new Readable({
    async read() {
      try {
        const { base64, end } = await calls.call('stream.read', { stream });
        ended = end === true;
        this.push(ended ? null : Buffer.from(base64, 'base64'));
      } catch (error) {
        ended = true;
        this.destroy(toError(error));
      }
    },
    destroy(error, done) {
      if (ended) return done(error);
      // Nobody reads on: the API is let go.
      calls.call('stream.close', { stream }).then(() => done(error), () => done(error));
    },
  });
}
