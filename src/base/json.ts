export type Json =
  null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };
/** A JSON Schema (draft 7) with `description` and `default` on every field. */
export type JsonSchema = { readonly [key: string]: unknown };

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };
/** `sha256:` and 64 hex digits. */
export type Digest = Branded<'Digest'>;

/** The tensor backends. The default is the first that is available, never `torch`. */
export type BackendName = 'tensorflow' | 'wasm' | 'cpu' | 'torch';
