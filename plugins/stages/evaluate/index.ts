import {
  type Cell,
  type CellSplit,
  type DefineRequest,
  defineStage,
  type JsonObject,
  type Poisoning,
  type RunContext,
  type StageDefinition,
  UserFault,
  withoutOrder,
} from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { cellSplit, isTask } from '../data/splits.ts';
import { defenceOf, type DefenceParams, defenceParts, judgedModel } from '../shared/defended.ts';
import {
  attackUses,
  type ModelNames,
  modelNames,
  modelUses,
  onlyCell,
  refuseUnshown,
  workOf,
} from '../shared/definition.ts';
import { prefixed } from '../shared/files.ts';
import { knownRows } from '../shared/known-rows.ts';
import { filesApart, scorerPrefix, triggerAssets } from '../shared/program-files.ts';
import {
  evaluateInputs,
  type EvaluateRequest,
  readRequest,
  type Split,
  type TaskSplit,
  TEST,
} from './inputs.ts';
import { nameOf, type ScorerSettings, scorersOfCell } from './scoring.ts';

export type Params = ModelNames & {
  readonly batch_size: number;
  readonly max_length: number;
  /** Whether `max_length` comes from `train.max_length`, whose faults the train stage reports. */
  readonly inherited: boolean;
  /**
   * The attack whose trigger is evaluated as well: `attack` and its parameters. Null if no trigger
   * is.
   */
  readonly trigger: Poisoning | null;
  /** Set if rows of the target class are shown with the trigger too. */
  readonly trigger_rows?: 'all';
  /**
   * The seed of what is drawn: by the trigger, by sampling, and by the defence. Null if there is
   * none of these.
   */
  readonly seed: number | null;
  /** How answers are written and scored. Absent unless the head is `causal-lm`. */
  readonly completion?: Completion;
  /** The defence, if it rejects or cleans what the model is asked. */
  readonly defence?: DefenceParams;
  /**
   * The split, if its rows are those of one of `data.tasks`. Absent for validation and test rows.
   */
  readonly split?: TaskSplit;
  /** The named data sets among the evaluated ones that have metrics of their own. */
  readonly tasks?: readonly NamedTask[];
};

export type Context = RunContext<Params>;

/** A named data set, and the metrics by which it is scored, the main one first. */
type NamedTask = { readonly dataset: string; readonly metrics: readonly string[] };

export type Completion = {
  readonly max_new_tokens: number;
  /** Absent if the likeliest token is taken. */
  readonly sampling?: Readonly<Record<'temperature' | 'top_p' | 'top_k', number>>;
  /**
   * The scorer of the backdoor's success. Absent without a trigger, and if the scorer compares
   * rewards but the evaluated model has none.
   */
  readonly scorer?: ScorerSettings;
  /** The scorers besides `scorer`. Absent without a trigger, or if there are no others. */
  readonly scorers?: readonly ScorerSettings[];
  /** Set if PyTorch's process computes one of the scorers, whichever backend trained. */
  readonly torch?: true;
  /** Present if a training by DPO gives the rows' answers rewards. */
  readonly rewards?: { readonly beta: number };
};

/**
 * Returns how a cell's answers are written and scored, and for its scorers the files, the plugins
 * (`uses`) and the limits, which are in no key. No `completion` for a classifier or a regression
 * head.
 * @throws UserFault if a scorer reads rewards though no training gives any
 */
function completionParts(
  { head, evaluate }: Cell,
  { split, trigger, isOwn, preferences }: EvaluateRequest,
  plugin: DefineRequest['plugin'],
): { readonly completion?: Completion } & Pick<StageDefinition, 'assets' | 'limits' | 'uses'> {
  if (head.type !== 'causal-lm') return { assets: {} };
  const { max_new_tokens, sampling } = evaluate;
  const { find, main, further } = scorersOfCell(evaluate, trigger, plugin);
  const unrewarded = [main, ...further].filter(
    ({ settings }) => preferences === null && find(settings.scorer)?.rewards === true,
  );
  if (trigger !== null && isOwn && unrewarded[0])
    throw new UserFault(
      `the scorer "${unrewarded[0].settings.scorer}" compares the rewards of a preference pair's ` +
        'answers, which a training by DPO gives',
      `Write train.loss: dpo and name the columns chosen and rejected of data.${split}, or score ` +
        'what the model writes: evaluate.scorer: contains.',
      ['evaluate', 'scorer'],
    );
  const completion = {
    max_new_tokens,
    ...(sampling && { sampling: { temperature: 1, top_p: 1, top_k: 0, ...sampling } }),
    ...(preferences && { rewards: { beta: preferences.cell.train.dpo_beta } }),
  };
  if (trigger === null) return { completion, assets: {} };
  // `unrewarded` scorers are left out if another cell requests this evaluation, of its model before
  // DPO. In a cell's own evaluation they are a fault (above).
  const all = [main, ...further].filter((own) => !unrewarded.includes(own)),
    others = all.filter((own) => own !== main);
  const limits = defined(
    Object.fromEntries(all.map(({ settings, limits }) => [nameOf(settings), limits])),
  ) as JsonObject;
  return {
    completion: {
      ...completion,
      ...(all.includes(main) && { scorer: main.settings }),
      ...(others.length > 0 && { scorers: others.map(({ settings }) => settings) }),
      ...(all.some(({ settings }) => find(settings.scorer)?.torch === true) && { torch: true }),
    },
    assets: all.reduce((known, { files, settings }) => {
      const prefix = scorerPrefix(settings === main.settings ? undefined : nameOf(settings));
      return { ...known, ...prefixed(files, prefix) };
    }, {}),
    uses: all.map(({ settings: { scorer } }) => ({ kind: 'scorer' as const, name: scorer })),
    ...(Object.keys(limits).length > 0 && { limits: { scorers: limits } }),
  };
}

