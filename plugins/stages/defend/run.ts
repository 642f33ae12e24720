import type { RunContext } from '../../../src/api.ts';
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
 * Writes the rows that the defence left, with the part of the poison's receipt that is about them,
 * so that a train stage reads them as a poisoned set. Writes also `defence.json`, the defence's own
 * receipt, and `scores.csv`.
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
    const given = await defenceContext(
      context,
      { ...params, classes },
      {
        ...(opened && { model: opened.asked }),
        ...(readsReceipt && { poisoned: new Set(receipt.rows.map(({ id }) => id)) }),
      },
    );
    const judge = await fitJudge(hook, name, given);
    const judgement = await judgeRows(name, judge, rows).finally(() => judge.close?.());
    checkJudgement(name, rows, judgement);
    // The defence is done. Only now is its judgement compared with what was poisoned.
    const kept = keptRows(name, judgement),
      dropped = rows.length - kept.length;
    await writeDataset(outDir, kept, classes);
    await writeJson(outDir, 'receipt.json', receiptOfKept(receipt, judgement.rows));
    const examples = judgedExamples(rows, receipt, judgement);
    const metrics = filterMetrics(rows, receipt, judgement, examples);
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
      counts: { rows: rows.length, kept: kept.length, dropped, cleaned: metrics.rows_cleaned },
      digests: { judged: rowsDigest(rows), kept: rowsDigest(kept) },
      dropped: rows.filter((_, i) => judgement.rows[i] === null).map(({ id }) => id),
    });
    await writeScores(outDir, examples.ids, examples);
    await writeMetrics(outDir, metrics);
    log(`${name}: ${dropped} of ${rows.length} rows dropped`);
    const gone = classes.filter((_, label) => kept.every((row) => row.label !== label));
    if (gone.length > 0)
      context.warn({
        path: ['defence', 'defence'],
        message: `the defence leaves no row of the class ${gone.join(', ')}`,
      });
  } finally {
    opened?.dispose();
  }
}

/**
 * Opens the model that was trained on the unfiltered rows. Null if the defence does not need it.
 */
async function openTrainedModel(context: Context): Promise<DefendedModel | null> {
  const { model } = context.params;
  if (model === undefined) return null;
  const parts = await modelParts({ ...context, params: model });
  return openDefended(context, parts, inputDir(context, 'model'), model);
}
