import type { ProxyConfiguration, ProxyResponse } from './proxy.js';
import type { Infer, Models, Schema } from './schema.js';
import type { ActionError } from './functions.js';

/** Levels of log lines. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** A connection with its credentials, shaped by the integration's way of authenticating. */
export interface Connection<Metadata = any> {
  /** Its name. */
  connection_id: string;
  /** Of which integration. */
  provider_config_key: string;
  /** By the integration's way of authenticating; `type` says which: `API_KEY`, `BASIC`, `OAUTH2`, … */
  credentials: any;
  /** What else belongs to it, such as a subdomain. */
  connection_config: Record<string, any>;
  /** What the product keeps with it. */
  metadata: Metadata;
  [field: string]: any;
}

/** What every handler is given. */
export interface ActionContext<Metadata = any, Checkpoint = any> {
  /** On behalf of which connection. */
  readonly connectionId: string;
  /** The integration's name. */
  readonly providerConfigKey: string;
  /** The kind of API. */
  readonly provider?: string;
  /** A number that stands for the tenant. */
  readonly environmentId?: number;
  /** The tenant's name. */
  readonly environmentName?: string;
  /** A number that stands for the tenant. */
  readonly accountId?: number;
  /** The execution's id. */
  readonly activityLogId: string;
  /** Stands for this sync of this connection. */
  readonly syncId?: string;
  /** A number that stands for the execution of a sync. */
  readonly syncJobId?: number;
  /** A number that stands for the connection. */
  readonly nangoConnectionId?: number;
  /** `action`, `sync`, `webhook` or `on-event`. */
  readonly scriptType: string;
  /** Always `base`. */
  readonly variant: string;
  /** When this sync last began, if it ever did. */
  readonly lastSyncDate?: Date;
  /** What `log` leaves out; `setLogger` changes it. */
  readonly logger: { level: LogLevel | 'off' };
  /** Whether `bulkhead dryrun` or `bulkhead test` runs it. */
  readonly isCLI: boolean;
  /** The class of errors whose payload goes to the caller. */
  readonly ActionError: typeof ActionError;
  /** The execution's id. */
  readonly executionId: string;
  /** 1, 2, … */
  readonly attempt: number;
  /** Fires at the soft deadline and on cancel. */
  readonly signal: AbortSignal;
  /** When the attempt is killed, in milliseconds since the epoch. */
  readonly deadline: number;

  /** Calls the provider's API; the host adds the credentials. */
  proxy<T = any>(config: ProxyConfiguration): Promise<ProxyResponse<T>>;
  /** As `proxy`, with the method GET. */
  get<T = any>(config: Omit<ProxyConfiguration, 'method'>): Promise<ProxyResponse<T>>;
  /** As `proxy`, with the method POST. */
  post<T = any>(config: Omit<ProxyConfiguration, 'method'>): Promise<ProxyResponse<T>>;
  /** As `proxy`, with the method PUT. */
  put<T = any>(config: Omit<ProxyConfiguration, 'method'>): Promise<ProxyResponse<T>>;
  /** As `proxy`, with the method PATCH. */
  patch<T = any>(config: Omit<ProxyConfiguration, 'method'>): Promise<ProxyResponse<T>>;
  /** As `proxy`, with the method DELETE. */
  delete<T = any>(config: Omit<ProxyConfiguration, 'method'>): Promise<ProxyResponse<T>>;
  /** Yields page after page of a list. */
  paginate<T = any>(config: ProxyConfiguration): AsyncGenerator<T[], undefined, void>;
  /** fetch without the connection's credentials; at most 5 redirects. */
  uncontrolledFetch(request: {
    url: string | URL;
    method?: string;
    headers?: Record<string, string>;
    body?: string | null;
  }): Promise<Response>;

  /** The connection with its credentials. Using it declares that credentials may enter the sandbox. */
  getConnection(providerConfigKey?: string, connectionId?: string, options?: object): Promise<Connection<Metadata>>;
  /** The connection's credential. Using it declares that credentials may enter the sandbox. */
  getToken(): Promise<any>;
  /** The integration: `unique_key`, `provider`, `display_name`, `base_url`; kept for 60 s. */
  getIntegration(options?: object): Promise<any>;
  /** Where the provider sends its webhooks. */
  getWebhookURL(): Promise<string | undefined>;
  /** The connection's metadata. */
  getMetadata<T = Metadata>(): Promise<T>;
  /** Replaces it. */
  setMetadata(metadata: Metadata): Promise<Metadata>;
  /** Merges into it, one level deep. */
  updateMetadata(metadata: Partial<Metadata>): Promise<Metadata>;
  /** The tenant's variables. */
  getEnvironmentVariables(): Promise<Array<{ name: string; value: string }>>;

