/** Runs a plan: everything that can run does, what depends on a failure is blocked, finished work is kept whatever happens. */
import { setMaxListeners } from 'node:events';
import type { Digest, Executor, JsonObject, StageInput } from '../api.ts';
import type { RunLog } from '../log/run-log.ts';
import { actionKey } from '../plan/keys.ts';
import type { ActionKey, KeyComponents, Plan, PlannedStage, StageId } from '../plan/types.ts';
import { isDiskFault } from '../store/faults.ts';
import type { Store } from '../store/store.ts';
import type { Entry } from '../store/types.ts';
import { experimentFacts } from './facts.ts';
import type { Locate, Reads } from './guard.ts';
import { createGuard } from './guard.ts';
import type { PackLimits, Waiting } from './packer.ts';
import { createPacker, packId, packMemory } from './packer.ts';
import type { Patience } from './patience.ts';
import { forKind } from './patience.ts';
import { createQueue } from './queue.ts';
import type { Machine, Need } from './resources.ts';
import { needOf } from './resources.ts';
import type { Reading } from './stage.ts';
import { runPack, runStage } from './stage.ts';
import type { Assets, StageStatus } from './survey.ts';
import { keyComponents, missing } from './survey.ts';
import type { Failed, Finished, OnEvent, Outcome, RuntimeRegistry } from './types.ts';

export interface RunOptions {
  readonly store: Store;
  readonly registry: RuntimeRegistry;
  /** A stage whose source is not there (null) is abandoned. */
  readonly assets: Assets;
  /** Looks at a source again, which must be the same after a stage has read it. Left out: its files' sizes and times alone tell. */
  readonly locate?: Locate;
  readonly executor: Executor;
  readonly log: RunLog;
  /** Processor cores that stages may take at once. */
  readonly jobs: number;
  /** What else of the machine is shared out. */
  readonly machine?: Omit<Machine, 'cores'>;
  readonly failFast: boolean;
  /** Left out: every stage runs alone. */
  readonly packing?: PackLimits;
  readonly patience?: Patience;
  /** Stages that this run may make; the others only count when they are cached. Left out: all. */
  readonly mayRun?: (stage: PlannedStage) => boolean;
  /** Aborted: nothing starts any more, and what runs is asked to stop. */
  readonly signal: AbortSignal;
  readonly runId: string;
  readonly environment: JsonObject;
  /** What each manifest records of where it ran. */
  readonly facts: JsonObject;
  readonly onEvent: OnEvent;
  /** Takes secrets out of what a stage says of its failure. Left out: there are none. */
  readonly redact?: (text: string) => string;
}

/** What became of an attempt. `busy`: another run has the lease, or has taken it over; `again`: an input was made anew. */
type Attempt = Outcome | 'busy' | 'again';

interface Wanted {
  readonly stage: PlannedStage;
  readonly key: ActionKey;
  readonly components: KeyComponents;
  readonly inputs: { readonly [name: string]: StageInput };
}

/** How often a run looks whether another run has finished what it waits for. */
const POLL_MS = 250;

