/** A zod schema, or anything shaped like one. */
export interface Schema<Output = any, Input = any> {
  /** The type that it yields. */
  readonly _output: Output;
  /** The type that it takes. */
  readonly _input: Input;
  /** Checks a value. */
  safeParse(value: unknown): { success: boolean; data?: unknown; error?: unknown };
}

/** The type that a schema yields. */
export type Infer<S> = S extends { readonly _output: infer Output } ? Output : never;

/** Models of a sync: name → schema. Each has an `id` that is unique within the model. */
export type Models = Record<string, Schema<{ id: string } & Record<string, unknown>> | Schema>;

/** A checkpoint: flat, at most 16 fields, strings of at most 4,000 characters. */
export type CheckpointValue = string | number | boolean | Date | null | undefined;

/** Any JSON value. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
