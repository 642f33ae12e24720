/**
 * Follows the jobs in flight. A stage has ended when its result file says so. If there is no
 * result, Slurm's state tells why, and whether to wait for one. Each poll makes one query for all
 * jobs.
 */
import type { JobResult } from '../../../src/api.ts';
import { anyOf, nodeName, type Phase, phaseOf, type Row } from './client.ts';
import type { SubmitContext } from './submit.ts';
import type { Member, Task, Work } from './work.ts';

interface TrackerOptions extends Omit<SubmitContext, 'taskCommand'> {
  readonly note: (message: string) => void;
  /** Called with work that has to be submitted again. */
  readonly again: (work: Work) => void;
  /** Called with a job without stages once Slurm has shown it; it is no longer followed. */
  readonly stray: (work: Work) => void;
  /** Called with each stage and its result. */
  readonly settled: (member: Member, result: JobResult) => void;
  /** Returns a time in milliseconds by a monotonic clock. */
  readonly now?: () => number;
}

/** How many queries in a row must show a job as ended, or not show it, before that counts. */
const SURE_AFTER = 2;
/**
 * How long squeue must not show a job before sacct is asked about it: sbatch may take effect late.
 */
const LOST_MS = 12_000;
/**
 * How long a job that squeue does not show may stay active in sacct's records, which lag behind.
 * After this time, the job counts as lost.
 */
const STALE_MS = 60_000;
/** The longest time until the next query after one that failed, in multiples of the usual time. */
const MOST_BACKOFF = 16;

/** Slurm's reasons for waiting that do not pass by themselves. */
const HELD = anyOf([
  'launch failed',
  'requeued held',
  'JobHeld',
  'BadConstraints',
  'ReqNodeNotAvail',
  'InvalidAccount',
  'InvalidQOS',
  'PartitionDown',
  'PartitionInactive',
  'PartitionNodeLimit',
  'PartitionTimeLimit',
  'DependencyNeverSatisfied',
  'user env retrieval',
]);

export class Tracker {
  readonly #options: Required<TrackerOptions>;
  readonly #inFlight = new Map<string, Work>();
  #failures = 0;
  #nextQuery = Number.NEGATIVE_INFINITY;

  constructor(options: TrackerOptions) {
    this.#options = { now: () => performance.now(), ...options };
  }

  get size(): number {
    return this.#inFlight.size;
  }

  get works(): Iterable<Work> {
    return this.#inFlight.values();
  }

  /** Returns the job of a claim; undefined if it is not followed. */
  find({ submission, task }: Task['claim']): Work | undefined {
    return this.#inFlight.get(`${submission}/${task}`);
  }

  add(work: Work): void {
    const { claim } = submittedTask(work);
    this.#inFlight.set(`${claim.submission}/${claim.task}`, work);
  }

  /** Stops following a job. Returns whether it was followed. */
  remove({ task }: Work): boolean {
    return task !== null && this.#inFlight.delete(`${task.claim.submission}/${task.claim.task}`);
  }

