import type { ActionContext, SyncContext } from './context.js';
import type { Infer, Models, Schema } from './schema.js';

/** Limits of one attempt; what is left out is the default. The operator sets ceilings. */
export interface Limits {
  /** Wall time until the attempt is killed, in milliseconds. Default: 10 minutes. */
  time_ms?: number;
  /** Share of `time_ms` after which the function is asked to come to an end, in percent. Default: 90. */
  soft_percent?: number;
  /** CPU time until the attempt is killed, in milliseconds. Default: no limit but wall time. */
  cpu_ms?: number | null;
  /** Memory, in MiB. Default: 256. */
  memory_mib?: number;
  /** Processes and threads, beyond those Node.js itself has. Default: 64. */
  processes?: number;
  /** Scratch directory, in MiB. Default: 256. */
  scratch_mib?: number;
  /** Files and directories in the scratch directory. Default: 16,384. */
  scratch_inodes?: number;
  /** Input, as JSON, in bytes. Default: 6 MiB. */
  input_bytes?: number;
  /** Output, as JSON, in bytes. Default: 6 MiB. */
  output_bytes?: number;
  /** Log text kept, in bytes. Default: 10 MiB. */
  log_bytes?: number;
  /** Log lines kept. Default: 100,000. */
  log_lines?: number;
  /** Connections open at the same time. Default: 64. */
  connections?: number;
  /** Connections begun within a minute. Default: 3,000. */
  connections_per_minute?: number;
  /** Names looked up within a minute. Default: 600. */
  lookups_per_minute?: number;
  /** Bytes over all connections together, both ways, in MiB. Default: 10,240. */
  egress_mib?: number;
  /** What it takes of a worker's CPU while it runs; a core has 16. Default: 1. */
  cpu_units?: number;
  /** What it takes of a worker's memory while it runs, in MiB; `memory_mib` may be many times that. Default: 8. */
  memory_reserved_mib?: number;
}

/**
 * Narrows where a function may connect, itself or through the proxy. It can't open what operator and tenant keep closed.
 * A rule that denies and matches denies; if there are rules that allow, one of them has to match.
 */
export interface EgressRule {
  /** What denials are logged with. */
  name: string;
  /** What it does with what it matches. */
  effect: 'allow' | 'deny';
  /** `example.com`, `*.example.com` (any depth below, not itself) or `*`. Default: any. */
  hosts?: string[];
  /** Networks of the address that is dialled, such as `192.0.2.0/24`. Default: any. */
  networks?: string[];
  /** `443` or `8000-8999`. Default: any. */
  ports?: string[];
}

/** How many attempts may run at the same time; more wait. */
export interface Concurrency {
  /** Of this function, over all connections. Default: as many as the tenant may. */
  max?: number;
  /** A name for something that functions share, such as an API account, and how many may use it at the same time. */
  key?: { name: string; max: number };
}

/** How a sync's schedule keeps its times. */
export interface Schedule {
  /** Each connection runs up to this much later than the frequency says, always by the same amount. Default: 0. */
  jitter_ms?: number;
  /** Runs that were missed: made up for once, or left out. Default: `catch_up`. */
  missed?: 'catch_up' | 'skip';
}

/** How failures are tried again. Waits grow as `backoff_ms · 2ⁿ`. */
export interface RetryPolicy {
  /** Attempts after the first failed one. Default: 0. */
  max?: number;
  /** The first wait, in milliseconds. Default: 3,000. */
  backoff_ms?: number;
  /** The longest wait, in milliseconds. Default: 600,000. */
  backoff_ms_max?: number;
  /** Spread the waits randomly between half and the whole. Default: true. */
  jitter?: boolean;
}

/** What every function can declare. */
export interface Declaration {
  /** For people. */
  description?: string;
  /** The author's own version text; Bulkhead names versions by content. */
  version?: string;
  /** What an attempt may use. */
  limits?: Limits;
  /** How failures are tried again. */
  retry?: RetryPolicy;
  /** How many may run at the same time. */
  concurrency?: Concurrency;
  /** Narrows where it may connect. */
  egress?: EgressRule[];
  /** `compartment`: each execution in a walled place of its own instead of a fork. Default: `fork`. */
  isolation?: 'fork' | 'compartment';
  /** The wall it wants at least; it runs behind that or a stronger one the operator asks for. Default: the server's. */
  wall?: 'process' | 'gvisor' | 'microvm';
  /** Accepted for functions written for other platforms, and ignored. */
  endpoint?: unknown;
  /** Accepted and ignored. */
  endpoints?: unknown;
  /** Accepted and ignored. */
  scopes?: string[];
  /** Accepted and ignored. */
  group?: string;
  /** Accepted and ignored. */
  integrationId?: string;
}

