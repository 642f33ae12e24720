/**
 * Trainings over one frozen base that take their steps together: one forward and one backward pass
 * over the batches of all. Each runs its own loop (loop.ts) and meets the others at each step, so
 * it may begin, end, save and fail by itself. Its results have the bits that they have alone.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { defined } from '../../base/defined.ts';
import { at } from '../../base/lookup.ts';
import { compiled } from '../../tensor/compiled/compiled.ts';
import { frugally } from '../../tensor/differentiable.ts';
import { hasFusedBf16 } from '../../tensor/fused.ts';
import { differentiate } from '../../tensor/tape.ts';
import { memberCrossEntropies } from '../models/loss.ts';
import type { Network } from '../models/network.ts';
import { isRegression, targetsOf } from '../models/targets.ts';
import { canPassTogether, outputsTogether } from '../models/together.ts';
import type { StepGradients } from './gradients.ts';
import { train } from './loop.ts';
import type { Meeting } from './pack-meeting.ts';
import type { LabelledRow, StepBatch, StepRecord, TrainSettings } from './settings.ts';
import { disposeAll } from './trained-values.ts';

/** A step that a training asks for. */
export interface WantedStep {
  readonly rows: readonly LabelledRow[];
  /** How many the rows have. */
  readonly tokens: number;
  /** The trained parameters by name. They are disposed of, and the map is emptied. */
  readonly trained: Map<string, Tensor>;
  /** Groups gradients for the optimiser, in new tensors. */
  readonly pack: (gradients: ReadonlyMap<string, Tensor>) => Map<string, Tensor>;
  /** Takes the step, given its gradients. */
  readonly finish: (found: StepGradients) => StepRecord;
}

/** A training's place among those that take their steps together. */
export interface Company {
  /** Takes a step when all others want one. Throws what `finish` throws. */
  step(
    wanted: WantedStep,
  ): Promise<Pick<StepBatch, 'packed' | 'seconds'> & { readonly record: StepRecord }>;
}

/** Whether a training with these settings may take its steps together with others. */
const sharesSteps = ({ network, settings }: Member): boolean =>
  ((settings.precision ?? 'float32') === 'float32' || hasFusedBf16()) &&
  settings.dropout === 0 &&
  (settings.accumulate ?? 1) === 1 &&
  settings.objective === undefined &&
  settings.project === undefined &&
  !isRegression(network);

interface Waiting {
  readonly member: Member;
  readonly wanted: WantedStep;
  readonly resolve: (taken: Awaited<ReturnType<Company['step']>>) => void;
  readonly reject: (error: unknown) => void;
}

interface Member {
  readonly network: Network;
  readonly settings: TrainSettings;
  /** The tokens of a step, on average. */
  readonly tokens: number;
}

/**
 * The most tokens that a common step has, on average. What a step does for each operation weighs
 * less the more tokens there are: four trainings of 200 tokens a step took 7 to 12% less time
 * together, and of 800 tokens none.
 */
const MOST_TOKENS = 2048;

/** The tokens of a step, on average over the rows. */
const stepTokens = (rows: readonly LabelledRow[], { batchSize }: TrainSettings): number =>
  (batchSize * rows.reduce((sum, { ids }) => sum + ids.length, 0)) / Math.max(1, rows.length);

/** Members that train together, in one precision. */
class Party {
  readonly #members = new Set<Member>();
  #waiting: Waiting[] = [];

  /** @param isOpen whether more members may join, for whom a step waits */
  constructor(
    private readonly first: Member,
    private readonly isOpen: () => boolean,
  ) {}

