/** `dosimeter explain SPEC [STAGE]`: why each stage would run, by what changed since the most similar run. */
import { keyComponents } from '../execute/survey.ts';
import type { StageStatus } from '../execute/survey.ts';
import { UserFault } from '../api.ts';
import type { Digest } from '../api.ts';
import { stageLabels } from '../plan/label.ts';
import type { StageId } from '../plan/types.ts';
import { recallCode } from '../store/code.ts';
import type { ClosureOf } from '../store/explain.ts';
import { differences, nearest } from '../store/explain.ts';
import type { Manifest } from '../store/types.ts';
import type { SpecOptions } from './options.ts';
import { prepare } from '../engine/prepare.ts';
import { json, out, paint, say } from './terminal.ts';

export async function explainCommand(
  spec: string,
  wanted: string | undefined,
  options: SpecOptions,
): Promise<number> {
  const { plan, statuses, store, assets, registry } = await prepare(spec, options, {
    fetch: false,
    note: say,
  });
  const byId = new Map<StageId, StageStatus>(statuses.map((status) => [status.stage.id, status]));
  const chosen =
    wanted === undefined
      ? statuses.filter(({ state }) => state !== 'cached')
      : statuses.filter(({ stage }) => stage.kind === wanted || stage.id.startsWith(wanted));
  if (wanted !== undefined && chosen.length === 0)
    throw new UserFault(
      `no stage of this plan is "${wanted}"`,
      'give a kind (train) or the beginning of an id, as `dosimeter plan --json` lists them',
    );

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
  const why = ({ stage, state, reason }: StageStatus): string[] => {
    if (state === 'cached') return [reason];
    if (state === 'pending' || reason.includes('damaged')) return [reason];
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
  const label = stageLabels(plan);
  const explained = chosen.map((status) => ({
    id: status.stage.id,
    kind: status.stage.kind,
    label: label(status.stage),
    state: status.state,
    key: status.key,
    why: why(status),
  }));
  if (options.json) json(explained);
  else if (explained.length === 0) out('every stage is cached');
  else
    for (const { id, label: name, state, why: reasons } of explained)
      out(
        `${paint.bold(name)} ${paint.dim(id)} ${state}\n${reasons.map((reason) => `  ${reason}`).join('\n')}`,
      );
  return 0;
}
