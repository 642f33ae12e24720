import { type PreflightContext, type Problem, problemOf } from '../../../src/api.ts';
import { splitCounts } from '../../../src/data/known-counts.ts';
import { type DataParams, splitRequest } from '../../../src/data/split-request.ts';

/** Reads the split, unless that takes long, and reports what is wrong with it. */
export async function preflight(
  context: PreflightContext<DataParams>,
): Promise<readonly Problem[]> {
  const { params, assets } = context;
  const { name, disagreement } = params;
  if (disagreement !== null)
    return [{ path: ['data'], message: disagreement, hint: 'Give them once, as `data.classes`.' }];
  const request = splitRequest(params, assets, (kind, plugin) => context.plugin(kind, plugin));
  // Reading a corpus from a package takes seconds, and its labels are known.
  if (request === null || request.dataset.unordered || request.train?.dataset.unordered === true)
    return [];
  try {
    const { warnings } = await splitCounts(request);
    return warnings.map((warning) => ({ ...warning, warning: true }));
  } catch (error) {
    const { path = ['source'], split = name } = error as SplitError;
    return [problemOf(error, ['data', split, ...path])];
  }
}

/** What a fault of a split says about its place. */
type SplitError = Error & { path?: readonly string[]; split?: DataParams['name'] };
