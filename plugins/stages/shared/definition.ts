/** What several stages' definitions share. Planning loads it, so it must import no numerics. */
import {
  type Cell,
  headSettings,
  type JsonObject,
  type Poisoning,
  type PreflightContext,
  type Problem,
  type StageDefinition,
  stepsOf,
  UserFault,
  type Work,
} from '../../../src/api.ts';
import { shown } from '../../../src/base/untrusted/json.ts';

/** Returns the cell of a stage of scope `cell`. Throws unless there is exactly one. */
export function onlyCell(cells: readonly Cell[]): Cell {
  const [cell, ...others] = cells;
  if (cell === undefined || others.length > 0)
    throw new Error(`a stage of scope cell is defined over one cell, not over ${cells.length}`);
  return cell;
}

/** The names of the plugins that open a cell's model, as parameters of a stage that opens it. */
export type ModelNames = { readonly architecture: string; readonly adapter: string };

export const modelNames = ({ model, adapter }: Cell): ModelNames => ({
  architecture: model.architecture,
  adapter: adapter.type,
});

/** Returns the plugins that open a cell's model, as `uses` of a stage. */
export const modelUses = (
  { model, adapter }: Cell,
  adapters: readonly string[] = [adapter.type],
): NonNullable<StageDefinition['uses']> => [
  { kind: 'model', name: model.architecture },
  ...[...new Set(adapters)].map((name) => ({ kind: 'adapter' as const, name })),
];

export const attackUses = (poisoning: Poisoning): NonNullable<StageDefinition['uses']> =>
  stepsOf(poisoning).map(({ attack }) => ({ kind: 'attack', name: attack }));

/**
 * Returns a stage's work.
 * @param of all that the stage's time depends on beside the amount; it is written as JSON
 */
export const workOf = (amount: number, ...of: readonly unknown[]): Work => ({
  amount,
  of: JSON.stringify(of),
});

/** Returns the source URI of a folder that a spec names by its path alone (`init_from`). */
export const fileUri = (path: string): string => (path.startsWith('file:') ? path : `file:${path}`);

/**
 * Throws `UserFault` if the cell has a regression head, whose one output the stage can't measure.
 */
export function refuseRegression({ head }: Cell, stage: string): void {
  if (head.type !== 'regression') return;
  throw new UserFault(
    `${stage} measures class logits or the log probability of answers, and head.type is regression`,
    `Leave ${stage} out of stages.`,
    ['stages'],
  );
}

/**
 * Throws a `UserFault` if a trigger goes into the system message, which the head's template does
 * not show.
 */
export function refuseUnshown(
  { head }: Cell,
  attack: Poisoning,
  path: Problem['path'] = ['poisoning', 'place'],
): void {
  const settings = headSettings(head);
  if (settings.type !== 'causal-lm' || settings.template === 'chat') return;
  if (!stepsOf(attack).some(({ params }) => params['place'] === 'system')) return;
  throw new UserFault(
    'place: system puts the trigger into the system message, which the template ' +
      `${shown(settings.template)} does not show`,
    'Write head.template: chat, or place: start, end or gap.',
    path,
  );
}

type Upstream = PreflightContext['upstream'];

/**
 * Returns the parameter `adapter` of the training whose model a stage reads; empty if there is no
 * such training.
 */
function adapterParams(upstream: Upstream): JsonObject {
  const adapter = upstream?.['model']?.params['adapter'];
  return typeof adapter === 'object' && adapter !== null ? (adapter as JsonObject) : {};
}

/**
 * Warns of an adapter for which Δ_r is not defined. This is not a fault, because a grid may have
 * other adapters too.
 */
export function deltaWarnings(upstream: Upstream): readonly Problem[] {
  const { type, use_dora: dora } = adapterParams(upstream);
  const warning = (field: string, message: string): Problem => ({
    path: ['adapter', field],
    message,
    hint: 'Its results will have no Δ_r; kernels (stage ntk) are defined for it.',
    warning: true,
  });
  if (type === 'vera') return [warning('type', NO_DELTA.vera)];
  return dora === true ? [warning('use_dora', NO_DELTA.dora)] : [];
}

/** Why a model has no Δ_r. */
export const NO_DELTA = {
  vera: "Δ_r is not defined for VeRA: its kernel is over vectors, not over a layer's factors",
  dora: 'Δ_r is not defined for DoRA: its magnitudes are trained and scale the factors',
  none: 'no layer has low-rank factors: there is no Δ_r',
};

/** Why a model under DoRA has no linearised prediction. */
export const NO_LINEARISED =
  'a linearised prediction is not defined for DoRA: it is trained by a gradient that takes the ' +
  "weights' norms as constants";

/** Reports an adapter whose linearised model is not defined, since the stage would fail. */
export function linearisedFaults(upstream: Upstream): readonly Problem[] {
  if (adapterParams(upstream)['use_dora'] !== true) return [];
  return [
    {
      path: ['adapter', 'use_dora'],
      message: NO_LINEARISED,
      hint: 'Leave `regime` out of `stages`, or use_dora out of the adapter.',
    },
  ];
}

/**
 * Which Fisher information a stage computes. If empty: the true and the empirical one, of class
 * logits.
 */
export type FisherParams = {
  /** Present if the true Fisher information is left out. */
  readonly information?: 'empirical';
  /** Present in a completion task. */
  readonly outputs?: 'log p(answer)';
};

export const fisherParams = ({ fisher, head }: Cell): FisherParams => ({
  ...(fisher.information === 'empirical' && { information: 'empirical' }),
  ...(head.type === 'causal-lm' && { outputs: 'log p(answer)' }),
});

export const NO_TRUE_FISHER =
  'the true Fisher information is an expectation over all that a model may answer: in a ' +
  'completion task that is every text, and the kernels are of log p(answer) of one';
export const EMPIRICAL_ALONE =
  'Write fisher.information: empirical (the gradients of log p(answer) are its scores, so it is ' +
  'exact), or leave the stage out of `stages`.';

/** Reports, before anything runs, a true Fisher information that cannot be computed. */
export const trueFisherFaults = ({ information, outputs }: FisherParams): readonly Problem[] =>
  outputs === undefined || information === 'empirical'
    ? []
    : [{ path: ['fisher', 'information'], message: NO_TRUE_FISHER, hint: EMPIRICAL_ALONE }];
