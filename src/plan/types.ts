/** Phase 2, Experiment → Plan: pure, no disk. */
import type { BackendName, Digest, JsonObject, Resources, StageDescriptor } from '../api.ts';
import type { Experiment, ExperimentCell } from '../experiment/types.ts';

declare const brand: unique symbol;
/** Of what a stage is asked to do, inputs by their own definition keys: deduplicates without touching a disk. */
export type DefinitionKey = string & { readonly [brand]: 'DefinitionKey' };
/** Of what a stage will read, inputs by the digest of their content: addresses the store. */
export type ActionKey = string & { readonly [brand]: 'ActionKey' };
export type StageId = string & { readonly [brand]: 'StageId' };

export interface PlannedStage {
  /** `train-3f9c2a1b7d`: kind and the head of the definition key. */
  readonly id: StageId;
  readonly kind: string;
  readonly descriptor: StageDescriptor;
  readonly definition: DefinitionKey;
  /** Digest of the stage's own code and of the plugins it uses. */
  readonly codeVersion: Digest;
  /** The code version of each part, for `explain`. */
  readonly code: { readonly [plugin: string]: Digest };
  readonly params: JsonObject;
  readonly inputs: { readonly [name: string]: StageId };
  readonly assets: { readonly [name: string]: string };
  readonly uses: readonly { readonly kind: string; readonly name: string }[];
  readonly resources: Resources;
  /** Stages of one kind with equal ones may run as one job; null: it runs alone. */
  readonly pack: string | null;
  /** The section of its cells that its own fields come from (`base`); null: they are the cell's. */
  readonly section: string | null;
  /** What it was asked for beside its cell (`StageRequest.with`): labels tell stages of one kind and cell apart by it. */
  readonly with: JsonObject;
  /** Cells that need it, as indexes into `experiment.cells`. */
  readonly cells: readonly number[];
  /** Axis values that all its cells agree on, and the seed likewise (null where they differ). */
  readonly cell: JsonObject;
  readonly seed: number | null;
  readonly goal: boolean;
}

export interface Plan {
  readonly experiment: Experiment;
  readonly backend: BackendName;
  /** The backend as keys name it: with the release of what no code version holds. */
  readonly computedBy: string;
  /** Inputs before the stages that read them. */
  readonly stages: readonly PlannedStage[];
  /** For each cell, the stage of each kind that belongs to it. */
  readonly cellStages: readonly {
    readonly cell: ExperimentCell;
    readonly stages: { readonly [kind: string]: StageId };
  }[];
}

/** The parts an action key is made of, kept in the manifest so that a miss can explain itself. */
export interface KeyComponents {
  readonly kind: string;
  readonly code: { readonly [plugin: string]: Digest };
  readonly params: JsonObject;
  readonly inputs: { readonly [name: string]: Digest };
  readonly assets: { readonly [name: string]: Digest };
  /** `Plan.computedBy`; null for a stage that computes nothing. */
  readonly backend: string | null;
}
