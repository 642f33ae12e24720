import { type PreflightContext, type Problem, problemOf } from '../../../src/api.ts';
import { isCompletion } from '../../../src/data/columns.ts';
import { type SplitCounts, splitCounts } from '../../../src/data/split-counts.ts';
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
    return labelWarnings(params, await splitCounts(request));
  } catch (error) {
    const { path = ['source'], split = name } = error as SplitError;
    return [problemOf(error, ['data', split, ...path])];
  }
}

/** So few classes are no sign of a wrong column, however few rows a file has. */
const FEW_CLASSES = 20;

/**
 * Returns a warning if the classes are the labels of the training file, and there are more than
 * half as many as rows in it.
 */
function labelWarnings(
  { name, split, classes: given }: DataParams,
  { classes, rowsInSource = 0 }: SplitCounts,
): Problem[] {
  if (name !== 'train' || given !== null || isCompletion(split.columns)) return [];
  if (classes.length <= FEW_CLASSES || 2 * classes.length <= rowsInSource) return [];
  const { label } = split.columns;
  return [
    {
      path: ['data', name, 'columns', 'label'],
      message:
        `the column ${JSON.stringify(label)} has ${classes.length} different values in ` +
        `${rowsInSource} rows, and each becomes a class`,
      hint: "Is this the label's column?",
      warning: true,
    },
  ];
}

/** What a fault of a split says about its place. */
type SplitError = Error & { path?: readonly string[]; split?: DataParams['name'] };