  /** Where the last attempt or execution left off, or null. */
  getCheckpoint(): Promise<Checkpoint | null>;
  /** Durable once it resolves. After the soft deadline it ends the attempt, and the next goes on from here. */
  saveCheckpoint(checkpoint: Checkpoint): Promise<void>;
  /** Forgets it: the next execution begins anew. None is fine, too. */
  clearCheckpoint(): Promise<void>;

  /** A line of the execution's log. A last argument `{ level }` sets the level. */
  log(message: any, ...args: any[]): Promise<void>;
  /** From which level on `log` keeps lines. */
  setLogger(logger: { level: LogLevel | 'off' }): void;
  /** Checks input; logs each issue and throws an ActionError when it does not fit. */
  zodValidateInput<S extends Schema>(check: { zodSchema: S; input: unknown }): Promise<{ success: true; data: Infer<S> }>;

  /** Runs another action and waits for what it returns. */
  triggerAction<Output = any, Input = unknown>(
    providerConfigKey: string,
    connectionId: string,
    action: string,
    input?: Input,
  ): Promise<Output>;
  /** Runs a sync of a connection, besides its schedule. */
  triggerSync(providerConfigKey: string, connectionId: string, sync: string | { name: string; variant?: string }, options?: unknown): Promise<void>;
  /** Starts the schedules of syncs; of this connection unless another is named. */
  startSync(providerConfigKey: string, syncs: Array<string | { name: string; variant?: string }>, connectionId?: string): Promise<void>;

  /** A lock of the tenant's, held by this execution until its end at the latest. Resolves to whether it was taken. */
  tryAcquireLock(lock: { key: string; ttlMs: number }): Promise<boolean>;
  /** Gives a lock back. Resolves to whether this execution held it. */
  releaseLock(lock: { key: string }): Promise<boolean>;
  /** Gives back all that this execution holds. */
  releaseAllLocks(): Promise<void>;

  /** @deprecated Use getMetadata. */
  getFieldMapping(): Promise<any>;
  /** @deprecated Use updateMetadata. */
  setFieldMapping(fieldMapping: Record<string, string>): Promise<any>;
  /** @deprecated What the declaration says under `attributes`. */
  getFlowAttributes<T = any>(): T | null;
}

type RecordOf<M extends Models, Name extends keyof M> = Infer<M[Name]>;

/** What a sync's handler is given. */
export interface SyncContext<M extends Models = Models, Metadata = any, Checkpoint = any>
  extends ActionContext<Metadata, Checkpoint> {
  /** Saves records: new ones are added, known ones are replaced. Ids must be there and unique in the batch. */
  batchSave<Name extends keyof M & string>(records: Array<RecordOf<M, Name>>, model: Name): Promise<boolean>;
  /** Merges into known records, deeply. */
  batchUpdate<Name extends keyof M & string>(
    records: Array<Partial<RecordOf<M, Name>> & { id: string }>,
    model: Name,
  ): Promise<boolean>;
  /** Marks records as deleted. */
  batchDelete<Name extends keyof M & string>(
    records: Array<Partial<RecordOf<M, Name>> & { id: string }>,
    model: Name,
  ): Promise<boolean>;
  /** @deprecated Use batchSave. */
  batchSend<Name extends keyof M & string>(records: Array<RecordOf<M, Name>>, model: Name): Promise<boolean>;
  /** Saved records by id. */
  getRecordsByIds<Id extends string | number, T = any>(ids: Id[], model: keyof M & string): Promise<Map<Id, T>>;
  /** All saved records of a model. */
  listRecords<Name extends keyof M & string>(
    model: Name,
    options?: { cursor?: string },
  ): AsyncGenerator<RecordOf<M, Name>, void, void>;
  /** From here on, what is not saved again is marked as deleted by `trackDeletesEnd`. */
  trackDeletesStart(model: keyof M & string): Promise<void>;
  /** Marks as deleted what was not saved since `trackDeletesStart`, also of the attempts before; says which. */
  trackDeletesEnd(model: keyof M & string): Promise<{ deletedKeys: string[] }>;
  /** Marks as deleted what this execution did not save. */
  deleteRecordsFromPreviousExecutions(model: keyof M & string): Promise<{ deletedKeys: string[] }>;
  /** How two writers of one record get along. Once per model, before its first batch. */
  setMergingStrategy(
    merging: { strategy: 'override' | 'ignore_if_modified_after' },
    model: keyof M & string,
  ): Promise<void>;
}

/** The names that existing functions know. */
export type NangoAction<Metadata = any, Checkpoint = any> = ActionContext<Metadata, Checkpoint>;
/** The names that existing functions know. */
export type NangoSync<M extends Models = any, Metadata = any, Checkpoint = any> = SyncContext<M, Metadata, Checkpoint>;