  /**
   * Reads the files of all jobs, and asks Slurm about the jobs that still lack results. While
   * queries fail, Slurm is asked less and less often.
   */
  async poll(): Promise<void> {
    for (const work of [...this.#inFlight.values()]) this.#readResults(work);
    const { client, profile, note, now } = this.#options;
    if (this.#inFlight.size === 0 || now() < this.#nextQuery) return;
    const rows = await client.queue();
    if (rows === null) {
      this.#failures++;
      const factor = Math.min(MOST_BACKOFF, 2 ** this.#failures);
      this.#nextQuery = now() + factor * profile.pollSeconds * 1000;
      if (this.#failures === 3)
        note('squeue fails; the jobs go on, and their results are read meanwhile');
      return;
    }
    if (this.#failures >= 3) note('squeue answers again');
    this.#failures = 0;
    this.#nextQuery = Number.NEGATIVE_INFINITY;
    await this.#update(rows);
  }

  /**
   * Settles the stages that have a result, and passes on what the job printed. The result of a
   * killed process is put aside until Slurm says why it was killed.
   */
  #readResults(work: Work): void {
    const { spool } = this.#options;
    const task = submittedTask(work);
    const results = [...work.members].map((member) => [member, spool.result(member.key)] as const);
    // Read the events after the results: a stage prints before it writes its result, so nothing
    // that it printed is missed.
    task.relay.pass(work.members);
    for (const [member, result] of results) {
      if (result === null) continue;
      if (result.type === 'exit' && result.signal === 'SIGKILL') task.killed.set(member, result);
      else this.#settle(work, member, result);
    }
  }

  #settle(work: Work, member: Member, result: JobResult): void {
    work.members.delete(member);
    if (work.members.size === 0) this.remove(work);
    this.#options.settled(member, result);
  }

  async #update(rows: readonly Row[]): Promise<void> {
    const shown = byTask(rows);
    const missing: Work[] = [];
    for (const work of [...this.#inFlight.values()]) {
      const task = submittedTask(work);
      const row = shown.get(`${task.claim.submission}/${task.claim.task}`);
      if (row === undefined) this.#noteMissing(work, task, missing);
      else this.#noteShown(work, task, row);
    }
    if (missing.length > 0) await this.#askAccounts(missing);
  }

  /**
   * Notes how a query shows a job. Concludes the job once SURE_AFTER queries in a row show it as
   * ended.
   */
  #noteShown(work: Work, task: Task, row: Row): void {
    const { spool } = this.#options;
    task.missed = 0;
    task.element = row.id;
    tellPlace(work, task, row);
    if (task.id === null) {
      task.id = row.id.split('_')[0] ?? row.id;
      spool.setSubmitted(task.claim.submission, task.id);
    }
    if (work.members.size === 0) {
      this.remove(work);
      this.#options.stray(work);
      return;
    }
    if (phaseOf(row.state) === 'active') {
      task.ended = 0;
      this.#handleHeld(work, task, row);
    } else if (++task.ended >= SURE_AFTER) this.#conclude(work, task, row);
  }

  /**
   * Tells the user of a job that will not start by itself, once for each reason. Resubmits a job
   * that could not be launched.
   */
  #handleHeld(work: Work, task: Task, { id, state, reason, nodes }: Row): void {
    const { note } = this.#options;
    if (state !== 'PENDING' || !HELD.test(reason) || task.toldReason === reason) return;
    task.toldReason = reason;
    if (/launch failed/i.test(reason)) {
      this.#exclude(nodes, `Slurm says "${reason}"`);
      this.#resubmit(work, `job ${id} could not be launched`);
    } else note(`Slurm job ${id} (${work.kind}) is held: ${reason}`);
  }

  /**
   * Notes that a query did not show a job. Adds the job to `missing` after SURE_AFTER such queries
   * in a row, over at least LOST_MS.
   */
  #noteMissing(work: Work, task: Task, missing: Work[]): void {
    const { now } = this.#options;
    if (task.missed++ === 0) task.missedSince = now();
    if (task.missed >= SURE_AFTER && now() - task.missedSince >= LOST_MS) missing.push(work);
  }

  /**
   * Concludes jobs that squeue no longer shows, by sacct's records. A job without a record is lost.
   * A job that its record shows as active is left alone for STALE_MS, and then is lost too.
   */
  async #askAccounts(missing: readonly Work[]): Promise<void> {
    const { client, spool, now } = this.#options;
    const names = [...new Set(missing.map((work) => submittedTask(work).claim.submission))];
    const created = names.map((name) => Date.parse(spool.intent(name)?.created ?? '') || 0);
    // Ask from an hour before, because the hosts' clocks may differ.
    const since = new Date(Math.max(0, Math.min(...created) - 3_600_000));
    const records = byTask((await client.accounts(names, since)) ?? []);
    for (const work of missing) {
      const task = submittedTask(work);
      const row = records.get(`${task.claim.submission}/${task.claim.task}`);
      if (row !== undefined && phaseOf(row.state) !== 'active') this.#conclude(work, task, row);
      else if (row === undefined || now() - task.missedSince >= STALE_MS)
        this.#conclude(work, task, null);
    }
  }

