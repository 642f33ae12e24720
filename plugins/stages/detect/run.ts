import { type RunContext, UserFault } from '../../../src/api.ts';
import { callReadOnly } from '../../../src/poisoning/read-only.ts';
import type { ModelDetector } from '../../../src/science/measures/weights/edit.ts';
import { defenceDescriptor, withWeights } from '../defend/context.ts';
import type { ModelParams } from '../shared/defended.ts';
import { writeJson, writeMetrics } from '../shared/files.ts';

/**
 * Lets the defence judge the trained model, and writes `detection.json` and `metrics.json`. Throws
 * `UserFault` if the score or the threshold is not finite.
 */
export async function run(context: RunContext<ModelParams>): Promise<void> {
  const { params, outDir, log } = context;
  const { defence } = params;
  await withWeights(context, async (given) => {
    const detector = (await defenceDescriptor(context, defence).detection?.load()) as
      ModelDetector | undefined;
    if (detector === undefined) throw new Error(`"${defence.defence}" judges no model`);
    const { score, threshold, record } = await callReadOnly(
      defence.defence,
      () => detector.judge(given),
      'defence',
    );
    if (!Number.isFinite(score) || !Number.isFinite(threshold))
      throw new UserFault(
        `the defence "${defence.defence}" gave the model the score ${score}, and the threshold ` +
          String(threshold),
        'Both must be finite numbers.',
      );
    const suspected = score >= threshold;
    await writeJson(outDir, 'detection.json', {
      format: 1,
      defence: defence.defence,
      acts: 'detection',
      params: given.params,
      fitted_on: { clean_rows: given.clean.length },
      score,
      threshold,
      verdict: suspected ? 'backdoor' : 'clean',
      ...record,
    });
    await writeMetrics(outDir, {
      model_score: score,
      model_threshold: threshold,
      model_suspected: Number(suspected),
    });
    log(`${defence.defence}: ${score.toPrecision(4)}, ${suspected ? 'a backdoor' : 'clean'}`);
  });
}
