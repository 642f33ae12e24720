/** A stage's `metrics.json`: a flat object of finite numbers, whoever wrote it. */

export const METRICS = 'metrics.json';

type ParsedMetrics =
  { readonly metrics: { readonly [metric: string]: number } } | { readonly fault: string };

/** `fault` goes on from "a metrics.json that". JSON has no word for infinity, but 1e400 reads as one. */
export function parseMetrics(text: string): ParsedMetrics {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    return { fault: `is no JSON: ${(error as Error).message}` };
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    return { fault: 'is no object' };
  const entries = Object.entries(parsed as { readonly [metric: string]: unknown });
  const odd = entries.find(([, value]) => typeof value !== 'number');
  if (odd !== undefined)
    return {
      fault: `is no flat object of numbers: ${JSON.stringify(odd[0])} is ${JSON.stringify(odd[1]).slice(0, 60)}`,
    };
  const infinite = entries.find(([, value]) => !Number.isFinite(value));
  if (infinite !== undefined)
    return {
      fault: `holds a number that is not finite: ${JSON.stringify(infinite[0])} is beyond what a double holds`,
    };
  return { metrics: parsed as { readonly [metric: string]: number } };
}
