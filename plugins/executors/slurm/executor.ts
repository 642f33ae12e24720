/** The Slurm executor: gathers jobs into arrays, submits them, and waits for their result files. */
import PQueue from 'p-queue';
import {
  type Executor,
  type ExecutorContext,
  type JobResult,
  LEAVE,
  type PackedJob,
} from '../../../src/api.ts';
import { checkCommands, createClient, type SlurmClient } from './client.ts';
import { loadProfile, type Profile } from './profile.ts';
import { recordSubmission, Spool } from './spool.ts';
import {
  arrayLimit,
  type Batch,
  batchByRequest,
  submitBatch,
  type SubmitContext,
} from './submit.ts';
import { Tracker } from './tracker.ts';
import { type Member, newTask, newWork, type Work } from './work.ts';

/** How long stages wait for others that may share their job. */
const PACK_MS = 1_000;
/** How long jobs wait for others that can join their array, counted from the first of them. */
const GATHER_MS = 400;
/** How long until a submission that found no room is tried again, if no job ends before that. */
const FULL_MS = 30_000;

/**
 * Opens the executor. Throws UserFault if this machine has no sbatch or the profile has a fault.
 */
export async function openSlurm(context: ExecutorContext): Promise<Executor> {
  const profile = loadProfile(context.spec, context.env);
  await checkCommands(context.env);
  const client = createClient({
    env: context.env,
    callSeconds: profile.callSeconds,
    log: context.log,
  });
  return new SlurmExecutor(context, profile, client);
}

class SlurmExecutor implements Executor {
  readonly queues;
  readonly #spool: Spool;
  readonly #tracker: Tracker;
  readonly #local: Executor | null;
  readonly #localQueue: PQueue;
  readonly #submitting: SubmitContext;
  /** Work that is to be submitted. It stays here until sbatch has answered. */
  #queued: Work[] = [];
  /** Keys of the stages that succeeded and whose results were handed on. */
  readonly #done = new Set<string>();
  /** Names of the submissions that this run has made or adopted. */
  readonly #submissions = new Set<string>();
  /** Names of the submissions whose folders stay after the run, for their logs. */
  readonly #kept = new Set<string>();
  readonly #pending = new Set<Promise<unknown>>();
  #arrayLimit: Promise<number> | null = null;
  /**
   * Set after sbatch found no room: how many jobs were in flight then, and when to try again at the
   * latest (ms, monotonic clock).
   */
  #full: { readonly until: number; readonly inFlight: number } | null = null;
  #toldFull = false;
  /** By a submission's name, the ids of its jobs and array elements to cancel. */
  readonly #cancels = new Map<string, Set<string>>();
  /** The timer of the next turn; null if none is set. */
  #timer: NodeJS.Timeout | null = null;
  /** When the timer goes off (ms, monotonic clock); infinity without one. */
  #due = Number.POSITIVE_INFINITY;
  /** The turn under way; null if there is none. */
  #turn: Promise<void> | null = null;
  #closed = false;

