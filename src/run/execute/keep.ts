/**
 * Lets go of (removes) files of a plan's entries, as the spec's `keep` says for each stage kind,
 * once every stage of the plan that reads them has finished.
 */
import { UserFault } from '../../api.ts';
import type { ActionKey, Plan, PlannedStage, StageId } from '../../plan/types.ts';
import type { KeepLevel } from '../../spec/types.ts';
import { statIfThere } from '../../store/files.ts';
import { whileAlone } from '../../store/gc.ts';
import { type Entry, keptFiles, type ManifestFile } from '../../store/manifest.ts';
import { readPins, readRoots } from '../../store/roots.ts';
import type { Store } from '../../store/store.ts';
import type { Outcome } from '../log/events.ts';
import { type Execution, isFinished } from './execution.ts';

/** Files with weights, kernels or logits, by the ending of their format. */
const TENSORS = /\.(safetensors|npy|npz|pt|pth|bin|ckpt|h5|onnx|gguf)$/;
/** PEFT's files, and those of a training of few parameters. */
const ADAPTERS = /(^|\/)(adapter_model|changed)\.safetensors$/;

const isLetGo = (level: KeepLevel, path: string): boolean =>
  level !== 'all' && TENSORS.test(path) && !(level === 'adapter' && ADAPTERS.test(path));

/** Returns `all` for a kind that `keep` does not name. */
export const keepLevel = ({ experiment }: Plan, { kind }: PlannedStage): KeepLevel =>
  Object.hasOwn(experiment.keep, kind) ? experiment.keep[kind]! : 'all';

export const filesLeft = (
  plan: Plan,
  stage: PlannedStage,
  files: readonly ManifestFile[],
): readonly ManifestFile[] => files.filter(({ path }) => !isLetGo(keepLevel(plan, stage), path));

export const needsWhole = ({ descriptor }: PlannedStage): boolean =>
  descriptor.spares === undefined;

/** Whether an input's files must stay until its reader has ended; `spares` lists the kinds. */
const needsFilesOf = ({ descriptor: reader }: PlannedStage, input: PlannedStage): boolean =>
  reader.spares?.includes(input.kind) ?? true;

/** Returns an input's entry as if files that may be let go meanwhile were gone. */
export function entryForReader(
  plan: Plan,
  reader: PlannedStage,
  input: PlannedStage,
  entry: Entry,
): Entry {
  const { manifest } = entry,
    level = keepLevel(plan, input);
  const paths = manifest.files.map(({ path }) => path).filter((path) => isLetGo(level, path));
  return paths.length === 0 || needsFilesOf(reader, input)
    ? entry
    : { ...entry, manifest: { ...manifest, letGo: paths } };
}

/** Whether `keep` names `all` for the stage's kind, so that files let go are made again. */
export const mustBeWhole = ({ experiment }: Plan, { kind }: PlannedStage): boolean =>
  Object.hasOwn(experiment.keep, kind) && experiment.keep[kind] === 'all';

export const hasLetGo = (entry: Pick<Entry, 'manifest'> | null): boolean =>
  entry?.manifest.letGo !== undefined;

type Outcomes = ReadonlyMap<StageId, Outcome>;