export async function executePlan(
  plan: Plan,
  statuses: readonly StageStatus[],
  options: RunOptions,
): Promise<ReadonlyMap<StageId, Outcome>> {
  const { store, onEvent, signal } = options;
  setMaxListeners(0, signal); // each running stage listens, and packs make them many: no leak, as Node would say aloud
  const machine: Machine = { ...options.machine, cores: options.jobs };
  const queue = createQueue(machine);
  const packer =
    options.packing && options.packing.most > 1 && options.executor.runPack
      ? createPacker<Wanted & Waiting, Attempt>(queue, machine, options.packing, makeTogether)
      : null;
  const byId = new Map(plan.stages.map((stage) => [stage.id, stage]));
  const heights = stageHeights(plan);
  const outcomes = new Map<StageId, Outcome>();
  const making = new Map<ActionKey, Promise<Attempt>>();
  const checks = new Map<ActionKey, Promise<boolean>>();
  const guard = createGuard(options.locate);
  /** Entries that outcomes are of, and which of them this run has made. */
  const stored = new Map<ActionKey, Entry>(),
    made = new Set<ActionKey>();
  let stopped = false;

  const known = new Map<StageId, Entry>();
  for (const { stage, entry } of statuses) if (entry) known.set(stage.id, entry);

  const settled = new Map<StageId, Promise<Outcome>>();
  for (const stage of plan.stages) {
    const inputs = Object.values(stage.inputs).map((id) => settled.get(id)!);
    settled.set(stage.id, settle(stage, inputs));
  }
  await Promise.all(settled.values());
  return outcomes;

  async function settle(
    stage: PlannedStage,
    inputs: readonly Promise<Outcome>[],
  ): Promise<Outcome> {
    const entry = known.get(stage.id);
    let outcome: Outcome;
    if (entry) outcome = cached(entry);
    else {
      await Promise.all(inputs);
      outcome = await obtain(stage);
    }
    outcomes.set(stage.id, outcome);
    if (!entry) onEvent({ type: 'stage-ended', stage, outcome });
    return outcome;
  }

  /** Why the stage can't run, as an outcome. */
  function blockage(stage: PlannedStage): Outcome | null {
    if (stage.descriptor.tolerant) return null;
    let blocked: Outcome | null = null;
    for (const id of Object.values(stage.inputs)) {
      const input = outcomes.get(id)!;
      if (input.state === 'abandoned') return input;
      if (input.state === 'failed') blocked ??= { state: 'blocked', by: id };
      if (input.state === 'blocked') blocked ??= input;
    }
    return blocked;
  }

  /** The stage's entry: from the store, from another run that makes it, or by running it. */
  async function obtain(stage: PlannedStage): Promise<Outcome> {
    const need = needOf(stage, plan.backend, machine);
    let told = false;
    for (;;) {
      const blocked = blockage(stage);
      if (blocked) return blocked;
      if (Object.values(stage.assets).some((uri) => !options.assets.get(uri)))
        return { state: 'abandoned' };
      const wanted = read(stage),
        { key } = wanted;
      const found = store.lookUpNew(key);
      if (found.state === 'hit') return cached(found.entry);
      if (options.mayRun?.(stage) === false) return { state: 'abandoned' };
      // Two definitions may come to the same content: the second takes what the first makes.
      let attempt = making.get(key);
      const mine = !attempt;
      if (!attempt) {
        attempt = enqueue(wanted, need).finally(() => making.delete(key));
        making.set(key, attempt);
      }
      const result = await attempt;
      if (typeof result !== 'string')
        return mine || result.state !== 'ran' ? result : { ...result, state: 'cached' };
      if (result === 'busy' && !told) {
        told = true;
        onEvent({ type: 'note', message: `${stage.id}: another run is making it; waiting` });
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS * (0.75 + Math.random() / 2)));
    }
  }

  async function enqueue(wanted: Wanted, need: Need): Promise<Attempt> {
    const { stage } = wanted,
      priority = heights.get(stage.id)!;
    if (packer === null || stage.pack === null)
      return queue.add((gpus) => make(wanted, gpus), { need, priority });
    try {
      const memoryMB = packMemory(stage, options.assets, wanted.inputs).then((known) => known ?? 0);
      return await packer.add({
        ...wanted,
        id: packId(stage.kind, stage.pack),
        need,
        priority,
        memoryMB,
      });
    } catch (error) {
      return failureOf(error); // the plugin's estimate threw
    }
  }

  function read(stage: PlannedStage): Wanted {
    const inputs: { [name: string]: StageInput } = {},
      contents: { [name: string]: Digest } = {},
      assets: { [name: string]: Digest } = {};
    for (const [name, id] of Object.entries(stage.inputs)) {
      const input = outcomes.get(id)!;
      if (input.state !== 'ran' && input.state !== 'cached') {
        contents[name] = missing;
        continue;
      } // the stage is tolerant
      inputs[name] = { dir: input.dir, digest: input.content };
      contents[name] = input.content;
    }
    for (const [name, uri] of Object.entries(stage.assets))
      assets[name] = options.assets.get(uri)!.digest;
    const components = keyComponents(stage, plan, contents, assets);
    return { stage, key: actionKey(components), components, inputs };
  }

  /** In the queue: takes the lease, looks again, checks what the stage will read, runs it. */
  function make(wanted: Wanted, gpus?: readonly string[]): Promise<Attempt> {
    return makeWith(wanted, gpus, (reading) => tryStage(wanted.stage, reading));
  }

  async function makeWith(
    { stage, key, components, inputs }: Wanted,
    gpus: readonly string[] | undefined,
    run: (reading: Reading) => Promise<Outcome | 'busy'>,
  ): Promise<Attempt> {
    if (stopped || signal.aborted) return { state: 'abandoned' };
    try {
      const attempt = store.take(key);
      if ('by' in attempt) return 'busy';
      try {
        const found = store.lookUpNew(key);
        if (found.state === 'hit') return cached(found.entry);
        if (found.state === 'damaged')
          onEvent({
            type: 'note',
            message: `the entry of ${stage.id} was damaged (${found.why}); moved to ${store.moveAside(key)}, it is made again`,
          });
        if (!(await inputsIntact(stage))) return 'again';
        const reads = await readsOf(stage);
        if (reads === 'again') return reads;
        if ('error' in reads) {
          if (options.failFast) stopped = true;
          return reads;
        }
        const experiment =
          stage.descriptor.scope === 'experiment'
            ? experimentFacts(plan, outcomes, options.environment)
            : undefined;
        const outcome = await run({
          key,
          components,
          inputs,
          reads,
          onStored: (entry) => {
            stored.set(entry.key, entry);
            made.add(entry.key);
          },
          leaseStands: attempt.held.stands,
          ...grant(stage, gpus),
          ...(experiment ? { experiment } : {}),
        });
        if (outcome === 'busy') return outcome;
        // On a full disk every other stage would fail in the same way.
        if (outcome.state === 'failed' && (options.failFast || isDiskFault(outcome)))
          stopped = true;
        return outcome;
      } finally {
        attempt.held.release();
      }
    } catch (error) {
      if (isDiskFault(error)) stopped = true;
      return failureOf(error);
    }
  }

  /** What a stage is told of GPUs: those that are its own. One that would compute on GPUs and asks for none is to see none; the others' environment is as it is. */
  function grant(
    { descriptor }: PlannedStage,
    gpus: readonly string[] = [],
  ): Pick<Reading, 'gpus'> {
    return gpus.length > 0 || (descriptor.compute && machine.computesOnGpu) ? { gpus } : {};
  }

  function failureOf(error: unknown): Failed {
    const { name, message, stack, hint } = error as Error & { hint?: string };
    if (name === 'UserFault')
      return {
        state: 'failed',
        error: message,
        internal: false,
        log: null,
        ...(hint === undefined ? {} : { hint }),
      };
    options.log.line(stack ?? message);
    return {
      state: 'failed',
      error: `internal error: ${message}`,
      internal: true,
      log: options.log.file,
    };
  }

  /**
   * As `make`, for stages that may share a job: each takes its own lease and looks for itself, and those that must run do so
   * together. What failed is tried again alone, and so is what was lost with a process that another brought down.
   */
  function makeTogether(
    members: readonly Wanted[],
    gpus: readonly string[],
  ): readonly Promise<Attempt>[] {
    if (members.length === 1) return [make(members[0]!, gpus)];
    const arrivals = members.map(() => deferred<Reading | null>());
    const together = Promise.all(arrivals.map(({ promise }) => promise)).then((readings) => {
      const going = members.flatMap(({ stage }, i) =>
        readings[i] ? [{ stage, reading: readings[i] }] : [],
      );
      if (going.length < 2)
        return new Map(
          going.map(({ stage, reading }) => [stage, tryStage(stage, reading)] as const),
        );
      const running = runPack(going, plan.backend, options);
      let alone: Promise<unknown> = Promise.allSettled(running); // the pack's place is theirs, once it has ended
      return new Map(
        going.map(
          ({ stage, reading }, i) =>
            [
              stage,
              running[i]!.then((outcome) => {
                if (outcome === 'busy') return outcome;
                if (outcome !== 'lost' && !mayTryAgain(stage, outcome, 1)) return outcome;
                if (outcome === 'lost')
                  onEvent({
                    type: 'note',
                    message: `${stage.id} was packed with ${going.length - 1} more and their process went; it runs alone`,
                  });
                const again = alone.then(() =>
                  outcome === 'lost'
                    ? tryStage(stage, reading)
                    : tryAgain(stage, reading, outcome, 1),
                );
                alone = again.catch(() => undefined);
                return again;
              }),
            ] as const,
        ),
      );
    });
    return members.map(async (wanted, i) => {
      try {
        return await makeWith(wanted, gpus, async (reading) => {
          arrivals[i]!.resolve(reading);
          return (await together).get(wanted.stage)!;
        });
      } finally {
        arrivals[i]!.resolve(null); // it did not come to running
      }
    });
  }

  /** A full disk stays full; what else failed is tried again as often as was asked. */
  function mayTryAgain({ kind }: PlannedStage, outcome: Outcome, tried: number): outcome is Failed {
    return (
      outcome.state === 'failed' &&
      tried <= (forKind(options.patience?.retries, kind) ?? 0) &&
      !isDiskFault(outcome) &&
      !signal.aborted
    );
  }

  async function tryStage(stage: PlannedStage, reading: Reading): Promise<Outcome | 'busy'> {
    return tryAgain(stage, reading, await runStage(stage, reading, plan.backend, options), 1);
  }

  async function tryAgain(
    stage: PlannedStage,
    reading: Reading,
    first: Outcome | 'busy',
    tried: number,
  ): Promise<Outcome | 'busy'> {
    let outcome = first;
    for (; outcome !== 'busy' && mayTryAgain(stage, outcome, tried); tried++) {
      onEvent({
        type: 'note',
        message: `${stage.id} failed (${outcome.error}); try ${tried + 1} of ${1 + forKind(options.patience?.retries, stage.kind)!}`,
      });
      outcome = await runStage(stage, reading, plan.backend, options);
    }
    return outcome;
  }

  function cached(entry: Entry): Finished {
    stored.set(entry.key, entry);
    return finished('cached', entry);
  }

  /** Digests are checked on use; a damaged input is made anew, and then the reader's key must be found anew. */
  async function inputsIntact(stage: PlannedStage): Promise<boolean> {
    let intact = true;
    for (const id of Object.values(stage.inputs)) {
      const input = outcomes.get(id)!;
      if (input.state !== 'ran' && input.state !== 'cached') continue;
      // What a stage of a few file operations reads is looked at once, afterwards.
      if (stage.descriptor.inline && made.has(input.key) && !guard.isSuspect(input.key)) continue;
      intact = (await (checks.get(input.key) ?? check(byId.get(id)!, input))) && intact;
    }
    return intact;
  }

  function check(stage: PlannedStage, input: Finished): Promise<boolean> {
    const checking = (async () => {
      if ((await damageOf(input.key)) === null) return true;
      stored.delete(input.key);
      known.delete(stage.id);
      await remake(stage, input);
      return false;
    })().finally(() => checks.delete(input.key));
    checks.set(input.key, checking);
    return checking;
  }

  async function damageOf(key: ActionKey): Promise<string | null> {
    let entry = stored.get(key);
    if (!entry) {
      const found = store.lookUp(key);
      if (found.state !== 'hit') return found.state === 'damaged' ? found.why : 'it is gone';
      ({ entry } = found);
      stored.set(key, entry);
    }
    return guard.entryFault(entry, made.has(key));
  }

  /** What the stage is about to read, as it is; a source that has changed since the run began is a failure. */
  async function readsOf(stage: PlannedStage): Promise<Reads | Failed | 'again'> {
    const assets = [...new Set(Object.values(stage.assets))].map((uri) => options.assets.get(uri)!);
    for (const asset of assets) {
      const fault = await guard.assetFault(asset);
      if (fault !== null)
        return {
          state: 'failed',
          error: fault,
          hint: 'a run takes its sources as they are when it begins: run again',
          internal: false,
          log: null,
        };
    }
    const inputs: [string, Entry][] = [];
    for (const [name, id] of Object.entries(stage.inputs)) {
      const input = outcomes.get(id)!;
      if (input.state !== 'ran' && input.state !== 'cached') continue; // the stage is tolerant
      const entry = stored.get(input.key);
      if (!entry) return 'again'; // found damaged meanwhile
      inputs.push([name, entry]);
    }
    return guard.reads(inputs, assets);
  }

  async function remake(stage: PlannedStage, { key }: Finished): Promise<void> {
    // Another run may have found the same damage, and even have mended it.
    const attempt = store.take(key);
    if ('by' in attempt) return;
    let why: string | null;
    try {
      why = await damageOf(key);
      if (why === null) return;
      stored.delete(key);
      made.delete(key);
      const where =
        store.lookUp(key).state === 'absent' ? '' : `; moved to ${store.moveAside(key)}`;
      onEvent({
        type: 'note',
        message: `the entry of ${stage.id} was damaged (${why})${where}, it is made again`,
      });
    } finally {
      attempt.held.release();
    }
    const outcome =
      options.mayRun?.(stage) === false
        ? {
            state: 'failed' as const,
            error: `its entry in the store is damaged: ${why}`,
            internal: false,
            log: null,
          }
        : await make(read(stage));
    if (typeof outcome === 'string') return;
    outcomes.set(stage.id, outcome);
    onEvent({ type: 'stage-ended', stage, outcome });
  }
}

function deferred<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  return {
    promise: new Promise<T>((settle) => {
      resolve = settle;
    }),
    resolve,
  };
}

function finished(state: 'ran' | 'cached', { key, dir, manifest }: Entry): Finished {
  return {
    state,
    key,
    dir,
    content: manifest.content,
    seconds: manifest.seconds,
    backend: manifest.backend,
  };
}

/** The longest chain of stages that waits for each: what much depends on goes first. */
function stageHeights(plan: Plan): Map<StageId, number> {
  const heights = new Map<StageId, number>();
  for (const stage of plan.stages.toReversed()) {
    const height = heights.get(stage.id) ?? 0;
    heights.set(stage.id, height);
    for (const id of Object.values(stage.inputs))
      heights.set(id, Math.max(heights.get(id) ?? 0, height + 1));
  }
  return heights;
}