/** An action: on demand, request and response. */
export interface ActionDeclaration<
  Input extends Schema,
  Output extends Schema,
  Metadata extends Schema,
  Checkpoint extends Schema,
> extends Declaration {
  /** What it takes; checked before the handler runs. */
  input: Input;
  /** What it returns; checked afterwards. */
  output: Output;
  /** What the connection's metadata looks like. */
  metadata?: Metadata;
  /** What its checkpoint looks like; flat. */
  checkpoint?: Checkpoint;
  /** The handler. */
  exec: (
    bulkhead: ActionContext<Infer<Metadata>, Infer<Checkpoint>>,
    input: Infer<Input>,
  ) => Promise<Infer<Output>> | Infer<Output>;
}

/** A sync: on a schedule, long, writes records. */
export interface SyncDeclaration<
  M extends Models,
  Metadata extends Schema,
  Checkpoint extends Schema,
> extends Declaration {
  /** `every 5m`, `every half hour`, `every day`; from 30 seconds to 31 days. */
  frequency?: string;
  /** Instead of `frequency`: minute, hour, day, month, weekday, and a time zone, as in `0 6 * * 1-5 Europe/Paris`. */
  cron?: string;
  /** How the schedule keeps its times. */
  schedule?: Schedule;
  /** What it saves: name → schema. */
  models: M;
  /** What the connection's metadata looks like. */
  metadata?: Metadata;
  /** What its checkpoint looks like; flat. */
  checkpoint?: Checkpoint;
  /** Whether a new connection starts it by itself. Default: true. */
  autoStart?: boolean;
  /** The provider's webhook types that `onWebhook` wants. */
  webhookSubscriptions?: string[];
  /** The handler. */
  exec: (bulkhead: SyncContext<M, Infer<Metadata>, Infer<Checkpoint>>) => Promise<void> | void;
  /** Called when one of the provider's webhooks arrives, with its body. */
  onWebhook?: (bulkhead: SyncContext<M, Infer<Metadata>, Infer<Checkpoint>>, payload: any) => Promise<void> | void;
  /** Accepted and ignored. */
  syncType?: 'full' | 'incremental';
  /** Accepted and ignored: call trackDeletesStart and trackDeletesEnd. */
  trackDeletes?: boolean;
}

/** A webhook as it arrived. */
export interface WebhookDelivery<Body = any> {
  /** Names in lower case. */
  headers: Record<string, string>;
  /** Parsed, where the type says JSON. */
  body: Body;
  /** The bytes as text, for checking signatures. */
  raw: string;
}

/** A handler for a provider's webhooks. */
export interface WebhookDeclaration<Metadata extends Schema> extends Declaration {
  /** What the connection's metadata looks like. */
  metadata?: Metadata;
  /** The handler. */
  exec: (bulkhead: ActionContext<Infer<Metadata>>, delivery: WebhookDelivery) => unknown;
}

/** A handler for what happens to a connection. */
export interface EventDeclaration<Metadata extends Schema> extends Declaration {
  /** Which event. */
  event: 'post-connection-creation' | 'pre-connection-deletion' | 'validate-connection';
  /** What the connection's metadata looks like. */
  metadata?: Metadata;
  /** The handler. */
  exec: (bulkhead: ActionContext<Infer<Metadata>>) => Promise<void> | void;
}

/** Declares an action. */
export function createAction<
  Input extends Schema,
  Output extends Schema,
  Metadata extends Schema = Schema,
  Checkpoint extends Schema = Schema,
>(
  declaration: ActionDeclaration<Input, Output, Metadata, Checkpoint>,
): ActionDeclaration<Input, Output, Metadata, Checkpoint> & { type: 'action' };

/** Declares a sync. */
export function createSync<M extends Models, Metadata extends Schema = Schema, Checkpoint extends Schema = Schema>(
  declaration: SyncDeclaration<M, Metadata, Checkpoint>,
): SyncDeclaration<M, Metadata, Checkpoint> & { type: 'sync' };

/** Declares a webhook handler. */
export function createWebhook<Metadata extends Schema = Schema>(
  declaration: WebhookDeclaration<Metadata>,
): WebhookDeclaration<Metadata> & { type: 'webhook' };

/** Declares an event handler. */
export function createOnEvent<Metadata extends Schema = Schema>(
  declaration: EventDeclaration<Metadata>,
): EventDeclaration<Metadata> & { type: 'event' };

/** An error whose payload goes to the caller as it is. Not tried again. */
export class ActionError<Payload = Record<string, unknown>> extends Error {
  constructor(payload?: Payload);
  /** What the caller gets. */
  readonly payload: Payload;
}
