/**
 * The network that a training trains: the network of its adapter, or the one that an attack that
 * changes training makes from it.
 */
import type { Network, NetworkOptions, Tensors } from '../models/network.ts';
import { openNetwork } from '../models/network.ts';
import { trainTokenRows } from '../models/token-rows.ts';
import type { TrainingChange } from './attack-training.ts';
import { saveTrained } from './save.ts';
import type { TrainSettings } from './settings.ts';
import { disposeAll } from './trained-values.ts';

export interface Trainee {
  /** The network that the loop trains. */
  readonly network: Network;
  /** Settings of the loop that follow from the attack. */
  readonly rules: Pick<TrainSettings, 'project' | 'objective' | 'wholeTable'>;
  /** `saveTrained` for the whole model. */
  readonly save: (
    trained: Tensors | null,
    outDir: string,
    modelDir: string,
    classes: readonly string[],
    base?: string,
  ) => Promise<void>;
}

/**
 * Throws UserFault as `openNetwork` does. @param change null where no attack changes the training
 */
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
