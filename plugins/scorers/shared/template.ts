/** Templates: texts with places such as {prompt}, which scorers fill for each output. */
import type { OutputBytes, Problem, ScoredOutput } from '../../../src/api.ts';

const PLACE = /\{(prompt|output|answer|target)\}/g;

/** Fills the places of a template. A place within a filled-in text is not filled. */
export const fillTemplate = (template: string, output: ScoredOutput): string =>
  template.replaceAll(PLACE, (_, name: keyof OutputBytes) => output[name] ?? '');

/** Returns which of {answer} and {target} a template has. */
export const placesIn = (template: string): ('answer' | 'target')[] =>
  (['answer', 'target'] as const).filter((name) => template.includes(`{${name}}`));

/** Returns the bytes of the template, filled for each output; `bytes` are the sums by place. */
export function filledBytes(template: string, outputs: number, bytes: OutputBytes): number {
  let sum = 0;
  for (const [i, part] of template.split(PLACE).entries())
    // text, name of a place, text, …
    sum += i % 2 === 0 ? outputs * Buffer.byteLength(part) : bytes[part as keyof OutputBytes];
  return sum;
}

/** Returns a fault if a judge would not see the output, or there is no target to fill in. */
export function templateFaults(
  param: string,
  template: string,
  target: string | undefined,
): Problem[] {
  if (!template.includes('{output}'))
    return [
      {
        path: [param],
        message: `\`${param}\` has no {output}, and the judge would judge every output alike`,
        hint: 'It may have {prompt}, {output}, {answer} and {target}.',
      },
    ];
  return template.includes('{target}') && target === undefined
    ? [{ path: [param], message: `\`${param}\` has {target}, and no attack has a target` }]
    : [];
}
