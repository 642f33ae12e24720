/**
 * Checks what a stage's `define` and `resources` return. Anyone can write a plugin, so neither is
 * trusted.
 */

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isUri = (uri: unknown): boolean => typeof uri === 'string';

const isUse = (use: unknown): boolean =>
  isRecord(use) && typeof use['kind'] === 'string' && typeof use['name'] === 'string';

const isNumber = (number: unknown): number is number =>
  typeof number === 'number' && Number.isFinite(number);

/**
 * Returns what is wrong with the shape of a definition, worded to follow "the plugin …", or null if
 * nothing is wrong.
 */
export function definitionFault(value: unknown): string | null {
  if (!isRecord(value)) {
    const found = value === null ? 'null' : Array.isArray(value) ? 'a list' : typeof value;
    return `returned ${found}, not { params, inputs }`;
  }
  const { params, inputs, assets, uses } = value;
  if (!isRecord(params)) return 'returned no `params` object';
  if (!isRecord(inputs)) return 'returned no `inputs` object';
  for (const name of Object.keys(inputs)) {
    const request = inputs[name];
    if (!isRecord(request) || typeof request['kind'] !== 'string' || !isRecord(request['cell']))
      return `returned an input "${name}" without \`kind\` and \`cell\``;
  }
  if (assets !== undefined && !(isRecord(assets) && Object.values(assets).every(isUri)))
    return 'returned `assets` that are not source URIs';
  return uses === undefined || (Array.isArray(uses) && uses.every(isUse))
    ? null
    : 'returned `uses` that are not { kind, name }';
}

/**
 * Returns what is wrong with the resources, worded to follow "the plugin …", or null if nothing is
 * wrong. A scheduler that waited for NaN cores would wait forever.
 */
export function resourcesFault(value: unknown): string | null {
  const { cpu, memoryMB, gpu } = isRecord(value) ? value : {};
  const fault = (what: string): string =>
    `returned resources ${what}: ${(JSON.stringify(value) as string | undefined) ?? typeof value}`;
  if (!isNumber(cpu) || cpu <= 0) return fault('without a positive `cpu`');
  if (memoryMB !== undefined && (!isNumber(memoryMB) || memoryMB < 0))
    return fault('whose `memoryMB` is not a number of megabytes');
  return gpu === undefined || (Number.isInteger(gpu) && Number(gpu) >= 0)
    ? null
    : fault('whose `gpu` is not a whole number');
}
