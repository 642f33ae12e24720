/**
 * The Python process that computes for the backend `torch`: one for each process of Node, started
 * when it is first asked for, and kept. It never keeps Node alive, and ends with it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { UserFault } from '../api.ts';
import { lastingChildren, processWide } from '../base/process-wide.ts';
import { requestLine, type TorchOperations } from './protocol.ts';
import { findPython, type TorchPython, torchVersion, WORKER } from './python.ts';

/** What the process says of itself once it has loaded torch. */
interface TorchFacts extends Pick<
  TorchPython,
  'python' | 'executable' | 'packages' | 'bitsandbytes' | 'lm_eval'
> {
  readonly device: string;
  /** The GPU's name; null when the processor computes. */
  readonly gpu: string | null;
  readonly threads: number;
  readonly deterministic: boolean;
}

export interface TorchWorker {
  readonly facts: TorchFacts;
  /**
   * Asks for one operation; requests are answered in turn. After a fault that leaves the process
   * unusable, every later request to this worker is rejected with the same error, since its models
   * are gone; `torchWorker` then starts another.
   * @param signal once aborted, rejects the request, and ends the process if the request has begun
   * @throws UserFault where the operation, or a lack of memory, is at fault; otherwise Error
   */
  ask<Op extends keyof TorchOperations>(
    op: Op,
    request: TorchOperations[Op][0],
    signal?: AbortSignal,
  ): Promise<TorchOperations[Op][1]>;
  /** Ends the process. Resolves when it has ended. */
  end(): Promise<void>;
}

export interface TorchOptions {
  /** How many threads an operation may use; read when a process is started. */
  readonly threads?: number;
  /**
   * The version that keys contain (`torchVersion`). From now on, a process with other releases is
   * refused. By default, the version that was given last.
   */
  readonly version?: string | undefined;
}

/** After this many processes in a row that ended without an answer, no other is started. */
const MOST_FAILURES = 3;

/**
 * Returns this process's worker. Starts it if there is none or the last one has ended.
 * @throws UserFault if there is no Python that will do, or it can't load its packages
 */
export const torchWorker = (options: TorchOptions = {}): Promise<TorchWorker> =>
  processWide('torch-worker', () => new Workers()).get(options);

class Workers {
  #current: Promise<Worker> | null = null;
  /** How many processes in a row have ended without having answered a request. */
  #failures = 0;
  #version: string | undefined;