  constructor(
    readonly context: ExecutorContext,
    readonly profile: Profile,
    readonly client: SlurmClient,
  ) {
    this.queues = { jobs: profile.maxJobs, gatherMs: PACK_MS };
    this.#spool = new Spool(context.spool);
    this.#spool.sweep(new Date());
    this.#submitting = {
      spool: this.#spool,
      client,
      profile,
      taskCommand: context.taskCommand,
      excluded: new Set(profile.exclude),
    };
    this.#local = profile.local.size > 0 ? context.workers(context.cores) : null;
    this.#localQueue = new PQueue({ concurrency: context.cores });
    this.#tracker = new Tracker({
      ...this.#submitting,
      note: context.note,
      again: (work) => this.#queued.push(work),
      stray: (work) => this.#cancel(work),
      settled: (member, result) => this.#settleMember(member, result),
    });
  }

  run(...[job, hooks, signal]: Parameters<Executor['run']>): Promise<JobResult> {
    const [result] = this.runPack([{ job, hooks, signal }]);
    return result ?? Promise.reject(new Error('a job was handed over and has no result'));
  }

  /**
   * Takes stages of one kind, and returns the result of each, in order. They share a job, except
   * stages whose result or job an earlier run has left, and stages that are stopped already. Stages
   * of a kind that the profile lists under `local` run on this machine instead.
   */
  runPack(pack: readonly PackedJob[]): readonly Promise<JobResult>[] {
    const kind = pack[0]?.job.stage.name ?? '';
    const local = this.#local;
    if (local !== null && this.profile.local.has(kind))
      return pack.map(({ job, hooks, signal }) =>
        this.#localQueue.add(() => local.run(job, hooks, signal)),
      );
    const fresh: Member[] = [];
    const results = pack.map(
      (packed) =>
        new Promise<JobResult>((resolve) => {
          const { key } = packed.job;
          if (key === undefined) throw new Error(`${packed.job.id} has no key`);
          const member: Member = { ...packed, key, settle: resolve };
          if (packed.signal.aborted) resolve(STOPPED);
          else if (!this.#adopt(kind, member)) fresh.push(member);
          packed.signal.addEventListener('abort', () => this.#stop(member), { once: true });
        }),
    );
    if (fresh.length > 0) this.#queued.push(newWork(kind, fresh));
    this.#wake(GATHER_MS);
    return results;
  }

  /**
   * Takes over a stage's result or, if it has none yet, its job, which may be followed already or
   * be left from an earlier run, and returns true. Otherwise removes what the spool has of the
   * stage and returns false: the stage has to be submitted.
   */
  #adopt(kind: string, member: Member): boolean {
    const spool = this.#spool;
    const result = spool.result(member.key);
    if (result !== null) {
      this.#settleMember(member, result);
      return true;
    }
    const claim = spool.claim(member.key);
    const keys = claim && spool.taskKeys(claim);
    const intent = claim && spool.intent(claim.submission);
    if (!claim || !intent || keys?.includes(member.key) !== true || spool.hasResult(member.key)) {
      spool.forget(member.key);
      return false;
    }
    const known = this.#tracker.find(claim);
    if (known) {
      known.members.add(member);
      return true;
    }
    const work = newWork(kind, [member], intent);
    const id = spool.submitted(claim.submission);
    work.task = newTask(spool, claim, id, keys);
    this.#tracker.add(work);
    if (!this.#submissions.has(claim.submission)) {
      this.#remember(claim.submission, id, null);
      this.context.log(`adopted submission ${claim.submission}`);
    }
    return true;
  }

  /**
   * Hands on a result. After a failure, forgets the stage, so that it may be submitted again, and
   * keeps its submission's folder for the logs.
   */
  #settleMember(member: Member, result: JobResult): void {
    const submission = this.#spool.claim(member.key)?.submission;
    if (result.type === 'done') this.#done.add(member.key);
    else {
      if (submission !== undefined) this.#kept.add(submission);
      this.#spool.forget(member.key);
    }
    member.settle(result);
  }

  /**
   * Stops waiting for a stage; does nothing if it is neither queued nor in flight. Cancels its job,
   * unless other stages in the job are waited for, or one was stopped with `LEAVE`. If sbatch is
   * being called for the job, `#submit` cancels the job instead.
   */
  #stop(member: Member): void {
    const work = [...this.#tracker.works, ...this.#queued].find(({ members }) =>
      members.has(member),
    );
    if (work === undefined) return;
    work.members.delete(member);
    if (member.signal.reason !== LEAVE) this.#spool.disclaim(member.key);
    else if (work.task) {
      work.task.left = true;
      this.#kept.add(work.task.claim.submission);
    }
    if (work.members.size === 0) {
      if (this.#tracker.remove(work)) this.#cancel(work);
      this.#dequeue([work]);
    }
    member.settle(STOPPED);
  }

  #dequeue(works: readonly Work[]): void {
    const taken = new Set(works);
    this.#queued = this.#queued.filter((work) => !taken.has(work));
  }

  /**
   * Cancels a submitted job, unless one of its stages was stopped with `LEAVE`: such a job goes on
   * without this run. Jobs of one submission that are cancelled at the same time share one call of
   * scancel. A job whose own id Slurm has not shown yet is followed until Slurm shows it, and then
   * cancelled: its name or its array's id would cancel other jobs too.
   */
  #cancel(work: Work): void {
    if (work.task === null || work.task.left) return;
    const { claim, element } = work.task;
    if (element === null) {
      this.#tracker.add(work);
      return;
    }
    if (this.#cancels.size === 0) setImmediate(() => this.#callCancels());
    const ids = this.#cancels.get(claim.submission) ?? new Set();
    this.#cancels.set(claim.submission, ids.add(element));
  }

  #callCancels(): void {
    for (const [name, ids] of this.#cancels) this.#track(this.client.cancel(name, [...ids]));
    this.#cancels.clear();
  }

  /**
   * Lists a submission in the run's record, for `cancel`. An error is only logged.
   * @param id Slurm's id; null if it is not known
   * @param tasks the number of jobs; null for a submission of an earlier run
   */
  #remember(name: string, id: string | null, tasks: number | null): void {
    this.#submissions.add(name);
    try {
      recordSubmission(this.context.dir, { name, id, tasks, spool: this.context.spool });
    } catch (error) {
      this.context.log(`the submission can't be recorded: ${(error as Error).message}`);
    }
  }

  #track(promise: Promise<unknown>): void {
    this.#pending.add(promise);
    void promise.finally(() => this.#pending.delete(promise));
  }

  /**
   * Takes a turn after `ms`, or earlier if one is due earlier already, and further turns while jobs
   * are queued or in flight. Does nothing once the executor is closed.
   */
  #wake(ms: number): void {
    if (this.#closed) return;
    const due = performance.now() + ms;
    if (this.#timer !== null && this.#due <= due) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#due = Number.POSITIVE_INFINITY;
      this.#turn ??= this.#takeTurn().finally(() => {
        this.#turn = null;
        const { pollSeconds } = this.profile;
        if (this.#queued.length > 0 && this.#hasRoom()) this.#wake(GATHER_MS);
        else if (this.#queued.length + this.#tracker.size > 0) this.#wake(pollSeconds * 1000);
      });
    }, ms);
  }

  async #takeTurn(): Promise<void> {
    try {
      await this.#submitQueued();
      await this.#tracker.poll();
      // Submit in the same turn what the poll has put back into the queue.
      await this.#submitQueued();
    } catch (error) {
      this.#failAll(error as Error);
    }
  }

  /**
   * Submits what is queued while there is room. The rest stays queued. Fails the stages of a job
   * whose files can't be written.
   */
  async #submitQueued(): Promise<void> {
    if (this.#queued.length === 0 || this.#closed || !this.#hasRoom()) return;
    this.#arrayLimit ??= arrayLimit(this);
    const most = await this.#arrayLimit;
    const waiting = [...batchByRequest(this.#queued, this.profile, most)];
    for (let batch = waiting.shift(); batch !== undefined; batch = waiting.shift()) {
      const works = batch.works.filter(({ members }) => members.size > 0);
      if (works.length === 0) continue;
      if (!this.#hasRoom()) return;
      try {
        waiting.unshift(...(await this.#submit({ ...batch, works })));
      } catch (thrown) {
        const error = thrown as Error; // the job's files can't be written, as on a full disk
        this.context.log(error.stack ?? error.message);
        this.#fail(
          works,
          `its job can't be written: ${error.message}`,
          `free some space in ${this.context.spool} or mend what it says, and run it again`,
        );
      }
    }
  }

  /** Fails stages that were not submitted. The next run submits them. */
  #fail(works: readonly Work[], message: string, hint: string): void {
    this.#dequeue(works);
    for (const member of works.flatMap(({ members }) => [...members]))
      this.#settleMember(member, { type: 'fault', message, hint, cutOff: true });
  }

  /**
   * Whether sbatch may find room for more jobs. After it found none, this is false until a job ends
   * or FULL_MS have passed.
   */
  #hasRoom(): boolean {
    const full = this.#full;
    if (full !== null && this.#tracker.size >= full.inFlight && performance.now() < full.until)
      return false;
    this.#full = null;
    return true;
  }

  /**
   * Submits a batch. Returns what to try again at once: the batch, if its script had been removed;
   * its two halves, if there was no room for the whole; else nothing.
   */
  async #submit(batch: Batch): Promise<readonly Batch[]> {
    const { works, request } = batch;
    const outcome = await submitBatch(batch, this.#submitting);
    const { name } = outcome;
    if (outcome.type === 'unread' && works.every(({ tries }) => tries < this.profile.maxRequeues)) {
      this.context.note(`sbatch: ${outcome.message}; its stages are submitted again`);
      for (const work of works) work.tries++;
      return [batch];
    }
    switch (outcome.type) {
      case 'submitted':
      case 'uncertain':
        if (outcome.type === 'uncertain')
          this.context.note(`sbatch: ${outcome.message}; looking whether ${name} was submitted`);
        this.#remember(name, outcome.type === 'submitted' ? outcome.id : null, works.length);
        this.#dequeue(works);
        for (const work of works) {
          if (work.members.size > 0) this.#tracker.add(work);
          else this.#cancel(work); // stopped while sbatch ran
        }
        return [];
      case 'unread':
      case 'refused':
        this.#fail(
          works,
          `sbatch refused the job: ${outcome.message}`,
          `${this.profile.file ?? 'a slurm.yaml beside the spec'} says what the site is ` +
            'asked for; dosimeter plan --executor slurm shows it',
        );
        return [];
      case 'full': {
        if (works.length > 1 && !outcome.waited) {
          const half = Math.ceil(works.length / 2);
          return [works.slice(0, half), works.slice(half)].map((part) => ({
            request,
            works: part,
          }));
        }
        this.#full = { until: performance.now() + FULL_MS, inFlight: this.#tracker.size };
        if (!this.#toldFull)
          this.context.note(`sbatch: ${outcome.message}; the rest is submitted as jobs end`);
        this.#toldFull = true;
        return [];
      }
    }
  }

  /** Fails all stages that are queued or in flight, after an error such as an unusable spool. */
  #failAll(error: Error): void {
    this.context.log(error.stack ?? error.message);
    const works = [...this.#queued.splice(0), ...this.#tracker.works];
    for (const work of works) {
      this.#tracker.remove(work);
      for (const member of work.members)
        member.settle({
          type: 'fault',
          message: `the jobs can't be followed any more: ${error.message}`,
          hint: `look at ${this.context.spool}; a rerun adopts the jobs in flight`,
          cutOff: true,
        });
      work.members.clear();
    }
  }

  /**
   * Stops submitting and polling, and waits for the poll that is under way and for the calls of
   * scancel. Jobs that go on are left in Slurm, where a rerun adopts them. Closes the workers of
   * this machine, and removes what nothing needs any more.
   */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#turn;
    await this.#cancelStrays();
    this.#callCancels();
    await Promise.allSettled([...this.#pending]);
    await this.#local?.close();
    this.#tidy();
  }

  /** Looks once more for jobs to cancel, and tells the user of those that Slurm does not show. */
  async #cancelStrays(): Promise<void> {
    const strays = (): ReadonlySet<string> =>
      new Set(
        [...this.#tracker.works].flatMap(({ task, members }) =>
          task && members.size === 0 ? task.claim.submission : [],
        ),
      );
    if (strays().size > 0) await this.#tracker.poll();
    for (const name of strays())
      this.context.note(
        `Slurm does not show all jobs of ${name} that were to be cancelled; ` +
          `squeue --name=${name} says whether there are any, and scancel cancels them`,
      );
  }

  /**
   * Removes the folders of stages whose outputs are in the store, and of submissions that nothing
   * needs any more.
   */
  #tidy(): void {
    const busy = new Set(this.#kept);
    for (const { task } of this.#tracker.works) if (task) busy.add(task.claim.submission);
    for (const key of this.#done) {
      const submission = this.#spool.claim(key)?.submission;
      if (this.#spool.result(key) === null) this.#spool.forget(key);
      else if (submission !== undefined) busy.add(submission); // not in the store: kept for a rerun
    }
    for (const name of this.#submissions) if (!busy.has(name)) this.#spool.removeSubmission(name);
  }
}

/** The result of a stage that the run no longer waits for. */
const STOPPED: JobResult = { type: 'exit', code: null, signal: 'SIGTERM' };
