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
/**
 * The weights of adapters: PEFT's file, and `changed.safetensors` of a training that changes few
 * weights.
 */
const ADAPTERS = /(^|\/)(adapter_model|changed)\.safetensors$/;

const isLetGo = (level: KeepLevel, path: string): boolean =>
  level !== 'all' && TENSORS.test(path) && !(level === 'adapter' && ADAPTERS.test(path));

/** Returns what `keep` says of the stage's kind; `all` if it does not name the kind. */
export const keepLevel = ({ experiment }: Plan, { kind }: PlannedStage): KeepLevel =>
  Object.hasOwn(experiment.keep, kind) ? experiment.keep[kind]! : 'all';

export const filesLeft = (
  plan: Plan,
  stage: PlannedStage,
  files: readonly ManifestFile[],
): readonly ManifestFile[] => files.filter(({ path }) => !isLetGo(keepLevel(plan, stage), path));

/** Whether a stage can't run while files of its inputs are let go. */
export const needsWhole = ({ descriptor }: PlannedStage): boolean =>
  descriptor.spares === undefined;

/**
 * Whether an input's files must stay until its reader has ended: the reader can't run without them,
 * or reads them if they are there (its `spares` lists the input's kind).
 */
const needsFilesOf = ({ descriptor: reader }: PlannedStage, input: PlannedStage): boolean =>
  reader.spares?.includes(input.kind) ?? true;

/**
 * Returns an input's entry for a reader. If the reader does not need the files that `keep` lets go
 * of, the entry looks as if they were gone, since they may go while the reader runs.
 */
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

/**
 * Whether `keep` names `all` for the stage's kind, so that files that were let go are made again.
 */
export const mustBeWhole = ({ experiment }: Plan, { kind }: PlannedStage): boolean =>
  Object.hasOwn(experiment.keep, kind) && experiment.keep[kind] === 'all';

/** Whether files of an entry were let go. False for null. */
export const hasLetGo = (entry: Pick<Entry, 'manifest'> | null): boolean =>
  entry?.manifest.letGo !== undefined;

type Outcomes = ReadonlyMap<StageId, Outcome>;

/**
 * Returns the functions that let go of a plan's files; null if the plan's `keep` keeps all.
 * @param spec the spec's path
 */
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
  /** The entries that stay whole, because pins or other specs hold them. */
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
    /** Returns the key of a stage's entry; null if the stage has not finished. */
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

  /**
   * Like `release`, but keeps a fault of the disk for `rest` to tell, since it must not fail the
   * run.
   */
  const tryRelease: typeof release = (...given) => {
    try {
      release(...given);
    } catch (error) {
      if (!(error instanceof UserFault)) throw error;
      fault = error.message;
    }
  };

  return {
    /**
     * Called when a stage has ended. Lets go of files of the stage and its inputs that no reader
     * needs any more, and updates `entries`.
     */
    ended: (
      stage: PlannedStage,
      { outcomes, entries }: Pick<Execution, 'outcomes' | 'entries'>,
    ): void => {
      const inputs = Object.values(stage.inputs).flatMap((id) => byId.get(id) ?? []);
      const due = byId.has(stage.id) ? [stage, ...inputs] : inputs;
      tryRelease(due, outcomes, (entry) => entries.set(entry.key, entry));
    },
    /**
     * Lets go of all files that no reader needs any more. Returns a text for the user; null if
     * there is nothing to tell.
     */
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

/** Returns a number of bytes as a text: `12 kB`, `3.4 MB`, `1.2 GB`. */
export const sizeText = (bytes: number): string =>
  bytes < 1e6
    ? `${Math.ceil(bytes / 1e3)} kB`
    : bytes < 1e9
      ? `${(bytes / 1e6).toFixed(1)} MB`
      : `${(bytes / 1e9).toFixed(1)} GB`;

/**
 * Returns a function that gives the keys of the entries that, at the time of the call, are pinned
 * or belong to other specs.
 */
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
