/** Templates: texts with places such as {prompt}, which a scorer fills in for each output. */
import type { OutputBytes, Problem, ScoredOutput } from '../../../src/api.ts';

const PLACE = /\{(prompt|output|answer|target)\}/g;

/**
 * Fills in the places of a template; a place whose text `output` lacks becomes empty. A text that
 * is filled in may itself have {prompt} etc., which is left as it is.
 */
export const fillTemplate = (template: string, output: ScoredOutput): string =>
  template.replaceAll(PLACE, (_, name: keyof OutputBytes) => output[name] ?? '');

/** Returns which of {answer} and {target} a template has. */
export const placesIn = (template: string): ('answer' | 'target')[] =>
  (['answer', 'target'] as const).filter((name) => template.includes(`{${name}}`));

/**
 * Returns how many bytes a template has in all if it is filled in for each of `outputs` outputs.
 * @param bytes for each place, the bytes of the texts that are filled in there, over all outputs
 */
export function filledBytes(template: string, outputs: number, bytes: OutputBytes): number {
  let sum = 0;
  for (const [i, part] of template.split(PLACE).entries())
    // The parts are, in turn, a text and the name of the place after it.
    sum += i % 2 === 0 ? outputs * Buffer.byteLength(part) : bytes[part as keyof OutputBytes];
  return sum;
}

/**
 * Returns a fault if the template has no {output}, so that the judge would not see the output, or
 * if it has {target} and there is no target.
 */
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
