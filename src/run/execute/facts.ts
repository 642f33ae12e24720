/** The experiment as its joining stages see it: the outcome of every stage, failures included. */
import type { ExperimentFacts, JsonObject, StageFacts } from '../../api.ts';
import { once } from '../../base/memoized.ts';
import type { Plan, PlannedStage, StageId } from '../../plan/types.ts';
import type { Outcome } from '../log/events.ts';
import { readWarnings } from './warnings.ts';

function stageFacts(
  stage: PlannedStage,
  outcome: Outcome,
  describe: (id: StageId) => string,
): StageFacts {
  const common = {
    id: stage.id,
    kind: stage.kind,
    cell: stage.cell,
    seed: stage.seed,
    inputs: Object.values(stage.inputs),
  };
  const unfinished = { ...common, key: '', dir: '', seconds: 0, backend: null };
  switch (outcome.state) {
    case 'ran':
    case 'cached': {
      const warnings = readWarnings(outcome.dir);
      return {
        ...common,
        ...(warnings.length === 0 ? {} : { warnings }),
        key: outcome.key,
        dir: outcome.dir,
        seconds: outcome.seconds,
        backend: outcome.backend,
        state: outcome.state,
      };
    }
    case 'failed':
      return { ...unfinished, state: 'failed', error: outcome.error };
    case 'blocked':
      return {
        ...unfinished,
        state: 'blocked',
        error: `needs ${outcome.by}, which failed${describe(outcome.by)}`,
      };
    case 'abandoned':
      return { ...unfinished, state: 'blocked', error: 'it has not run' };
  }
}

/**
 * Returns the facts of every settled stage. Stages that are not settled yet (other joining stages)
 * are left out. Lists are made when they are first read, because not every joining stage reads
 * them.
 */
export function experimentFacts(
  plan: Plan,
  outcomes: ReadonlyMap<StageId, Outcome>,
  environment: JsonObject,
): ExperimentFacts {
  const { experiment } = plan;
  const settled = new Map(outcomes);
  const describe = (id: StageId): string => {
    const outcome = settled.get(id);
    return outcome?.state === 'failed' ? `: ${outcome.error}` : '';
  };
  const cells = once(() =>
    plan.cellStages.map(({ cell, stages }) => ({
      cell: cell.axes,
      ...(cell.also.length === 0 ? {} : { also: cell.also.map(({ axes }) => axes) }),
      seed: cell.config.seed,
      stages,
    })),
  );
  const stages = once(() =>
    plan.stages.flatMap((stage) => {
      const outcome = settled.get(stage.id);
      return outcome ? [stageFacts(stage, outcome, describe)] : [];
    }),
  );
  return {
    name: experiment.name,
    specFile: experiment.file,
    specText: experiment.text,
    get cells() {
      return cells();
    },
    get stages() {
      return stages();
    },
    environment,
  };
}
