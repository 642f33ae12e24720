/** The start of a command that drops the capabilities by which root may read and write anywhere. */
export const UNPRIVILEGED: readonly string[] =
  process.getuid?.() === 0
    ? ['setpriv', '--inh-caps=-all', '--bounding-set=-dac_override,-dac_read_search', '--']
    : [];
