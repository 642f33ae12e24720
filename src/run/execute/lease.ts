/** Holds a stage's lease while it is attempted, so that no two runs make the same entry at once. */
import type { Demand } from '../../api.ts';
import type { ActionKey } from '../../plan/types.ts';
import { isDiskFault } from '../../store/faults.ts';
import type { Lease } from '../../store/lease.ts';
import { isOnThisHost } from '../../store/owner.ts';
import type { AttemptRequest, AttemptResult } from './attempt.ts';
import { demandOf } from './demand.ts';
import type { Execution } from './execution.ts';
import { noteFailure, tellNote, thrownOutcome, useCached } from './execution.ts';
import { experimentFacts } from './facts.ts';
import type { InputChecks } from './inputs.ts';
import type { KeyedStage } from './keyed-stage.ts';
import { isScheduled } from './resources.ts';

/**
 * Takes the lease, looks for the entry again, checks what the stage will read, and calls `attempt`.
 * Never throws: anything thrown on the way becomes the stage's failure.
 * @param gpus the GPUs that the queue has granted
 */
export type WithLease = (
  keyed: KeyedStage,
  gpus: readonly string[],
  attempt: (request: AttemptRequest) => Promise<AttemptResult>,
) => Promise<AttemptResult>;

/**
 * Returns the GPUs that the stage may see. A stage with granted GPUs sees those alone. One that
 * would compute on GPUs but asks for none must see none. Every other stage's environment is left
 * as it is.
 */
const visibleGpus = (
  { machine }: Execution,
  { stage: { descriptor } }: KeyedStage,
  gpus: readonly string[],
): Pick<AttemptRequest, 'gpus'> =>
  gpus.length > 0 || (descriptor.compute && machine.computesOnGpu && !isScheduled(machine))
    ? { gpus }
    : {};

const demandIn = (
  { plan, options, machine }: Execution,
  { stage, inputs }: KeyedStage,
): Promise<Demand> =>
  demandOf(
    stage,
    {
      backend: plan.backend,
      assets: options.assets,
      computesOnGpu: machine.computesOnGpu === true,
      expect: options.expect ?? (() => null),
    },
    inputs,
  );

export function createLeaser(execution: Execution, inputs: InputChecks): WithLease {
  const { plan, options, machine } = execution;
  const { store } = options;

  /** The keys that this run has waited for, because another host held their lease. */
  const awaited = new Set<ActionKey>();

  /** @param expected whether another host has just given up the lease */
  const lookUpAgain = async (
    keyed: KeyedStage,
    expected: boolean,
  ): Promise<AttemptResult | null> => {
    const found = await store.lookUpShared(keyed.key, expected);
    if (found.state === 'hit') return useCached(execution, found.entry);
    if (found.state === 'damaged')
      tellNote(
        execution,
        `the entry of ${keyed.stage.id} was damaged (${found.why}); ` +
          `moved to ${store.moveAside(keyed.key)}, it is made again`,
      );
    return null;
  };

  const withHeldLease = async (
    keyed: KeyedStage,
    gpus: readonly string[],
    lease: Lease,
    expected: boolean,
    attempt: (request: AttemptRequest) => Promise<AttemptResult>,
  ): Promise<AttemptResult> => {
    const cached = await lookUpAgain(keyed, expected);
    if (cached) return cached;
    const reads = await inputs.readsOf(keyed.stage);
    if (!('fault' in reads)) {
      if (reads.state === 'failed') noteFailure(execution, reads);
      return reads;
    }
    const result = await attempt({
      ...keyed,
      reads,
      ...(isScheduled(machine) ? { demand: await demandIn(execution, keyed) } : {}),
      lease,
      ...visibleGpus(execution, keyed, gpus),
      warnings: options.warnings?.get(keyed.stage.id) ?? [],
      ...(keyed.stage.descriptor.scope === 'experiment'
        ? { experiment: experimentFacts(plan, execution.outcomes, options.environment) }
        : {}),
    });
    if (result.state !== 'busy' && result.state !== 'unready') noteFailure(execution, result);
    return result;
  };

  return async (keyed, gpus, attempt) => {
    if (execution.stopped || options.signal.aborted) return { state: 'abandoned' };
    try {
      const lease = store.take(keyed.key);
      if ('by' in lease) {
        if (!isOnThisHost(lease.by)) awaited.add(keyed.key);
        return { state: 'busy' };
      }
      try {
        const expected = awaited.delete(keyed.key) && !lease.takenOver;
        const result = await withHeldLease(keyed, gpus, lease.held, expected, attempt);
        if (result.state === 'busy') awaited.add(keyed.key); // it was lost
        return result;
      } finally {
        lease.held.release();
      }
    } catch (error) {
      if (isDiskFault(error)) execution.stopped = true;
      return thrownOutcome(execution, error);
    }
  };
}
