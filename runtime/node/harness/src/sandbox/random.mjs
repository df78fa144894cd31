// A fresh source for Math.random in every sandbox. V8 seeds its own once per context, so that all forks of a zygote
// would draw the same numbers.

import crypto from 'node:crypto';

const UUIDS_CACHED = 128;
const INTS_CACHED = 1024;

/**
 * xoshiro128** (Blackman and Vigna, 2018): small, fast, and good enough for what Math.random promises.
 * @param {Uint32Array} state four words, not all zero
 * @returns {() => number} uniform in [0, 1), with 53 bits
 */
export function generator(state) {
  let [a, b, c, d] = state;
  const rotate = (x, by) => (x << by) | (x >>> (32 - by));
  const next = () => {
    const drawn = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = rotate(d, 11);
    return drawn;
  };
  return () => ((next() >>> 5) * 0x4000000 + (next() >>> 6)) / 0x20000000000000;
}

/**
 * Four words from the 32 bytes of `Start.seed`; hashed, so that a poor seed makes no poor start.
 * @param {string} seed 64 hexadecimal digits
 */
export function stateOf(seed) {
  const bytes = Buffer.from(seed, 'hex');
  if (bytes.length !== 32) throw new Error(`Start.seed has ${bytes.length} bytes, not 32`);
  const digest = crypto.createHash('sha256').update(bytes).digest();
  const words = Uint32Array.from([0, 4, 8, 12], (at) => digest.readUInt32LE(at));
  if (words.every((word) => word === 0)) words[0] = 1;
  return words;
}

/** Makes Math.random draw from `seed`. */
export function reseed(seed) {
  const random = generator(stateOf(seed));
  Object.defineProperty(Math, 'random', {
    value: { random: () => random() }.random,
    writable: true,
    configurable: true,
    enumerable: false,
  });
}

/**
 * Uses up what Node keeps of random bytes for `randomUUID` and `randomInt`: a bundle that called one of them while
 * it loaded has left a cache that every fork would read from. OpenSSL's own generator reseeds itself after a fork.
 */
export function emptyCaches() {
  for (let i = 0; i < UUIDS_CACHED; i++) crypto.randomUUID();
  for (let i = 0; i < INTS_CACHED; i++) crypto.randomInt(2);
}
