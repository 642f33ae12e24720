/** What a stage plugin's `define` returned, checked: a plugin is other people's code. */

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Null when the shape is right, else what is wrong with it. */
export function definitionFault(value: unknown): string | null {
  if (!isRecord(value))
    return `returned ${value === null ? 'null' : Array.isArray(value) ? 'a list' : typeof value}, not { params, inputs }`;
  if (!isRecord(value['params'])) return 'returned no `params` object';
  if (!isRecord(value['inputs'])) return 'returned no `inputs` object';
  for (const [name, request] of Object.entries(value['inputs'])) {
    if (!isRecord(request) || typeof request['kind'] !== 'string' || !isRecord(request['cell']))
      return `returned an input "${name}" without \`kind\` and \`cell\``;
  }
  const { assets, uses } = value;
  if (
    assets !== undefined &&
    !(isRecord(assets) && Object.values(assets).every((uri) => typeof uri === 'string'))
  )
    return 'returned `assets` that are not source URIs';
  if (
    uses !== undefined &&
    !(
      Array.isArray(uses) &&
      uses.every(
        (use) =>
          isRecord(use) && typeof use['kind'] === 'string' && typeof use['name'] === 'string',
      )
    )
  ) {
    return 'returned `uses` that are not { kind, name }';
  }
  return null;
}

/** Null when `resources` are usable: a scheduler that waits for NaN cores waits for ever. */
export function resourcesFault(value: unknown): string | null {
  const { cpu, memoryMB, gpu } = isRecord(value) ? value : {};
  const shown = (): string => JSON.stringify(value) ?? typeof value;
  if (!(typeof cpu === 'number' && Number.isFinite(cpu) && cpu > 0))
    return `returned resources without a positive \`cpu\`: ${shown()}`;
  if (
    memoryMB !== undefined &&
    !(typeof memoryMB === 'number' && Number.isFinite(memoryMB) && memoryMB >= 0)
  )
    return `returned resources whose \`memoryMB\` is no number of megabytes: ${shown()}`;
  return gpu === undefined || (Number.isInteger(gpu) && (gpu as number) >= 0)
    ? null
    : `returned resources whose \`gpu\` is no whole number: ${shown()}`;
}
