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
  // A state with few ones takes a while until it has half of them.
  for (let i = 0; i < 32; i++) next();
  return () => ((next() >>> 5) * 0x4000000 + (next() >>> 6)) / 0x20000000000000;
}

/**
 * Four words from the 32 bytes of `Start.seed`: its halves folded onto each other, one of them multiplied by 2³²/φ so
 * that equal halves do not cancel out.
 * @param {string} seed 64 hexadecimal digits
 */
export function stateOf(seed) {
  const bytes = Buffer.from(seed, 'hex');
  if (bytes.length !== 32) throw new Error(`Start.seed has ${bytes.length} bytes, not 32`);
  const words = Uint32Array.from([0, 4, 8, 12], (at) => {
    return bytes.readUInt32LE(at) ^ Math.imul(bytes.readUInt32LE(at + 16), 0x9e3779b1);
  });
  // The one state that never changes.
  if (words.every((word) => word === 0)) words[0] = 1;
  return words;
}

let draw = Math.random;

/** Puts a function of ours in Math.random's place. For good: the bundle may keep a reference while it loads. */
function replaceMathRandom() {
  Object.defineProperty(Math, 'random', {
    value: { random: () => draw() }.random,
    writable: true,
    configurable: true,
    enumerable: false,
  });
}

/** Makes Math.random draw from `seed`. */
export function reseed(seed) {
  draw = generator(stateOf(seed));
}

/** Which of Node's caches of random bytes the bundle has filled while it loaded. */
const filled = { uuids: false, ints: false };

/** Before the bundle loads: what it draws from, and whether it draws from the caches of `randomUUID` and `randomInt`. */
export function patchRandom() {
  replaceMathRandom();
  const { randomInt, randomUUID } = crypto;
  const { prototype } = crypto.webcrypto.constructor;
  const { randomUUID: webRandomUUID } = prototype;
  crypto.randomInt = function noted(...args) {
    filled.ints = true;
    return randomInt.apply(this, args);
  };
  crypto.randomUUID = function noted(options) {
    filled.uuids = true;
    return randomUUID.call(this, options);
  };
  prototype.randomUUID = function noted() {
    filled.uuids = true;
    return webRandomUUID.call(this);
  };
}

/**
 * Uses up what Node keeps of random bytes: a bundle that drew from a cache while it loaded has left the rest of it to
 * every fork. OpenSSL's own generator reseeds itself after a fork.
 */
export function emptyCaches() {
  if (filled.uuids) for (let i = 0; i < UUIDS_CACHED; i++) crypto.randomUUID();
  if (filled.ints) for (let i = 0; i < INTS_CACHED; i++) crypto.randomInt(2);
}
