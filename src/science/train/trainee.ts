/** The network of a training: under its adapter, or with what an attack that touches training leaves to train. */
import type { Network, NetworkOptions, Tensors } from '../nn/network.ts';
import { openNetwork } from '../nn/network.ts';
import { trainTokenRows } from '../nn/token-rows.ts';
import type { TrainingChange } from './attack-training.ts';
import { saveTrained } from './save.ts';
import type { TrainSettings } from './settings.ts';
import { disposeAll } from './trained-values.ts';

export interface Trainee {
  /** What the loop trains. */
  readonly network: Network;
  /** What the loop is told beside its settings. */
  readonly rules: Pick<TrainSettings, 'project' | 'objective' | 'wholeTable'>;
  /** As saveTrained, of the whole model. */
  readonly save: (
    trained: Tensors | null,
    outDir: string,
    modelDir: string,
    classes: readonly string[],
    base?: string,
  ) => Promise<void>;
}

/** @param change null where the adapter alone says what is trained. @throws as openNetwork */
export async function openTrainee(
  options: NetworkOptions,
  change: TrainingChange | null,
): Promise<Trainee> {
  if (change === null || 'objective' in change) {
    const network = await openNetwork(options);
    const rules =
      change === null
        ? {}
        : {
            objective: change.objective,
            ...(change.opaqueTokens === true ? {} : { wholeTable: true as const }),
          };
    return { network, rules, save: (...what) => saveTrained(network, ...what) };
  }
  const { tokenRows, keepNorms } = change.trains;
  const opened = await openNetwork({ ...options, evaluation: true });
  const { network, whole, atFirstNorms } = trainTokenRows(opened, Object.values(tokenRows));
  return {
    network,
    rules: keepNorms ? { project: atFirstNorms } : {},
    save: async (trained, ...where) => {
      const all = trained === null ? null : whole(trained);
      try {
        await saveTrained(opened, all, ...where);
      } finally {
        disposeAll(all ?? []);
      }
    },
  };
}
