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
 * Identifies a stage by its kind, code, parameters and sources, and each input by its definition
 * key. It is known without touching a disk.
 */
export type DefinitionKey = string & { readonly [brand]: 'DefinitionKey' };
/**
 * Identifies a stage by its kind, code, parameters and backend, and each input and source by the
 * digest of its content. It is the address of the stage's outputs in the store.
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
  /** `RunContext.limits`. */
  readonly limits: JsonObject | undefined;
  /** `StageDefinition.work` */
  readonly work: Work | undefined;
  readonly resources: Resources;
  /** The section of its cells that its fields come from: `base`, `base.0`; null if none. */
  readonly section: string | null;
  /** `StageRequest.with`; labels use it to tell apart stages of one kind in one cell. */
  readonly with: JsonObject;
  /** The label in `Plan.cellStages`; null for a stage that cells need, but that is none's own. */
  readonly ownLabel: string | null;
  /** The cells that need the stage, as indexes into `experiment.cells`. */
  readonly cells: readonly number[];
  /** The axis values on which all cells agree that own the stage; if none does, that need it. */
  readonly cell: JsonObject;
  /** The seed of those cells; null if they differ. */
  readonly seed: number | null;
  /** Whether the spec asks for the stage. */
  readonly goal: boolean;
}

export interface Plan {
  readonly experiment: Experiment;
  readonly backend: BackendName;
  /**
   * The backend as keys name it: with the release of its library, unless that is part of the code
   * versions.
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
  /** `Plan.computedBy` and releases of `Plan.python`; null for a stage that does not compute. */
  readonly backend: string | null;
}
