/** `dosimeter explain SPEC [STAGE]`: why stages would run, by what changed since the most similar run. */
import type { Digest } from '../api.ts';
import { UserFault } from '../api.ts';
import type { Prepared } from '../engine/prepare.ts';
import { prepare } from '../engine/prepare.ts';
import type { StageStatus } from '../execute/survey.ts';
import { keyComponents } from '../execute/survey.ts';
import { stageLabels } from '../plan/label.ts';
import type { PlannedStage, StageId } from '../plan/types.ts';
import { recallCode } from '../store/code.ts';
import type { ClosureOf } from '../store/explain.ts';
import { differences, nearest } from '../store/explain.ts';
import type { Manifest } from '../store/types.ts';
import type { Explained } from './causes.ts';
import { causesOf } from './causes.ts';
import type { SpecOptions } from './options.ts';
import { columns, json, out, paint, paintErr, say, STATES, wrap } from './terminal.ts';

export interface ExplainOptions extends SpecOptions {
  /** Each stage by itself. */
  readonly all?: boolean;
}

export async function explainCommand(
  spec: string,
  wanted: string | undefined,
  options: ExplainOptions,
): Promise<number> {
  const prepared = await prepare(spec, options, { fetch: false, note: say });
  const { plan, statuses } = prepared;
  const chosen =
    wanted === undefined
      ? statuses.filter(({ state }) => state !== 'cached')
      : statuses.filter(({ stage }) => stage.kind === wanted || stage.id.startsWith(wanted));
  if (wanted !== undefined && chosen.length === 0)
    throw new UserFault(
      `no stage of this plan is "${wanted}"`,
      'give a kind (train) or the beginning of an id, as `dosimeter plan --json` lists them',
    );
  const why = reasons(prepared);
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
  else if (options.all || chosen.length === 1) each(chosen, why, label);
  else {
    const explained = new Map<StageId, Explained>(
      statuses.map((status) => [status.stage.id, { ...status, why: () => why(status) }]),
    );
    grouped(
      chosen.map(({ stage }) => stage),
      explained,
    );
  }
  return 0;
}

type Why = (status: StageStatus) => readonly string[];

/** What changed since the most similar stage in the store, or what the stage waits for. */
function reasons({ plan, statuses, store, assets, registry }: Prepared): Why {
  const byId = new Map<StageId, StageStatus>(statuses.map((status) => [status.stage.id, status]));
  const kinds = ['stage', 'attack', 'adapter', 'model', 'dataset'] as const;
  const now = new Map(
    kinds.flatMap((kind) =>
      registry.all(kind).map(({ code, closure }): [string, typeof closure] => [code, closure]),
    ),
  );
  const before = recallCode(store.root);
  const closures: ClosureOf = (code) => now.get(code) ?? before(code);
  let manifests: Manifest[] | null = null;
  const all = (): Manifest[] =>
    (manifests ??= store.keys().flatMap((key) => store.manifest(key) ?? []));
  return ({ stage, state, reason }) => {
    if (state !== 'ready' || reason.includes('damaged')) return [reason];
    const contents = Object.fromEntries(
      Object.entries(stage.inputs).map(([name, id]): [string, Digest] => [
        name,
        byId.get(id)!.entry!.manifest.content,
      ]),
    );
    const digests = Object.fromEntries(
      Object.entries(stage.assets).map(([name, uri]): [string, Digest] => [
        name,
        assets.get(uri)!.digest,
      ]),
    );
    const components = keyComponents(stage, plan, contents, digests);
    const similar = nearest(
      components,
      all().filter(({ kind }) => kind === stage.kind),
    );
    if (!similar) return [`no ${stage.kind} has run in this store`];
    return differences(similar.components, components, closures).map(({ text }) => text);
  };
}

function each(
  chosen: readonly StageStatus[],
  why: Why,
  label: (stage: PlannedStage) => string,
): void {
  for (const status of chosen)
    out(
      `${paint.bold(label(status.stage))} ${paint.dim(status.stage.id)} ${status.state}\n${why(
        status,
      )
        .map((reason) => `  ${reason}`)
        .join('\n')}`,
    );
  say(paintErr.dim(wrap(STATES, Math.min(columns(), 100))));
}

/** A cause, and what it brings about: what runs at once, and what waits for that. */
function grouped(
  chosen: readonly PlannedStage[],
  explained: ReadonlyMap<StageId, Explained>,
): void {
  const width = Math.min(columns(), 100);
  for (const { text, stages, waiting } of causesOf(chosen, explained)) {
    const rest =
      waiting.length === 0
        ? ''
        : stages.length === 0
          ? byKind(waiting)
          : `; ${waiting.length} more ${waiting.length === 1 ? 'waits' : 'wait'} for ${stages.length === 1 ? 'it' : 'them'} (${byKind(waiting)})`;
    out(paint.bold(wrap(text, width, '  ')));
    out(`  ${wrap(`${byKind(stages)}${rest}`, width - 2, '  ')}`);
  }
  say(paintErr.dim('--all: why of each stage'));
}

/** `train ×4, evaluate ×4`. */
function byKind(stages: readonly PlannedStage[]): string {
  const kinds = new Map<string, number>();
  for (const { kind } of stages) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  return [...kinds].map(([kind, n]) => (n === 1 ? kind : `${kind} ×${n}`)).join(', ');
}
