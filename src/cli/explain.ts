/**
 * `dosimeter explain SPEC [STAGE]`: says why stages would run, from how they differ from the most
 * similar stored stages.
 */
import { UserFault } from '../api.ts';
import { memoized } from '../base/memoized.ts';
import { stageLabels } from '../plan/label.ts';
import type { PlannedStage, StageId } from '../plan/types.ts';
import { groupBy } from '../report/groups.ts';
import type { StageStatus } from '../run/execute/survey.ts';
import { prepare } from '../run/prepare.ts';
import { type Reasons, reasonsIn } from '../run/reasons.ts';
import type { SpecOptions } from './options.ts';
import {
  json,
  out,
  paint,
  proseWidth,
  remark,
  remarkProse,
  say,
  STATES,
  wrap,
} from './terminal.ts';

interface ExplainOptions extends SpecOptions {
  /** Whether each stage is explained by itself, instead of each cause with all its stages. */
  readonly all?: boolean;
}

/**
 * Says why stages would run: those whose kind is `wanted` or whose id begins with it; without it,
 * all that are not cached. Throws `UserFault` if `wanted` fits no stage of the plan.
 */
export async function explainCommand(
  spec: string,
  wanted: string | undefined,
  options: ExplainOptions,
): Promise<number> {
  const prepared = await prepare(spec, options, { fetch: false, note: say });
  const { plan, statuses } = prepared;
  const chosen = statuses.filter(({ stage, state }) =>
    wanted === undefined
      ? state !== 'cached'
      : stage.kind === wanted || stage.id.startsWith(wanted),
  );
  if (wanted !== undefined && chosen.length === 0)
    throw new UserFault(
      `no stage of this plan is "${wanted}"`,
      'give a kind (train) or the beginning of an id, as `dosimeter plan --json` lists them',
    );
  const why = reasonsIn(prepared);
  const label = stageLabels(plan);
  if (options.json)
    json(
      chosen.map((status) => ({
        id: status.stage.id,
        kind: status.stage.kind,
        label: label(status.stage),
        state: status.state,
        key: status.key,
        why: why(status),
      })),
    );
  else if (chosen.length === 0) out('every stage is cached: its result is in the store');
  else if (options.all || chosen.length === 1) showEach(chosen, why, label);
  else {
    const explained = new Map<StageId, Explained>(
      statuses.map((status) => [status.stage.id, { ...status, why: () => why(status) }]),
    );
    const stages = chosen.map(({ stage }) => stage);
    showCauses(causesOf(stages, explained));
  }
  return 0;
}

function showEach(
  chosen: readonly StageStatus[],
  why: Reasons,
  label: (stage: PlannedStage) => string,
): void {
  for (const status of chosen) {
    const reasons = why(status).map((reason) => `  ${reason}`);
    const head = `${paint.bold(label(status.stage))} ${paint.dim(status.stage.id)} ${status.state}`;
    out([head, ...reasons].join('\n'));
  }
  remarkProse(STATES);
}

function showCauses(causes: readonly Cause[]): void {
  const width = proseWidth();
  for (const cause of causes) {
    out(paint.bold(wrap(cause.text, width, '  ')));
    out(`  ${wrap(effectText(cause), width - 2, '  ')}`);
  }
  remark('--all: why each stage would run');
}

/** Says how many stages of each kind a cause concerns, and how many wait for them. */
function effectText({ stages, waiting }: Cause): string {
  if (waiting.length === 0) return countsByKind(stages);
  if (stages.length === 0) return countsByKind(waiting);
  const verb = waiting.length === 1 ? 'waits' : 'wait';
  const them = stages.length === 1 ? 'it' : 'them';
  return (
    `${countsByKind(stages)}; ${waiting.length} more ${verb} for ${them} ` +
    `(${countsByKind(waiting)})`
  );
}

const countsByKind = (stages: readonly PlannedStage[]): string =>
  [...groupBy(stages, ({ kind }) => kind)]
    .map(([kind, { length }]) => (length === 1 ? kind : `${kind} ×${length}`))
    .join(', ');

export interface Explained extends Pick<StageStatus, 'stage' | 'state'> {
  /** Returns what changed, or what is missing, in words. */
  readonly why: () => readonly string[];
}

interface Cause {
  readonly text: string;
  /** The stages that the cause concerns directly. */
  readonly stages: readonly PlannedStage[];
  /** The stages that wait for `stages`, directly or through others. They may turn out cached. */
  readonly waiting: readonly PlannedStage[];
}

/**
 * Returns the causes in the plan's order; a stage with several is listed under each of them.
 * @param chosen the stages to account for
 * @param explained every stage of the plan
 */
export function causesOf(
  chosen: readonly PlannedStage[],
  explained: ReadonlyMap<StageId, Explained>,
): readonly Cause[] {
  const get = (id: StageId): Explained => {
    const found = explained.get(id);
    if (!found) throw new Error(`${id} is not explained`);
    return found;
  };
  const uncachedInputs = (id: StageId): StageId[] =>
    Object.values(get(id).stage.inputs).filter((input) => get(input).state !== 'cached');
  /** Whether a stage waits for other stages. A pending stage may also wait only for a source. */
  const waitsForOthers = (id: StageId): boolean =>
    get(id).state === 'pending' && uncachedInputs(id).length > 0;
  /**
   * Returns a stage's causes: those of the stages that it waits for or, if it waits for none, what
   * `why` says of it.
   */
  const rootsOf = memoized(
    (id: StageId): ReadonlySet<string> =>
      new Set(
        waitsForOthers(id)
          ? uncachedInputs(id).flatMap((input) => [...rootsOf(input)])
          : get(id).why(),
      ),
  );

  const causes = new Map<string, { stages: PlannedStage[]; waiting: PlannedStage[] }>();
  for (const stage of chosen) {
    const waits = waitsForOthers(stage.id);
    for (const text of rootsOf(stage.id)) {
      const cause = causes.get(text) ?? { stages: [], waiting: [] };
      causes.set(text, cause);
      (waits ? cause.waiting : cause.stages).push(stage);
    }
  }
  return [...causes].map(([text, cause]) => ({ text, ...cause }));
}