  fits({ network, settings, tokens }: Member): boolean {
    return (
      [...this.#members].reduce((sum, member) => sum + member.tokens, tokens) <= MOST_TOKENS &&
      settings.precision === this.first.settings.precision &&
      canPassTogether(this.first.network, network)
    );
  }

  join(member: Member): Company {
    this.#members.add(member);
    return {
      step: (wanted) =>
        new Promise((resolve, reject) => {
          this.#waiting.push({ member, wanted, resolve, reject });
          this.look();
        }),
    };
  }

  leave(member: Member): void {
    this.#members.delete(member);
    this.look();
  }

  /** Takes a step if all members want one. */
  look(): void {
    if (this.isOpen() || this.#waiting.length === 0) return;
    if (this.#waiting.length < this.#members.size) return;
    // In one order, so that each step has the operations of the one before it.
    const order = [...this.#members],
      waiting = this.#waiting.sort((a, b) => order.indexOf(a.member) - order.indexOf(b.member));
    this.#waiting = [];
    takeStep(waiting);
  }
}

function takeStep(waiting: readonly Waiting[]): void {
  const began = performance.now(),
    tokens = waiting.reduce((sum, { wanted }) => sum + wanted.tokens, 0);
  const { settings } = at(waiting, 0).member;
  try {
    const outcomes = compiled(() => {
      const found = gradientsOf(waiting);
      return waiting.map(({ wanted }, k) => {
        try {
          return { record: wanted.finish(at(found, k)) };
        } catch (error) {
          return { error };
        }
      });
    }, settings.precision);
    const seconds = (performance.now() - began) / 1000;
    waiting.forEach(({ wanted, resolve, reject }, k) => {
      const outcome = at(outcomes, k);
      if ('error' in outcome) reject(outcome.error);
      else
        resolve({
          record: outcome.record,
          packed: waiting.length,
          seconds: (seconds * wanted.tokens) / tokens,
        });
    });
  } catch (error) {
    // It belongs to no member, such as a lack of memory.
    for (const { reject } of waiting) reject(error);
  }
}

/** The loss and the gradients of each. */
function gradientsOf(waiting: readonly Waiting[]): StepGradients[] {
  const members = waiting.map(({ member: { network }, wanted: { rows, trained } }) => ({
    network,
    rows,
    trained,
  }));
  const targets = waiting.map(({ member: { network, settings }, wanted: { rows } }) => ({
    labels: targetsOf(network.architecture.head, rows),
    ...defined({ classWeights: settings.classWeights }),
  }));
  const kept: Tensor[] = [];
  const { value: losses, grads } = frugally(() =>
    differentiate(
      () =>
        memberCrossEntropies(
          outputsTogether(members, (tensor) => kept.push(tensor)),
          targets,
        ),
      members.flatMap(({ trained }) => [...trained.values()]),
    ),
  );
  disposeAll(kept);
  let next = 0;
  const packed = members.map(({ trained }, k) => {
    const gradients = new Map(
      [...trained].map(([name, { shape }]) => [name, grads[next++] ?? tf.zeros(shape)]),
    );
    disposeAll(trained);
    trained.clear();
    const own = at(waiting, k).wanted.pack(gradients);
    disposeAll(gradients);
    return own;
  });
  const numbers = losses.dataSync();
  losses.dispose();
  return packed.map((own, k) => ({ loss: at(numbers, k), packed: own }));
}

/** @param expected the number of trainings, each of which either trains or leaves */
export function openGathering(expected: number): Meeting {
  const parties: Party[] = [];
  let open = expected,
    /** The last of those that train alone, one after another. */
    alone: Promise<unknown> = Promise.resolve();
  const come = (): void => {
    open--;
    if (open === 0) for (const party of parties) party.look();
  };
  /** The party of a member; null where it trains alone. */
  const partyOf = (member: Member): Party | null => {
    if (!sharesSteps(member)) return null;
    const known = parties.find((party) => party.fits(member));
    if (known !== undefined) return known;
    const party = new Party(member, () => open > 0);
    if (2 * member.tokens > MOST_TOKENS || !party.fits(member)) return null;
    parties.push(party);
    return party;
  };
  return {
    train: async (_seat, network, rows, settings, hooks) => {
      const member = { network, settings, tokens: stepTokens(rows, settings) },
        party = partyOf(member);
      if (party === null) {
        come();
        const own = alone.then(() => {
          hooks?.signal?.throwIfAborted();
          return train(network, rows, settings, hooks);
        });
        alone = own.catch(() => undefined);
        return own;
      }
      const company = party.join(member);
      come();
      try {
        return await train(network, rows, settings, { ...hooks, company });
      } finally {
        party.leave(member);
      }
    },
    leave: come,
  };
}
