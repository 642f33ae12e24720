import type { Row, RunContext } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { readDatasetInfo, readRows, writeDataset } from '../../../src/data/rows-file.ts';
import { checkJudgement, keptRows, receiptOfKept } from '../../../src/poisoning/kept.ts';
import { readReceipt, rowsDigest } from '../../../src/poisoning/receipt.ts';
import { inputDir, writeJson, writeMetrics } from '../shared/files.ts';
import { modelParts } from '../shared/trained-model.ts';
import {
  defenceContext,
  defenceDescriptor,
  type DefendedModel,
  fitJudge,
  judgeRows,
  openDefended,
} from './context.ts';
import type { Params } from './index.ts';
import { filterMetrics, judgedExamples, scoreForJson, writeScores } from './outcome.ts';

type Context = RunContext<Params>;

/**
 * Writes the rows that the defence left with their part of the poison's receipt, so that a train
 * stage reads them as it reads a poisoned set; `defence.json`, the defence's own receipt;
 * `scores.csv` and `metrics.json`, which compare what the defence suspected with what was poisoned.
 */
export async function run(context: Context): Promise<void> {
  const { params, outDir, log } = context;
  const { defence: name } = params.defence;
  const dir = inputDir(context, 'data');
  const { classes } = await readDatasetInfo(dir);
  const rows = await readRows(dir);
  const receipt = await readReceipt(dir, rows);
  const hook = defenceDescriptor(context, params.defence).rows;
  const readsReceipt = hook?.needs.includes('receipt') === true;
  const opened = await openTrainedModel(context);
  try {
    const poisoned = readsReceipt ? new Set(receipt.rows.map(({ id }) => id)) : undefined;
    const needed = defined({ model: opened?.asked, poisoned });
    const given = await defenceContext(context, { ...params, classes }, needed);
    const judge = await fitJudge(hook, name, given);
    const judgement = await judgeRows(name, judge, rows).finally(() => judge.close?.());
    checkJudgement(name, rows, judgement);
    // The defence is done. Only now is its judgement compared with what was poisoned.
    const kept = keptRows(name, judgement);
    await writeDataset(outDir, kept, classes);
    await writeJson(outDir, 'receipt.json', receiptOfKept(receipt, judgement.rows));
    const metrics = filterMetrics(rows, receipt, judgement);
    await writeJson(outDir, 'defence.json', {
      format: 1,
      defence: name,
      acts: 'rows',
      params: given.params,
      seed: params.seed,
      reads_receipt: readsReceipt,
      fitted_on: { clean_rows: given.clean.length, model: opened !== null },
      threshold: scoreForJson(judge.threshold),
      ...judge.record,
      counts: {
        rows: rows.length,
        kept: kept.length,
        dropped: rows.length - kept.length,
        cleaned: metrics.rows_cleaned,
      },
      digests: { judged: rowsDigest(rows), kept: rowsDigest(kept) },
      dropped: rows.filter((_, i) => judgement.rows[i] === null).map(({ id }) => id),
    });
    const examples = judgedExamples(rows, receipt, judgement);
    await writeScores(outDir, examples.ids, examples);
    await writeMetrics(outDir, metrics);
    log(`${name}: ${rows.length - kept.length} of ${rows.length} rows dropped`);
    warnOfEmptyClasses(context, classes, kept);
  } finally {
    opened?.dispose();
  }
}

/** Opens the model that was trained on these very rows. Null if the defence does not ask it. */
async function openTrainedModel(context: Context): Promise<DefendedModel | null> {
  const { model } = context.params;
  if (model === undefined) return null;
  const parts = await modelParts({ ...context, params: model });
  return openDefended(context, parts, inputDir(context, 'model'), model);
}

function warnOfEmptyClasses(
  { warn }: Context,
  classes: readonly string[],
  kept: readonly Row[],
): void {
  const gone = classes.filter((_, label) => kept.every((row) => row.label !== label));
  if (gone.length > 0)
    warn({
      path: ['defence', 'defence'],
      message: `the defence leaves no row of the class ${gone.join(', ')}`,
    });
}
