/** Runs in a folder of their own, written as a run writes them, and a client of the server. */
import { appendFileSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type * as uvu from 'uvu';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../../src/api.ts';
import { PROGRESS_FILE, type RecordedStage, writeRunPlan } from '../../src/run/log/run-plan.ts';
import { readEvents, type Sent } from '../../src/serve/browser/connection.ts';
import { serve, type Serving } from '../../src/serve/server.ts';
import { thisProcess } from '../../src/store/owner.ts';
import { seal, writeSealed } from '../../src/store/sealed.ts';

export interface FakeRun {
  readonly id: string;
  readonly dir: string;
  /** Adds events to the journal. */
  record(...events: readonly JsonObject[]): void;
  /** Adds a text to the journal as it is. */
  scribble(text: string): void;
  log(stage: string, text: string): void;
  /** @param places where a scheduler has the jobs of stages */
  progress(stages: JsonObject, places?: JsonObject): void;
}

export interface FakeRuns {
  readonly dir: string;
  readonly runs: string;
  readonly store: string;
  /**
   * Begins a run of this process, with a plan unless `stages` is null.
   * @param host the name of another machine that it is on
   */
  run(id: string, stages: readonly RecordedStage[] | null, host?: string): FakeRun;
  /** Writes an entry. Returns its key. */
  entry(name: string, files: { readonly [name: string]: string | Buffer }): string;
}

/** @param dir the folder of the runs and the store; by default, a new one */
export function createRuns(dir = mkdtempSync(path.join(tmpdir(), 'dosimeter-'))): FakeRuns {
  const runs = path.join(dir, 'runs'),
    store = path.join(dir, 'store');
  mkdirSync(runs, { recursive: true });
  return {
    dir,
    runs,
    store,
    run(id, stages, host) {
      const at = path.join(runs, id);
      mkdirSync(path.join(at, 'logs'), { recursive: true });
      if (stages !== null)
        writeRunPlan(at, { name: 'toys', store, backend: 'cpu', executor: 'local', stages });
      const journal = path.join(at, 'journal.jsonl');
      let events = 0;
      const run: FakeRun = {
        id,
        dir: at,
        record(...added) {
          const lines = added.map((event) => {
            const time = new Date(Date.UTC(2026, 0, 1, 12) + 1000 * events++).toISOString();
            return `${seal({ time, ...event }, 8)}\n`;
          });
          appendFileSync(journal, lines.join(''));
        },
        scribble: (text) => appendFileSync(journal, text),
        log: (stage, text) => appendFileSync(path.join(at, 'logs', `${stage}.log`), text),
        progress: (found, places = {}) =>
          writeSealed(path.join(at, PROGRESS_FILE), { stages: found, places }),
      };
      run.record(
        {
          event: 'created',
          spec: '/home/ada/toys.yaml',
          ...thisProcess(),
          ...(host === undefined ? {} : { hostname: host, owner: '0123456789ab-7-7-1' }),
        },
        { event: 'started', stages: stages?.length ?? 3, cached: 0 },
      );
      return run;
    },
    entry(name, files) {
      const key = Buffer.from(name).toString('hex').padStart(64, '0').slice(-64);
      const at = path.join(store, key.slice(0, 2), key);
      mkdirSync(at, { recursive: true });
      for (const [file, text] of Object.entries(files)) writeFileSync(path.join(at, file), text);
      return key;
    },
  };
}

/** A stage of a plan. @param inputs the places in the plan of what it reads */
export const planned = (
  kind: string,
  label: string,
  inputs: readonly number[] = [],
  more: Partial<RecordedStage> = {},
): RecordedStage => ({
  id: `${kind}-${label}`,
  kind,
  section: null,
  label: `${kind} ${label}`,
  inputs,
  goal: true,
  places: 1,
  cached: null,
  seconds: null,
  ...more,
});

/** The plan of a small run. */
export const TOY_STAGES: readonly RecordedStage[] = [
  planned('data', 'rows'),
  planned('train', 'lora seed=1', [0], { seconds: 10 }),
  planned('train', 'lora seed=2', [0], { seconds: 10 }),
  planned('evaluate', 'lora seed=1', [1], { seconds: 4 }),
  planned('evaluate', 'lora seed=2', [2]),
];

export const started = (stage: string): JsonObject => ({ event: 'stage-started', stage });
export const ran = (stage: string, key: string, seconds = 2): JsonObject => ({
  event: 'stage-ended',
  stage,
  state: 'ran',
  key,
  seconds,
});

export interface Answer {
  readonly status: number;
  readonly headers: { readonly [name: string]: string | readonly string[] | undefined };
  readonly body: string;
}

export interface Client {
  readonly serving: Serving;
  readonly token: string;
  /** Errors that the server told of. */
  readonly faults: readonly unknown[];
  /** Asks with the token, unless other headers are given. */
  ask(
    target: string,
    options?: { readonly method?: string; readonly headers?: { readonly [name: string]: string } },
  ): Promise<Answer>;
  json<T>(target: string): Promise<T>;
  /** Opens a stream. */
  listen(target: string): Promise<Listener>;
  close(): Promise<void>;
}

export interface Listener {
  /** Resolves to the first event, of those that are left, that passes; drops those before it. */
  until(passes: (event: Sent) => boolean): Promise<Sent>;
  close(): void;
}

export async function openClient(runs: FakeRuns): Promise<Client> {
  const faults: unknown[] = [];
  const serving = await serve({
    runs: runs.runs,
    lookMs: 200,
    onFault: (error) => faults.push(error),
  });
  const [address = '', token = ''] = serving.url.split('/#token=');
  const bearer = { authorization: `Bearer ${token}` };
  const client: Client = {
    serving,
    token,
    faults,
    ask: (target, { method = 'GET', headers = bearer } = {}) =>
      new Promise((resolve, reject) => {
        const { port } = serving;
        // The path is sent as it is: no client in between resolves its dots.
        request({ host: '127.0.0.1', port, path: target, method, headers }, (response) => {
          let body = '';
          response.setEncoding('utf8');
          response.on('data', (chunk: string) => (body += chunk));
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
          );
        })
          .on('error', reject)
          .end();
      }),
    async json<T>(target: string) {
      const { status, body } = await client.ask(target);
      if (status !== 200) throw new Error(`${target}: ${status} ${body}`);
      return JSON.parse(body) as T;
    },
    async listen(target) {
      const end = new AbortController();
      const response = await fetch(address + target, { headers: bearer, signal: end.signal });
      if (!response.ok || response.body === null) throw new Error(`${target}: ${response.status}`);
      return listenTo(response.body, end);
    },
    close: () => serving.close(),
  };
  return client;
}

function listenTo(body: ReadableStream<Uint8Array>, end: AbortController): Listener {
  const events: Sent[] = [];
  let wake = (): void => undefined;
  let over = false;
  void readEvents(body, (event) => {
    if (event.data === null) return;
    events.push(event);
    wake();
  })
    .catch(() => undefined)
    .finally(() => {
      over = true;
      wake();
    });
  return {
    async until(passes) {
      for (;;) {
        const event = events.shift();
        if (event !== undefined && passes(event)) return event;
        if (event !== undefined) continue;
        if (over) throw new Error('the stream ended first');
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    close: () => end.abort(),
  };
}

/** A suite whose tests each have a folder of runs, and a client of a server that shows it. */
export function serveSuite(name: string): uvu.Test<{ runs: FakeRuns; client: Client }> {
  const test = suite<{ runs: FakeRuns; client: Client }>(name);
  test.before.each(async (context) => {
    context.runs = createRuns();
    context.client = await openClient(context.runs);
  });
  test.after.each(async ({ client }) => {
    await client.close();
    assert.equal(client.faults, []);
  });
  return test;
}
