// fs.watch() by looking again and again. The kernel's way of telling is refused in a sandbox: it would also tell of what
// others do with the files that all of them have in common.

import { EventEmitter } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';

/** How often is looked, in milliseconds. */
const LOOK_MS = 100;
/** Files and directories that one watcher looks at; more are not told of. */
const ENTRIES_MAX = 10_000;

/** In the zygote: bundles may keep a reference. */
export function patchWatch() {
  fs.watch = (file, options, listener) => {
    if (typeof options === 'function') return new Watcher(file, {}, options);
    return new Watcher(file, typeof options === 'string' ? { encoding: options } : (options ?? {}), listener);
  };
}

class Watcher extends EventEmitter {
  #top;
  #options;
  #seen;
  #timer;

  constructor(file, options, listener) {
    super();
    this.#top = path.resolve(file instanceof URL || Buffer.isBuffer(file) ? fs.realpathSync(file) : String(file));
    this.#options = options;
    // As Node does: what is not there can't be watched.
    fs.statSync(this.#top);
    this.#seen = this.#look();
    if (listener) this.on('change', listener);
    this.#timer = setInterval(() => this.#compare(), LOOK_MS);
    if (options.persistent === false) this.#timer.unref();
    options.signal?.addEventListener('abort', () => this.close(), { once: true });
  }

  close() {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    process.nextTick(() => this.emit('close'));
  }

  ref() {
    this.#timer?.ref();
    return this;
  }

  unref() {
    this.#timer?.unref();
    return this;
  }

  #compare() {
    const [before, now] = [this.#seen, this.#look()];
    this.#seen = now;
    for (const name of new Set([...before.keys(), ...now.keys()])) {
      if (this.#timer === undefined) return;
      const both = before.has(name) && now.has(name);
      if (both && before.get(name) === now.get(name)) continue;
      const told = this.#options.encoding === 'buffer' ? Buffer.from(name) : name;
      this.emit('change', both ? 'change' : 'rename', told);
    }
  }

  /** What is there, by its name: what changes when it is written to. */
  #look() {
    const seen = new Map();
    const note = (file, name) => {
      try {
        const { ino, size, mtimeMs, mode } = fs.lstatSync(file);
        seen.set(name, `${ino} ${size} ${mtimeMs} ${mode}`);
      } catch {
        // Gone meanwhile.
      }
    };
    try {
      const entries = fs.readdirSync(this.#top, { recursive: this.#options.recursive === true });
      for (const entry of entries.slice(0, ENTRIES_MAX)) note(path.join(this.#top, entry), entry);
    } catch (error) {
      if (error.code === 'ENOTDIR') note(this.#top, path.basename(this.#top));
    }
    return seen;
  }
}
