/**
 * Takes a value for a T: an object with only the fields that the test needs, or a descriptor of
 * particular parameters for one of any.
 */
export const standIn = <T extends object>(value: { readonly [field in keyof T]?: unknown }): T =>
  value as T;
