/** The format of a stage's `metrics.json`: a flat object of finite numbers. */

export const METRICS = 'metrics.json';

export type MetricValues = { readonly [metric: string]: number };

/**
 * Returns the metrics, or the fault as a clause that follows "a metrics.json that".
 * JSON has no form for infinity, but 1e400 is read as infinite.
 */
export function parseMetrics(
  text: string,
): { readonly metrics: MetricValues } | { readonly fault: string } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    return { fault: `is not JSON: ${(error as Error).message}` };
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    return { fault: 'is not an object' };
  let infinite: string | null = null;
  for (const [metric, value] of Object.entries(parsed)) {
    if (typeof value !== 'number') {
      const shown = JSON.stringify(value).slice(0, 60);
      return {
        fault: `is not a flat object of numbers: ${JSON.stringify(metric)} is ${shown}`,
      };
    }
    if (!Number.isFinite(value)) infinite ??= metric;
  }
  return infinite === null
    ? { metrics: parsed as MetricValues }
    : {
        fault:
          `holds a number that is not finite: ${JSON.stringify(infinite)} ` +
          'is beyond what a double holds',
      };
}
