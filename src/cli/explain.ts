/**
 * `dosimeter explain SPEC [STAGE]`: why stages would run, by what changed since the most similar
 * run.
 */
import { UserFault } from '../api.ts';
import { stageLabels } from '../plan/label.ts';
import type { PlannedStage, StageId } from '../plan/types.ts';
import type { StageStatus } from '../run/execute/survey.ts';
import { prepare } from '../run/prepare.ts';
import type { Reasons } from '../run/reasons.ts';
import { reasonsIn } from '../run/reasons.ts';
import type { Cause, Explained } from './causes.ts';
import { causesOf } from './causes.ts';
import type { SpecOptions } from './options.ts';
import { json, out, paint, paintErr, proseWidth, say, STATES, wrap } from './terminal.ts';

export interface ExplainOptions extends SpecOptions {
  /**
   * Whether each stage is explained separately. By default, all that have one cause are explained
   * together.
   */
  readonly all?: boolean;
}

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
    showCauses(
      causesOf(
        chosen.map(({ stage }) => stage),
        explained,
      ),
    );
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
  say(paintErr.dim(wrap(STATES, proseWidth())));
}

/** Prints each cause with the stages that run because of it, and the stages that wait for those. */
function showCauses(causes: readonly Cause[]): void {
  const width = proseWidth();
  for (const cause of causes) {
    out(paint.bold(wrap(cause.text, width, '  ')));
    out(`  ${wrap(effectOf(cause), width - 2, '  ')}`);
  }
  say(paintErr.dim('--all: why each stage would run'));
}

function effectOf({ stages, waiting }: Cause): string {
  if (waiting.length === 0) return byKind(stages);
  if (stages.length === 0) return byKind(waiting);
  const verb = waiting.length === 1 ? 'waits' : 'wait';
  const them = stages.length === 1 ? 'it' : 'them';
  return `${byKind(stages)}; ${waiting.length} more ${verb} for ${them} (${byKind(waiting)})`;
}

/** Returns the number of stages of each kind: `train ×4, evaluate ×4`. */
function byKind(stages: readonly PlannedStage[]): string {
  const kinds = new Map<string, number>();
  for (const { kind } of stages) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  return [...kinds].map(([kind, n]) => (n === 1 ? kind : `${kind} ×${n}`)).join(', ');
}
