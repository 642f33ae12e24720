import type { PreflightContext, Problem } from '../../../src/api.ts';
import { knownCounts } from '../../../src/data/known-counts.ts';
import { totalRows } from '../../../src/poisoning/dose.ts';
import { notKeptReason } from '../../../src/science/training/checkpoints.ts';
import type { TrainParams } from '../../../src/science/training/settings.ts';
import { kernelRowsWarnings } from '../shared/kernel-rows.ts';
import type { Params } from './index.ts';

export async function preflight(context: PreflightContext<Params>): Promise<readonly Problem[]> {
  return [
    ...torchFaults(context),
    ...lowPrecisionFaults(context),
    ...stepFaults(context),
    ...(await rowsWarnings(context)),
    ...(await kernelRowsWarnings(context)),
  ];
}

function torchFaults({ backend, params }: PreflightContext<Params>): Problem[] {
  if (backend !== 'torch' || params.method !== 'projected') return [];
  const message = 'the backend torch computes kernels exactly, and estimates none by projection';
  const hint = 'Write ntk.method: auto, or run it on another backend: --backend tensorflow.';
  return [{ path: ['ntk', 'method'], message, hint }];
}

/** Reports a full kernel over weights that the model holds only quantised or in bfloat16. */
function lowPrecisionFaults({ params, upstream }: PreflightContext<Params>): Problem[] {
  const held = upstream?.['model']?.params['weights'];
  if (held === undefined || !params.kernels.includes('full')) return [];
  return [
    {
      path: ['ntk', 'kernels'],
      message:
        'K_FT is over all weights of the model, which are quantised or in bfloat16 here ' +
        '(model.quantize, model.dtype), and would be trained in float32',
      hint:
        'Write ntk.kernels: [lora], or leave out model.quantize, model.dtype and a defence that ' +
        'quantises.',
    },
  ];
}

/** Warns if the split has fewer rows than asked for; empty if their number is not known yet. */
async function rowsWarnings(context: PreflightContext<Params>): Promise<Problem[]> {
  const { params, upstream } = context;
  const data = upstream?.['rows'];
  const counts = data === undefined ? null : await knownCounts(context, data);
  const rows = counts === null ? Infinity : totalRows(counts);
  return rows < params.rows ? [{ ...fewerRowsWarning(rows, params), warning: true }] : [];
}

/** Returns the warning of a split with fewer rows than asked for. The stage itself gives it too. */
export const fewerRowsWarning = (rows: number, { rows: asked }: Pick<Params, 'rows'>) => ({
  path: ['ntk', 'rows'],
  message: `the kernel has ${rows} rows: ntk.rows is ${asked}, its split has fewer`,
});

/**
 * Reports, before the training runs, a step whose model the training will not keep, as the
 * parameters of the train stage tell.
 */
function stepFaults({ params: { step }, upstream }: PreflightContext<Params>): Problem[] {
  const training = upstream?.['model']?.params['train'] as TrainParams | undefined;
  if (step === undefined || training === undefined) return [];
  const message = notKeptReason(step, training.checkpoints ?? 0, training.steps ?? null);
  if (message === null) return [];
  const hint = 'Write the step into train.checkpoints, or leave it out of ntk.at.';
  return [{ path: ['ntk', 'at'], message, hint }];
}
