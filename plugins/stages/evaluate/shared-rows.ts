/** Warns where rows that are evaluated are training rows too. */
import type { PreflightContext, Problem, UpstreamStage } from '../../../src/api.ts';
import { ifFetched } from '../../../src/data/if-fetched.ts';
import { type DataParams, ORDERED_BY, type SplitParams } from '../../../src/data/split-request.ts';

/**
 * Returns a warning if both splits are certain to take some of the same rows of one source. Rows
 * that stand in two sources, or that one source has twice, are not looked for.
 */
export function sharedRows({ upstream }: Pick<PreflightContext, 'upstream'>): Problem[] {
  const rows = upstream?.['validation'],
    train = trainingRows(upstream?.['model']);
  if (rows === undefined || train === null) return [];
  const source = ifFetched(() => rows.assets['data']),
    other = ifFetched(() => train.assets['data']);
  if (!source || source.digest !== other?.digest) return [];
  const { name, split } = rows.params as DataParams;
  if (!overlap((train.params as DataParams).split, split)) return [];
  return [
    {
      path: ['data', name],
      message:
        `data.train and data.${name} take the same rows of ${source.uri}: ` +
        'what is measured on rows that were trained on says little of others',
      hint: 'Give each split its own file, its own rows by offset and limit, or a hold_out.',
      warning: true,
    },
  ];
}

/** Returns the data stage of a training's rows, which attacks and defences stand before. */
function trainingRows(model: UpstreamStage | undefined): UpstreamStage | null {
  for (let stage = model; stage !== undefined; stage = stage.upstream?.['data'])
    if (stage.params['name'] === 'train' && stage.params['split'] !== undefined) return stage;
  return null;
}

function overlap(a: SplitParams, b: SplitParams): boolean {
  // With hold_out, the data stage makes sure that the two are apart.
  if (a.hold_out !== undefined || b.hold_out !== undefined) return false;
  const isWhole = ({ offset, limit, sample, balance }: SplitParams): boolean =>
    offset === 0 && limit === undefined && sample === undefined && !balance;
  if (isWhole(a) || isWhole(b)) return true;
  const alike = ORDERED_BY.every((field) => JSON.stringify(a[field]) === JSON.stringify(b[field]));
  const end = ({ offset, limit = Infinity }: SplitParams): number => offset + limit;
  return alike && a.offset < end(b) && b.offset < end(a);
}
