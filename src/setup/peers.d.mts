/** The Python of `test/peers`; throws an Error that says what is missing. */
export function peersPython(
  project: string,
  env?: Readonly<Record<string, string | undefined>>,
): Promise<string>;
