/**
 * `runs/ID/plan.json`: the stages of a run and what reads what, so that whoever follows the run
 * need not plan it again. Its reader takes nothing on trust: the folder may be someone else's.
 */
import path from 'node:path';
import { unseal, writeSealed } from '../store/sealed.ts';

export type RecordedStage = {
  readonly id: string;
  readonly kind: string;
  /** The section of the cells that it belongs to (`base`); absent for the cells themselves. */
  readonly section?: string;
  readonly label: string;
  /** The stages that it reads, as indexes into the list. */
  readonly inputs: readonly number[];
  /** Whether the spec asks for the stage. */
  readonly goal: boolean;
  /** The key of the entry that was found before the run; absent if the stage was to run. */
  readonly cached?: string;
  /**
   * The seconds that it was expected to take; absent if it was in the store, or if nothing like it
   * had run before.
   */
  readonly seconds?: number;
  /** How many stages like it may run at once. */
  readonly places: number;
};

export interface RunPlan {
  /** The experiment's name. */
  readonly name: string;
  /** The absolute path of the store. */
  readonly store: string;
  readonly backend: string;
  readonly executor: string;
  readonly stages: readonly RecordedStage[];
}

const FORMAT = 1;
export const PLAN_FILE = 'plan.json';

export const saveRunPlan = (dir: string, { stages, ...rest }: RunPlan): void =>
  writeSealed(path.join(dir, PLAN_FILE), { format: FORMAT, ...rest, stages });

/**
 * Returns the plan in a text, or null if it is damaged, of another format or not a plan.
 * @param most the most stages that a plan may have
 */
export function parseRunPlan(text: string, most: number): RunPlan | null {
  const found = unseal<unknown>(text.trimEnd());
  if (!isRecord(found) || found['format'] !== FORMAT) return null;
  const { name, store, backend, executor, stages } = found;
  if (![name, store, backend, executor].every((one) => typeof one === 'string')) return null;
  if (!Array.isArray(stages) || stages.length > most) return null;
  const parsed = stages.map((stage, index) => parseStage(stage, index));
  return parsed.includes(null)
    ? null
    : ({ name, store, backend, executor, stages: parsed } as RunPlan);
}

/** @param index the stage's place in the list: what it reads comes before it */
function parseStage(stage: unknown, index: number): RecordedStage | null {
  if (!isRecord(stage)) return null;
  const { id, kind, section, label, inputs, goal, cached, seconds, places } = stage;
  if (typeof id !== 'string' || typeof kind !== 'string' || typeof label !== 'string') return null;
  if (!Array.isArray(inputs)) return null;
  const before = inputs.filter(
    (input): input is number => Number.isInteger(input) && input >= 0 && input < index,
  );
  if (before.length < inputs.length) return null;
  return {
    id,
    kind,
    label,
    inputs: before,
    goal: goal === true,
    places: isPositive(places) ? places : 1,
    ...(typeof section === 'string' ? { section } : {}),
    ...(typeof cached === 'string' ? { cached } : {}),
    ...(isPositive(seconds) ? { seconds } : {}),
  };
}

const isPositive = (value: unknown): value is number =>
  typeof value === 'number' && Number.isFinite(value) && value > 0;

const isRecord = (value: unknown): value is { readonly [name: string]: unknown } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
