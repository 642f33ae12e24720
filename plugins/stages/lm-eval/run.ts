import type { RunContext } from '../../../src/api.ts';
import { firstNames } from '../../../src/data/names.ts';
import { openTorchModel, readTorchStart } from '../../../src/science/torch/model.ts';
import { readTrained } from '../../../src/science/training/adapted-model.ts';
import { inputDir, type Metrics, prefixed, writeJson, writeMetrics } from '../shared/files.ts';
import { modelParts } from '../shared/trained-model.ts';
import type { Params } from './index.ts';

/**
 * Writes the metrics as `TASK.METRIC`, and `lm-eval.json`: each task's numbers of rows and shots,
 * its version, and what was read that no digest covers.
 */
export async function run(context: RunContext<Params>): Promise<void> {
  const { params, assets, outDir, signal, warn, log } = context;
  const { tasks, num_fewshot, limit, chat_template, batch_size } = params;
  const parts = await modelParts(context);
  const { network } = await readTrained({ ...parts, trainDir: inputDir(context, 'model') });
  const model = await openTorchModel(await readTorchStart(network));
  try {
    const asked = {
      ...{ model: model.id, tokenizer: parts.model.path, include: assets['include']?.path ?? null },
      ...{ tasks, num_fewshot, limit, chat_template, batch_size },
    };
    const { metrics, ...found } = await model.worker.ask('harness', asked, signal);
    if (found.outside.length > 0)
      warn({
        path: ['evaluate', 'lm_eval', 'tasks'],
        message:
          `lm-eval read what no key covers: ${firstNames(found.outside)}. If it changes, this ` +
          'number stays',
        hint: 'Keep the rows as files in the folder that evaluate.lm_eval.include names.',
      });
    const all = Object.entries(metrics).map(([task, own]) => {
      const { [task]: examples } = found.examples;
      return prefixed({ ...own, ...(examples && { examples }) }, `${task}.`);
    });
    const numbers = Object.assign({}, ...all) as Metrics;
    const { lm_eval: release } = model.worker.facts;
    await writeJson(outDir, 'lm-eval.json', { format: 1, lm_eval: release, ...found });
    await writeMetrics(outDir, numbers);
    log(`${Object.keys(numbers).length} numbers of ${firstNames(tasks)}, lm-eval ${release ?? ''}`);
  } finally {
    model.dispose();
  }
}