/** Returns null if the plan's `keep` keeps all. @param spec the spec's path */
export function createLettingGo(plan: Plan, store: Store, spec: string) {
  const affected = plan.stages.filter((stage) => keepLevel(plan, stage) !== 'all');
  if (affected.length === 0) return null;
  const readers = new Map<StageId, PlannedStage[]>(affected.map(({ id }) => [id, []])),
    byId = new Map(affected.map((stage) => [stage.id, stage]));
  for (const stage of plan.stages)
    for (const id of Object.values(stage.inputs)) {
      const input = byId.get(id);
      if (input !== undefined && needsFilesOf(stage, input)) readers.get(id)?.push(stage);
    }
  let freedBytes = 0,
    trimmedStages = 0;
  const staying = new Set<ActionKey>(),
    heldNow = heldByOthers(store.root, spec);
  let isAlone = true,
    fault: string | null = null;

  /** Lets go of files whose readers have all finished, unless another run may use them. */
  const release = (
    stages: readonly PlannedStage[],
    outcomes: Outcomes,
    onEntry: (entry: Entry) => void,
  ): void => {
    const keyOf = ({ id }: PlannedStage): ActionKey | null => {
      const outcome = outcomes.get(id);
      return isFinished(outcome) ? outcome.key : null;
    };
    const due = stages.flatMap((stage) => {
      const key = keyOf(stage);
      if (key === null || !(readers.get(stage.id) ?? []).every((reader) => keyOf(reader) !== null))
        return [];
      const manifest = store.manifest(key),
        volatile = stage.descriptor.volatile ?? [];
      const goes = (path: string): boolean =>
        isLetGo(keepLevel(plan, stage), path) && !volatile.includes(path);
      if (manifest === null || !keptFiles(manifest).some(({ path }) => goes(path))) return [];
      if (!heldNow().has(key)) return [{ key, goes }];
      staying.add(key);
      return [];
    });
    if (due.length === 0) return;
    isAlone = whileAlone(store, () => {
      for (const { key, goes } of due) {
        const gone = store.letGo(key, goes);
        if (gone === null) continue;
        trimmedStages++;
        freedBytes += gone.bytes;
        onEntry(gone.entry);
      }
    });
  };

  /** A fault of the disk must not fail the run. */
  const tryRelease: typeof release = (...given) => {
    try {
      release(...given);
    } catch (error) {
      if (!(error instanceof UserFault)) throw error;
      fault = error.message;
    }
  };

  return {
    /** Lets go of files that have no reader left after a stage has ended. Updates `entries`. */
    ended: (
      stage: PlannedStage,
      { outcomes, entries }: Pick<Execution, 'outcomes' | 'entries'>,
    ): void => {
      const inputs = Object.values(stage.inputs).flatMap((id) => byId.get(id) ?? []);
      const due = byId.has(stage.id) ? [stage, ...inputs] : inputs;
      tryRelease(due, outcomes, (entry) => entries.set(entry.key, entry));
    },
    /** Lets go of all files without a reader left. Returns a text on it, or null. */
    rest(outcomes: Outcomes): string | null {
      tryRelease(affected, outcomes, () => undefined);
      const said: string[] = [];
      if (trimmedStages > 0)
        said.push(
          `let go of ${sizeText(freedBytes)} of ${trimmedStages} finished stages, as \`keep\` says`,
        );
      if (staying.size > 0)
        said.push(
          `${staying.size} finished stages stay whole: they are pinned, or of another spec too`,
        );
      if (!isAlone) said.push('another run uses the store: the next run lets go of the rest');
      if (fault !== null) said.push(`nothing more was let go: ${fault}`);
      return said.length === 0 ? null : said.join('; ');
    },
  };
}

/** `12 kB`, `3.4 MB`, `1.2 GB` */
export const sizeText = (bytes: number): string =>
  bytes < 1e6
    ? `${Math.ceil(bytes / 1e3)} kB`
    : bytes < 1e9
      ? `${(bytes / 1e6).toFixed(1)} MB`
      : `${(bytes / 1e9).toFixed(1)} GB`;

/** Returns a function that returns the entries that are pinned or of other specs at that time. */
function heldByOthers(root: string, spec: string): () => ReadonlySet<ActionKey> {
  let seen = '',
    held: ReadonlySet<ActionKey> = new Set();
  return () => {
    const written = ['pins', 'roots'].map((part) => statIfThere(`${root}/${part}`)?.mtimeMs);
    if (written.join() === seen) return held;
    seen = written.join();
    held = new Set([
      ...readPins(root).flatMap(({ keys }) => keys),
      ...readRoots(root).flatMap((one) => (one.spec === spec ? [] : one.keys)),
    ]);
    return held;
  };
}