  async get(options: TorchOptions): Promise<Worker> {
    this.#version = options.version ?? this.#version;
    // A start that failed is tried again too: the fault may have been put right.
    const last = this.#current,
      current = await last?.catch(() => null);
    if (current && current.ended === null) {
      this.#checkVersion(current);
      return current;
    }
    if (this.#current !== last) return this.get(options); // another caller has started one
    if (this.#failures >= MOST_FAILURES)
      throw new UserFault(
        `PyTorch's process has ended ${this.#failures} times before it had computed anything`,
        'see what `npx dosimeter doctor --backend torch` says',
      );
    return (this.#current = this.#start(options));
  }

  /** Starts a process, and waits until it is ready. Throws as `torchWorker` does. */
  async #start({ threads = Number(process.env['DOSIMETER_THREADS'] ?? 1) }: TorchOptions) {
    const python = await findPython();
    if ('fault' in python)
      throw new UserFault(
        `the backend "torch" is not available: ${python.fault}`,
        python.remedy === null ? undefined : `run \`${python.remedy}\``,
      );
    const worker = new Worker(python, threads, (failed) => {
      this.#failures = failed ? this.#failures + 1 : 0;
    });
    await worker.ready;
    try {
      this.#checkVersion(worker);
    } catch (error) {
      await worker.end();
      throw error;
    }
    return worker;
  }

  /** Throws if the worker has other releases: its results would be stored under wrong keys. */
  #checkVersion({ facts }: Worker): void {
    const loaded = torchVersion(facts);
    if (this.#version !== undefined && loaded !== this.#version)
      throw new UserFault(
        `PyTorch's process has ${loaded}, and this run began with ${this.#version}`,
        'run again: what another release computes has results of its own',
      );
  }
}

/** A line that the process writes: `ready` or `failed` at its start, then one for each request. */
interface Answer {
  /** The `id` of the request that is answered. */
  readonly id?: number;
  readonly ready?: TorchFacts;
  readonly failed?: { readonly message: string; readonly trace: string };
  readonly result?: unknown;
  readonly error?: {
    readonly kind: 'fault' | 'memory' | 'device' | 'killed' | 'error';
    readonly message: string;
    readonly hint?: string;
    readonly trace?: string;
    /** Set if the process answers nothing more. Such an error may come without a request. */
    readonly ends?: true;
  };
}

class Worker implements TorchWorker {
  readonly #child: ChildProcess;
  readonly #requests: Socket;
  readonly #python: TorchPython;
  readonly #onEnd: (failed: boolean) => void;
  readonly #exited: Promise<void>;
  readonly ready: Promise<void>;
  #facts: TorchFacts | null = null;
  /** Why the process must not be used again; null while it may be. */
  ended: Error | null = null;
  #pending: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | null = null;
  /** Resolves when the last request has ended. The next request waits for that. */
  #last: Promise<unknown>;
  #id = 0;
  /** Whether the process has answered a request, or told of an error that ends it. */
  #used = false;

  constructor(python: TorchPython, threads: number, onEnd: (failed: boolean) => void) {
    this.#python = python;
    this.#onEnd = onEnd;
    const child = spawn(python.command, [WORKER], {
      // What Python prints goes to this process's stderr, so that a stage's log has it.
      stdio: ['ignore', 2, 2, 'pipe', 'pipe'],
      env: {
        ...process.env,
        DOSIMETER_THREADS: String(threads),
        OMP_NUM_THREADS: String(threads),
        // Node alone fetches files.
        HF_HUB_OFFLINE: '1',
        TOKENIZERS_PARALLELISM: 'false',
        TRANSFORMERS_VERBOSITY: 'error',
        // Deterministic products on a GPU need this.
        CUBLAS_WORKSPACE_CONFIG: ':4096:8',
      },
    });
    this.#child = child;
    const { pid } = child;
    if (pid !== undefined) lastingChildren().add(pid);
    this.#requests = child.stdio[3] as Socket;
    const answers = child.stdio[4] as Socket;
    // A pipe breaks when the process ends, which the event 'exit' tells.
    for (const pipe of [this.#requests, answers]) pipe.on('error', () => undefined);
    this.#exited = new Promise((resolve) => {
      const onGone = (error: Error): void => {
        if (pid !== undefined) lastingChildren().delete(pid);
        this.#stop(error);
        resolve();
      };
      child.once('error', (error) => onGone(this.#startFault(error.message)));
      child.once('exit', (code, signal) => onGone(this.#exitFault(code, signal)));
    });
    createInterface({ input: answers }).on('line', (line) => this.#receive(line));
    this.ready = this.#nextAnswer().then(({ ready }) => {
      this.#facts = ready ?? null;
    });
    this.#last = this.ready.catch(() => undefined);
  }

  get facts(): TorchFacts {
    if (this.#facts === null) throw new Error('the worker is not ready');
    return this.#facts;
  }

  ask<Op extends keyof TorchOperations>(
    op: Op,
    request: TorchOperations[Op][0],
    signal?: AbortSignal,
  ): Promise<TorchOperations[Op][1]> {
    const asked = this.#last.then(() => this.#request(op, request, signal));
    this.#last = asked.catch(() => undefined);
    return asked as Promise<TorchOperations[Op][1]>;
  }

  async #request(op: string, request: object, signal?: AbortSignal): Promise<unknown> {
    signal?.throwIfAborted();
    if (this.ended !== null) throw this.ended;
    const id = ++this.#id;
    const onAbort = (): void => this.#stop(signal?.reason as Error, true);
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      const answered = this.#nextAnswer();
      this.#requests.write(requestLine({ id, op, ...request }));
      const answer = await answered;
      this.#used = true;
      if (answer.error) throw this.#errorOf(answer.error);
      return answer.result;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  async end(): Promise<void> {
    this.#stop(new Error("PyTorch's process has been ended"), true);
    await this.#last; // the last request calls `unref` when it settles
    this.#child.ref(); // or Node might exit before the process
    await this.#exited;
  }

  /** Resolves to the next answer, and keeps Node alive until it comes. */
  #nextAnswer(): Promise<Answer> {
    const lifelines = [this.#child, this.#requests, this.#child.stdio[4] as Socket];
    for (const each of lifelines) each.ref();
    return new Promise<Answer>((resolve, reject) => {
      this.#pending = { resolve, reject };
    }).finally(() => {
      this.#pending = null;
      for (const each of lifelines) each.unref();
    });
  }

  /**
   * Takes a line of the process, and resolves the pending request with it. Ends the process if the
   * line says that the process failed to start or answers nothing more, or if it is no answer to
   * the request.
   */
  #receive(line: string): void {
    if (this.ended !== null) return;
    const answer = parseAnswer(line);
    const pending = this.#pending;
    if (answer?.failed) this.#stop(this.#startFault(answer.failed.message));
    else if (answer?.error?.ends) {
      this.#used = true; // not a failed start
      this.#stop(this.#errorOf(answer.error));
    } else if (pending && answer && (answer.ready ? this.#id === 0 : answer.id === this.#id))
      pending.resolve(answer);
    else this.#stop(new Error(`PyTorch's process wrote what is no answer: ${line.slice(0, 200)}`));
  }

  /**
   * Ends the process and rejects the pending request.
   * @param wanted whether `end` or an aborted signal asks for it, not a fault
   */
  #stop(error: Error, wanted = false): void {
    if (this.ended !== null) return;
    this.ended = error;
    this.#child.kill('SIGKILL');
    this.#onEnd(!wanted && !this.#used);
    this.#pending?.reject(error);
  }

  /** Returns an answer's error. Ends the process if the error leaves it unusable. */
  #errorOf({ kind, message, hint, trace }: NonNullable<Answer['error']>): Error {
    let error: Error = new Error(message);
    if (kind === 'memory') error = new CutOff(`memory ran out: ${message}`, LESS_MEMORY);
    else if (kind === 'killed') error = killedFault(message);
    else if (kind === 'fault') error = new UserFault(message, hint);
    else if (trace !== undefined) error.stack = trace;
    // After a device error CUDA computes nothing more, and after memory ran out, what was allocated
    // is not freed: the process is of no more use.
    if (kind === 'memory' || kind === 'device') this.#stop(error);
    return error;
  }

  #startFault(message: string): UserFault {
    const { command, from } = this.#python;
    return new UserFault(
      `${command} (${from}) can't load PyTorch: ${message}`,
      `see what \`${command} -c 'import torch, transformers, peft'\` says`,
    );
  }

  #exitFault(code: number | null, signal: NodeJS.Signals | null): Error {
    const how = signal === null ? `exit code ${String(code)}` : signal;
    if (signal === 'SIGKILL') return killedFault("PyTorch's process was ended by SIGKILL");
    return this.#facts === null
      ? this.#startFault(`its process ended (${how})`)
      : new Error(`PyTorch's process ended by itself (${how}); what it printed is in the log`);
  }
}

/** A fault after which another attempt goes on from what the stage has saved (`JobResult`). */
class CutOff extends UserFault {
  readonly cutOff = true;
}

const LESS_MEMORY =
  'a smaller train.batch_size with a larger train.accumulate trains the same in less memory, and ' +
  'so does train.gradient_checkpointing: true; a smaller train.max_length or --pack, ' +
  'model.dtype: bf16, model.quantize: nf4 or --jobs 1 also need less';

/** Returns the fault of a process that was killed. @param what begins the message, and says so */
const killedFault = (what: string): UserFault =>
  new CutOff(
    `${what}, as the system does when memory runs out`,
    `If you ended it, run again: what is finished is kept. Else ${LESS_MEMORY}`,
  );

/** Returns a line as an answer; null if it is not JSON of an object. */
function parseAnswer(line: string): Answer | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}
