import type {
  BackendName,
  Digest,
  JsonObject,
  PythonPackage,
  Resources,
  StageDescriptor,
  Work,
} from '../api.ts';
import type { Experiment, ExperimentCell } from '../spec/types.ts';

declare const brand: unique symbol;
/**
 * Identifies a stage by its kind, code, parameters, source URIs and the definition keys of its
 * inputs. It is known without touching a disk.
 */
export type DefinitionKey = string & { readonly [brand]: 'DefinitionKey' };
/**
 * Identifies a stage by its kind, code, parameters, backend and the digests of the content of its
 * inputs and sources. It is the address of the stage's outputs in the store.
 */
export type ActionKey = string & { readonly [brand]: 'ActionKey' };
export type StageId = string & { readonly [brand]: 'StageId' };

export interface PlannedStage {
  /** `train-3f9c2a1b7d`: the kind and the first digits of the definition key. */
  readonly id: StageId;
  readonly kind: string;
  readonly descriptor: StageDescriptor;
  readonly definition: DefinitionKey;
  /** The code version of the stage and of each plugin that it uses, for `explain`. */
  readonly code: { readonly [plugin: string]: Digest };
  readonly params: JsonObject;
  readonly inputs: { readonly [name: string]: StageId };
  readonly assets: { readonly [name: string]: string };
  readonly uses: readonly { readonly kind: string; readonly name: string }[];
  /** See `RunContext.limits`; undefined if the stage has none. */
  readonly limits: JsonObject | undefined;
  /** See `StageDefinition.work`. */
  readonly work: Work | undefined;
  readonly resources: Resources;
  /**
   * The section of the spec in which the fields of the stage's cell are written: `base`, `base.0`;
   * null if they are at the top.
   */
  readonly section: string | null;
  /** `StageRequest.with`; labels use it to tell apart stages of one kind in one cell. */
  readonly with: JsonObject;
  /** The stage's label in `Plan.cellStages`; null for a stage that is no cell's own. */
  readonly ownLabel: string | null;
  /** The cells that need the stage, as indexes into `experiment.cells`. */
  readonly cells: readonly number[];
  /**
   * The axis values that are the same in all cells that own the stage. If no cell owns it, those
   * that are the same in all cells that need it.
   */
  readonly cell: JsonObject;
  /** The seed of these cells; null if it differs between them, or if there are none. */
  readonly seed: number | null;
  /** Whether the spec asks for the stage, under `stages`. */
  readonly goal: boolean;
}

export interface Plan {
  readonly experiment: Experiment;
  readonly backend: BackendName;
  /**
   * The backend as keys name it: with the release of its library, unless the code versions cover
   * the library already.
   */
  readonly computedBy: string;
  /** The releases of Python packages that stages compute with; null for a missing package. */
  readonly python: { readonly [name in PythonPackage]?: string | null };
  /** Inputs come before the stages that read them. */
  readonly stages: readonly PlannedStage[];
  /** For each cell, the stages that belong to it, by label: `train`, `data(train)`. */
  readonly cellStages: readonly {
    readonly cell: ExperimentCell;
    readonly stages: { readonly [label: string]: StageId };
  }[];
}

/** The contents of an action key, kept in the manifest so that a miss can be explained. */
export interface KeyComponents {
  readonly kind: string;
  readonly code: { readonly [plugin: string]: Digest };
  readonly params: JsonObject;
  readonly inputs: { readonly [name: string]: Digest };
  readonly assets: { readonly [name: string]: Digest };
  /**
   * `Plan.computedBy` and the releases of the Python packages that the stage uses; null for a stage
   * that computes with neither.
   */
  readonly backend: string | null;
}