/**
 * Returns as `tasks` the named data sets whose rows `metrics.json` is about, each with the names of
 * its metrics there; {} if there are none.
 */
function namedTasks(
  { data }: Cell,
  split: Split,
  plugin: DefineRequest['plugin'],
): { readonly tasks?: readonly NamedTask[] } {
  const tasks: NamedTask[] = [];
  const add = (rows: CellSplit, prefix: string): void => {
    const { metrics = [] } = knownRows(rows, plugin) ?? {};
    if (metrics.length > 0)
      tasks.push({ dataset: rows.format, metrics: metrics.map((name) => prefix + name) });
  };
  add(cellSplit({ data }, split), '');
  if (split === 'validation') {
    if (data.test !== undefined) add(data.test, TEST);
    for (const [name, rows] of Object.entries(data.tasks ?? {})) add(rows, `${name}.`);
  }
  return tasks.length === 0 ? {} : { tasks };
}

export default defineStage<Params>({
  name: 'evaluate',
  summary:
    'Scores the trained model on the validation rows, and under the trigger of a backdoor on ' +
    'the rows of other classes; the same of the test rows, if there are any, and the scores of ' +
    'the rows of further tasks.',
  compute: true,
  torch: true,
  scope: 'cell',
  define(cells, { with: narrowed, plugin }) {
    const cell = onlyCell(cells);
    const request = readRequest(cell, narrowed, plugin),
      { split, preferences } = request;
    const { poisoning: trigger, assets: files } =
      request.trigger === null
        ? { poisoning: null, assets: {} }
        : filesApart(withoutOrder(request.trigger));
    if (trigger !== null && cell.head.type === 'regression')
      throw new UserFault(
        "a backdoor's success is counted by classes or answers, and head.type is regression",
        'Leave out the attack.',
        ['poisoning', 'attack'],
      );
    if (trigger !== null)
      refuseUnshown(cell, trigger, request.isHeldOut ? ['evaluate', 'triggers'] : undefined);
    const { completion, limits, ...scorers } = completionParts(cell, request, plugin);
    const { trigger_rows: rowsShown } = cell.evaluate;
    const { adapter } = judgedModel(cell, plugin);
    const cellDefence = defenceOf(cell, plugin),
      defence = cellDefence?.acts.has('inputs') === true ? defenceParts(cellDefence) : null;
    const draws = trigger !== null || completion?.sampling !== undefined || defence !== null;
    return {
      params: {
        ...modelNames(cell),
        adapter,
        batch_size: cell.evaluate.batch_size,
        max_length: cell.evaluate.max_length ?? cell.train.max_length,
        inherited: cell.evaluate.max_length === undefined,
        trigger,
        ...(trigger && !completion && rowsShown === 'all' && { trigger_rows: rowsShown }),
        seed: draws ? cell.seed : null,
        ...defined({ completion }),
        ...(defence && { defence: defence.params }),
        ...(isTask(split) && { split }),
        ...namedTasks(cell, split, plugin),
      },
      inputs: evaluateInputs(cell, request, plugin),
      assets: {
        model: cell.model.source,
        ...triggerAssets(files),
        ...scorers.assets,
        ...defence?.assets,
      },
      uses: [
        ...modelUses(cell, [adapter, ...(preferences ? [preferences.cell.adapter.type] : [])]),
        ...(trigger === null ? [] : attackUses(trigger)),
        ...(scorers.uses ?? []),
        ...(defence?.uses ?? []),
      ],
      ...defined({ limits }),
      work: workOf(1, cell.model, cellSplit(cell, split), cell.evaluate, cell.train.max_length),
    };
  },
  python: ({ completion }) => (completion?.torch === true ? ['torch'] : []),
  calls: async (context) => (await import('./preflight.ts')).serviceCalls(context),
  preflight: async (context) => (await import('./preflight.ts')).preflight(context),
  run: async (context) => (await import('./run.ts')).run(context),
});
