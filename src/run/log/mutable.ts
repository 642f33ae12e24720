/** A record whose fields may still be written, while it is put together. */
export type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