  /**
   * Settles the stages of a job that is over, or submits them again.
   * @param row null if Slurm does not know the job any more
   */
  #conclude(work: Work, task: Task, row: Row | null): void {
    const { spool } = this.#options;
    this.#readResults(work);
    const phase = row === null ? 'lost' : this.#phaseAtEnd(task, row);
    // A stage is not at fault if Slurm has killed its process, for its memory or to end the job.
    const killedBySlurm = phase === 'memory' || phase === 'cut';
    for (const [member, result] of task.killed) {
      if (!work.members.has(member)) continue;
      if (killedBySlurm) spool.forget(member.key);
      else this.#settle(work, member, result);
    }
    if (work.members.size === 0) {
      this.remove(work);
      return;
    }
    const id = task.element ?? task.id;
    const job = `Slurm job ${id ?? task.claim.submission}`;
    if (row === null)
      this.#resubmit(work, task.id === null ? '' : `${job} is not known to Slurm any more`);
    else if (phase === 'cut') {
      if (row.state === 'TIMEOUT') work.longer++;
      this.#resubmit(work, `${job} was ended by Slurm (${row.state})`);
    } else if (phase === 'cancelled')
      this.#fail(work, `${job} was cancelled`, 'run it again to submit it anew');
    else if (phase === 'memory') this.#handleOutOfMemory(work, job);
    else this.#handleMissingResult(work, task, row, job);
  }

  /**
   * Returns the phase of a job that has ended: `memory` even if only slurmstepd says that it ran
   * out.
   */
  #phaseAtEnd({ claim }: Task, { state }: Row): Phase {
    const phase = phaseOf(state);
    return phase === 'ended' && this.#options.spool.outgrewMemory(claim) ? 'memory' : phase;
  }

  /**
   * Resubmits the stages of a job that ran out of memory, with twice the memory. Fails them if
   * their memory was already doubled `memoryRetries` times.
   */
  #handleOutOfMemory(work: Work, job: string): void {
    const { profile, spool } = this.#options;
    const asked = spool.intent(submittedTask(work).claim.submission)?.request.memoryMB;
    const had = `${job} ran out of memory${asked === undefined ? '' : ` (${asked} MB)`}`;
    if (work.more >= profile.settings(work.kind).memoryRetries) {
      this.#fail(
        work,
        had,
        'raise `memory_mb` or `memory_retries` of its stage kind in slurm.yaml',
      );
      return;
    }
    work.more++;
    this.#resubmit(work, `${had} and gets twice as much`);
  }

  /**
   * Handles a job that ended by itself, without results of some stages: submits these again or
   * fails them.
   */
  #handleMissingResult(work: Work, task: Task, row: Row, job: string): void {
    const { spool } = this.#options;
    const { claim, relay } = task;
    const bad = spool.faultyNode(claim);
    if (bad !== null) {
      this.#exclude(bad.node, bad.why);
      this.#resubmit(work, `${job} found its node at fault`);
    } else if (relay.interrupted || spool.wasSignalled(claim)) {
      work.longer++;
      this.#resubmit(work, `${job} was stopped before its end (${row.state})`);
    } else if ([...work.members].some(({ key }) => spool.hasResult(key))) {
      for (const { key } of work.members) spool.forget(key);
      this.#resubmit(work, `${job} left files that can't be read here`);
    } else if (!spool.hasBegun(claim)) {
      // If the submission's folder was removed, no node could have begun: this one is not at fault.
      if (spool.hasSubmission(claim.submission))
        this.#exclude(row.nodes, `job ${row.id} ended there before it began`);
      const printed = spool.lastPrinted(claim);
      this.#resubmit(
        work,
        `${job} ended before it began (${row.state})${printed ? `: ${printed}` : ''}`,
      );
    } else
      this.#fail(
        work,
        `${job} ended without a result (${row.state} on ${row.nodes})`,
        `what it printed: ${spool.logFile(claim)}`,
      );
  }

  /** Gives a node no more jobs. Does nothing if `nodes` does not name exactly one. */
  #exclude(nodes: string, why: string): void {
    const { excluded, note } = this.#options;
    const node = nodeName(nodes);
    if (node === null || excluded.has(node)) return;
    excluded.add(node);
    note(`node ${node} gets no more jobs of this run: ${why}`);
  }

  #fail(work: Work, message: string, hint: string): void {
    for (const member of [...work.members])
      this.#settle(work, member, { type: 'fault', message, hint, cutOff: true });
  }

  /**
   * Puts work back into the queue, or fails it if it was submitted too often. Cancels its job
   * first, if Slurm has shown the job.
   * @param why what the user is told; '' (no note) if perhaps no job was submitted
   */
  #resubmit(work: Work, why: string): void {
    const { profile, spool, client, note, again } = this.#options;
    const task = submittedTask(work);
    if (work.tries >= profile.maxRequeues) {
      this.#fail(
        work,
        `it was submitted ${work.tries + 1} times without a result` +
          (why === '' ? '' : `; the last time, ${why}`),
        `what it printed: ${spool.logFile(task.claim)}`,
      );
      return;
    }
    if (why !== '') note(`${why}; its stages are submitted again`);
    this.remove(work);
    if (task.element !== null) void client.cancel(task.claim.submission, [task.element]);
    for (const { key } of work.members) spool.disclaim(key);
    work.tries++;
    work.task = null;
    again(work);
  }
}

/** Returns the task of submitted work. Throws if there is none. */
function submittedTask({ task }: Work): Task {
  if (task === null) throw new Error('work in flight has no task');
  return task;
}

/** Tells a job's stages where the job is, if that has changed since they were last told. */
function tellPlace({ members }: Work, task: Task, { id, state, reason, nodes }: Row): void {
  const waits = state === 'PENDING' ? reason : null;
  const place = { job: `Slurm job ${id}`, node: waits === null ? nodeName(nodes) : null, waits };
  const text = JSON.stringify(place);
  if (text === task.toldPlace) return;
  task.toldPlace = text;
  for (const { hooks } of members) hooks.onPlace?.(place);
}

/**
 * Returns rows by `NAME/INDEX`: the submission and the task. If sbatch submitted a job twice, the
 * active one counts. Ids are not compared: a controller that has lost its state gives them to other
 * jobs.
 */
function byTask(rows: readonly Row[]): ReadonlyMap<string, Row> {
  const found = new Map<string, Row>();
  for (const row of rows) {
    const task = `${row.name}/${row.index}`;
    const other = found.get(task);
    if (other === undefined || phaseOf(other.state) !== 'active') found.set(task, row);
  }
  return found;
}
