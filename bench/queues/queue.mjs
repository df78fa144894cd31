// How many jobs a second one of two queues takes from accepted to done, over PostgreSQL: the same load as
// `bulkhead bench engine` puts on ours. Callers add one job each and wait until it is kept; a worker in the same process
// runs jobs that do nothing. Each queue has the settings that its documentation gives for throughput.
//
//   node queue.mjs pg-boss|graphile-worker DATABASE_URL JOBS
import { PgBoss } from "pg-boss";
import { makeWorkerUtils, run } from "graphile-worker";

const WARM_UP = 2_000;
const CALLERS = 128;
const AT_ONCE = 128;
// As many connections as Bulkhead takes, and no fewer than the documentation asks for.
const CONNECTIONS = 16;

const [which, connectionString, jobs] = process.argv.slice(2);
const payload = (n) => ({ title: "A title", body: "x".repeat(200), n });

/** Counts what is done; `until(n)` resolves when n are. */
function counter() {
  let done = 0;
  let waiting;
  return {
    add(count) {
      done += count;
      if (waiting && done >= waiting.n) waiting.resolve();
    },
    until: (n) => new Promise((resolve) => (done >= n ? resolve() : (waiting = { n, resolve }))),
  };
}

async function pgBoss(counted) {
  const boss = new PgBoss({ connectionString, max: CONNECTIONS, supervise: false, schedule: false });
  boss.on("error", (error) => {
    console.error(error);
    process.exit(1);
  });
  await boss.start();
  await boss.createQueue("bench", { notify: true });
  const options = { batchSize: AT_ONCE, burstWhenBatchFull: true, localConcurrency: 2, pollingIntervalSeconds: 0.5 };
  await boss.work("bench", options, async (batch) => counted.add(batch.length));
  return { add: (n) => boss.send("bench", payload(n)), stop: () => boss.stop({ graceful: false }) };
}

async function graphileWorker(counted) {
  const quiet = { error: console.error, warn() {}, info() {}, debug() {} };
  const { Logger } = await import("graphile-worker");
  const logger = new Logger(() => (level, message) => quiet[level === "warning" ? "warn" : level]?.(message));
  const preset = {
    worker: {
      connectionString,
      maxPoolSize: CONNECTIONS,
      concurrentJobs: AT_ONCE,
      pollInterval: 500,
      localQueue: { size: AT_ONCE * 4 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  };
  const utils = await makeWorkerUtils({ connectionString, maxPoolSize: CONNECTIONS, logger });
  await utils.migrate();
  const taskList = { bench: async () => counted.add(1) };
  const runner = await run({ preset, taskList, logger, noHandleSignals: true });
  return {
    add: (n) => utils.addJob("bench", payload(n)),
    stop: async () => {
      await runner.stop();
      await utils.release();
    },
  };
}

async function addAll(queue, from, count) {
  const caller = async (part) => {
    for (let n = part; n < count; n += CALLERS) await queue.add(from + n);
  };
  await Promise.all(Array.from({ length: CALLERS }, (_, part) => caller(part)));
}

const counted = counter();
const queue = await { "pg-boss": pgBoss, "graphile-worker": graphileWorker }[which](counted);
await Promise.all([addAll(queue, 0, WARM_UP), counted.until(WARM_UP)]);
const count = Number(jobs);
const began = performance.now();
await Promise.all([addAll(queue, WARM_UP, count), counted.until(WARM_UP + count)]);
const seconds = (performance.now() - began) / 1e3;
console.log(JSON.stringify({ name: which, jobs: count, per_second: Math.round(count / seconds) }));
await queue.stop();
process.exit(0);
