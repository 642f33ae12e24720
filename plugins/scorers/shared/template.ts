/** Texts that scorers put a prompt and an output into. */
import type { OutputBytes, Problem, ScoredOutput } from '../../../src/api.ts';

const PLACE = /\{(prompt|output|answer|target)\}/g;

/** Fills the places of a template. Places that occur within the filled-in texts stay as text. */
export const fillTemplate = (template: string, output: ScoredOutput): string =>
  template.replaceAll(
    PLACE,
    (_, name: 'prompt' | 'output' | 'answer' | 'target') => output[name] ?? '',
  );

/** Returns which places a template has beside {prompt} and {output}. */
export const placesIn = (template: string): ('answer' | 'target')[] =>
  (['answer', 'target'] as const).filter((name) => template.includes(`{${name}}`));

/** Returns the bytes of a template that is filled for each of some outputs. */
export const filledBytes = (template: string, outputs: number, bytes: OutputBytes): number =>
  template
    .split(PLACE)
    .reduce(
      (sum, part, i) =>
        sum + (i % 2 === 0 ? outputs * Buffer.byteLength(part) : bytes[part as keyof OutputBytes]),
      0,
    );

/**
 * Returns a fault if a judge would not see the output, or is told a target that there is none of.
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
