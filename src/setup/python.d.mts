/** Returns the path of the Python of `test/peers`. Throws an Error that says what is missing. */
export function peersPython(
  project: string,
  env?: Readonly<Record<string, string | undefined>>,
): Promise<string>;
