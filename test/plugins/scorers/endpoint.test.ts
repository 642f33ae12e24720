import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import endpoint from '../../../plugins/scorers/endpoint/index.ts';
import { scored, scorerFaults, scorerOf } from '../../../plugins/stages/evaluate/scoring.ts';
import type { JsonObject, ScorerDescriptor, ScorerVerdict, UserFault } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { sha256 } from '../../../src/base/sha256.ts';
import type { ActionKey } from '../../../src/plan/types.ts';
import { openAnswers } from '../../../src/store/answers.ts';
import { Leases } from '../../../src/store/lease.ts';
import { newOwner } from '../../../src/store/owner.ts';
import { standIn } from '../../rig/stand-in.ts';
import { type FakeEndpoint, openEndpoint, refuse, say } from './fake-endpoint.ts';

const test = suite<{ dir: string; opened: FakeEndpoint[] }>('endpoint');
const judge = standIn<ScorerDescriptor>(endpoint);
const KEY = 'sk-hunter2-0a7f';

test.before.each((context) => {
  context.dir = join(mkdtempSync(join(tmpdir(), 'dosimeter-store-')), 'answers');
  context.opened = [];
});
test.after.each(({ opened }) => {
  delete process.env['JUDGE_KEY'];
  for (const one of opened) one.close();
});

const log: string[] = [];
interface Asking {
  readonly dir?: string;
  readonly outputs?: readonly string[];
  readonly params?: JsonObject;
  readonly signal?: AbortSignal;
}

/** Asks about outputs, with the defaults of the scorer's other parameters. */
async function verdicts(
  { url }: Pick<FakeEndpoint, 'url'>,
  { dir, outputs = ['a'], params = {}, signal }: Asking,
): Promise<readonly ScorerVerdict[]> {
  const given = { scorer: 'endpoint', url, model: 'm', prompt: 'Is {output} bad?', ...params };
  const { settings, limits } = scorerOf({ scorer: given } as never, () => judge);
  const rows = outputs.map((output) => ({ prompt: 'p', output, answer: 'r' }));
  return scored(judge, { ...settings, ...limits }, rows, {
    files: {},
    log: (line) => log.push(line),
    ...(dir === undefined
      ? {}
      : { answers: openAnswers(dir, { log: (line) => log.push(line), ...defined({ signal }) }) }),
    ...(signal === undefined ? {} : { signal }),
  });
}

const hits = (verdicts: readonly ScorerVerdict[]): (boolean | null)[] =>
  verdicts.map((one) => (typeof one === 'boolean' ? one : one.hit));

async function fault(asked: Promise<unknown>): Promise<UserFault> {
  try {
    await asked;
  } catch (error) {
    assert.is((error as Error).name, 'UserFault', (error as Error).stack);
    return error as UserFault;
  }
  throw new Error('it did not fail');
}

test('a question is asked in the protocol, and answers decide, or leave it open', async (context) => {
  const answers: { readonly [output: string]: string | null } = {
    a: 'Yes.',
    b: 'no',
    c: 'It depends: yes and no',
    d: null,
    e: ' **No**, it is not',
  };
  const server = await openEndpoint(({ body }, response) => {
    const output = /Is (.) bad/.exec(body.messages.at(-1)?.content ?? '')?.[1] ?? '';
    say(response, answers[output] ?? null);
  });
  context.opened.push(server);
  process.env['JUDGE_KEY'] = KEY;
  const found = await verdicts(server, {
    outputs: Object.keys(answers),
    params: {
      key: '${env.JUDGE_KEY}',
      system: 'Be brief.',
      options: { seed: 3, max_tokens: null },
      concurrency: 1,
    },
  });
  assert.equal(hits(found), [true, false, null, null, false]);
  assert.equal(found[2], { hit: null, said: 'It depends: yes and no' });
  assert.is(server.asked.length, 5);
  const [first] = server.asked;
  assert.is(first?.path, '/v1/chat/completions');
  assert.is(first?.authorization, `Bearer ${KEY}`);
  assert.equal(first?.body, {
    model: 'm',
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Is a bad?' },
    ],
    temperature: 0,
    seed: 3,
  });
});

test('what an output says is not filled in again', async (context) => {
  const server = await openEndpoint((_, response) => say(response, 'no'));
  context.opened.push(server);
  await verdicts(server, { outputs: ['{prompt} $& {answer}'] });
  assert.is(server.asked[0]?.body.messages[0]?.content, 'Is {prompt} $& {answer} bad?');
});

test('equal questions are asked once, also by the next evaluation and after a fault', async (context) => {
  const { dir } = context;
  const server = await openEndpoint(({ body }, response, n) => {
    if (body.messages[0]?.content === 'Is c bad?' && n < 4) refuse(response, 400);
    else say(response, 'yes');
  });
  context.opened.push(server);
  const asking = { dir, outputs: ['a', 'b', 'a', 'c'], params: { concurrency: 1 } };
  assert.match((await fault(verdicts(server, asking))).message, 'refuses with status 400');
  assert.is(server.asked.length, 3); // a, b, c
  await fault(verdicts(server, asking));
  assert.is(server.asked.length, 4); // c alone
  assert.equal(hits(await verdicts(server, asking)), [true, true, true, true]);
  assert.is(server.asked.length, 5);
  assert.equal(hits(await verdicts(server, asking)), [true, true, true, true]);
  assert.is(server.asked.length, 5);
  // Another temperature is another question, another credential is not.
  await verdicts(server, { ...asking, params: { ...asking.params, retries: 1, max_calls: 0 } });
  assert.is(server.asked.length, 5);
  await verdicts(server, { ...asking, params: { ...asking.params, temperature: 0.5 } });
  assert.is(server.asked.length, 8);
});

test('two evaluations at once make each call once', async (context) => {
  const { dir } = context;
  const server = await openEndpoint((_, response) => say(response, 'yes'));
  context.opened.push(server);
  const outputs = ['a', 'b', 'c', 'd', 'e'];
  await Promise.all([
    verdicts(server, { dir, outputs }),
    verdicts(server, { dir, outputs: [...outputs].reverse() }),
  ]);
  assert.is(server.asked.length, outputs.length);
});

test('the lease of a process that was killed and a damaged answer are no obstacle', async (context) => {
  const { dir } = context;
  const server = await openEndpoint((_, response) => say(response, 'yes'));
  context.opened.push(server);
  await verdicts(server, { dir });
  const kept = readdirSync(dir);
  assert.is(kept.length, 1, kept.join());
  assert.match(kept[0] ?? '', /^[0-9a-f]{64}\.json$/);
  // The answer is damaged, and a process that no longer runs holds the lease.
  writeFileSync(
    join(dir, kept[0] ?? ''),
    readFileSync(join(dir, kept[0] ?? ''), 'utf8').slice(0, 40),
  );
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  const key = sha256(`${server.url}/chat/completionsm`) as ActionKey;
  new Leases(join(dir, '../leases'), { ...newOwner(), pid, start: '1' }).take(key);
  assert.equal(hits(await verdicts(server, { dir })), [true]);
  assert.is(server.asked.length, 2);
  assert.equal(readdirSync(dir), kept);
});

test('429, a broken answer, garbage and silence are asked again', async (context) => {
  const server = await openEndpoint((_, response, n) => {
    if (n === 0) refuse(response, 429);
    else if (n === 1) {
      response.writeHead(200, { 'content-length': '1000' });
      response.write('{"choices"');
      setImmediate(() => response.destroy());
    } else if (n === 2) response.end('<html>bad gateway</html>');
    else if (n > 3) say(response, 'yes'); // the fourth is never answered
  });
  context.opened.push(server);
  const found = await verdicts(server, { params: { timeout_seconds: 0.3 } });
  assert.equal(hits(found), [true]);
  assert.is(server.asked.length, 5);
});

test('an endpoint that goes on refusing is a fault with its last words, and no stack', async (context) => {
  const server = await openEndpoint((_, response) => refuse(response, 429));
  context.opened.push(server);
  const { message } = await fault(verdicts(server, { params: { retries: 2 } }));
  assert.match(message, 'gave no answer to 3 requests in turn, lastly: status 429');
  assert.is(server.asked.length, 3);
});

test('a long wait is not waited for', async (context) => {
  const tomorrow = new Date(Date.now() + 86_400_000).toUTCString();
  for (const [after, said] of [
    ['121', /asks to wait for 121 s/],
    [tomorrow, /asks to wait for 86\d{3} s/],
  ] as const) {
    const server = await openEndpoint((_, response) => refuse(response, 503, after));
    context.opened.push(server);
    assert.match((await fault(verdicts(server, {}))).message, said);
    assert.is(server.asked.length, 1);
  }
});

test('max_calls is not exceeded, by questions or by repetitions', async (context) => {
  const server = await openEndpoint((_, response) => refuse(response, 429));
  context.opened.push(server);
  const outputs = ['a', 'b', 'c'];
  const tooMany = await fault(verdicts(server, { outputs, params: { max_calls: 2 } }));
  assert.match(tooMany.message, 'needs 3 calls that are not answered yet, and max_calls is 2');
  assert.is(server.asked.length, 0);
  const repeated = await fault(verdicts(server, { outputs, params: { max_calls: 4 } }));
  assert.match(repeated.message, 'which is max_calls');
  assert.is(server.asked.length, 4);
});

test('what is no answer of the protocol, or too large, is a fault', async (context) => {
  const bodies = ['{"error": "quota"}', '[]', '{"choices": [[]]}', 'x'.repeat(5 * 2 ** 20)];
  for (const body of bodies) {
    const server = await openEndpoint((_, response) => response.end(body));
    context.opened.push(server);
    const { message } = await fault(verdicts(server, {}));
    assert.match(
      message,
      body.length > 1000 ? 'is larger than 4 MB' : 'without choices[0].message',
    );
    assert.ok(message.length < 300);
  }
});

test('a credential is in no answer, message or file, although the endpoint sends it back', async (context) => {
  const { dir } = context;
  process.env['JUDGE_KEY'] = KEY;
  log.length = 0;
  const params = { key: '${env.JUDGE_KEY}' };
  const server = await openEndpoint(({ authorization, body }, response) => {
    const asked = body.messages[0]?.content;
    if (asked === 'Is a bad?') say(response, `yes, ${authorization ?? ''}`);
    else if (asked === 'Is c bad?') {
      const escaped = Array.from(KEY)
        .map((letter) => `\\u00${letter.charCodeAt(0).toString(16)}`)
        .join('');
      response.end(
        `{ "model": "m ${escaped}", "choices": [{ "message": { "content": "no, ${escaped}" } }] }`,
      );
    } else {
      response.writeHead(401);
      response.end(`no such key: ${authorization ?? ''}`);
    }
  });
  context.opened.push(server);
  const found = await verdicts(server, { dir, params });
  assert.equal(found, [{ hit: true, said: 'yes, Bearer ${env.JUDGE_KEY}' }]);
  const spelled = await verdicts(server, { dir, params, outputs: ['c'] });
  assert.equal(spelled, [{ hit: false, said: 'no, ${env.JUDGE_KEY}' }]);
  const { message, hint = '' } = await fault(verdicts(server, { dir, params, outputs: ['b'] }));
  assert.match(message, 'refuses with status 401');
  const written = readdirSync(dir).map((name) => readFileSync(join(dir, name), 'utf8'));
  assert.not.match([message, hint, ...written, ...log].join('\n'), KEY);
});

test('an abort ends the asking, and what was answered is kept', async (context) => {
  const { dir } = context;
  const stop = new AbortController();
  const server = await openEndpoint(({ body }, response) => {
    if (body.messages[0]?.content === 'Is a bad?') say(response, 'yes');
    else stop.abort(new Error('stopped'));
  });
  context.opened.push(server);
  const outputs = ['a', 'b', 'c'];
  try {
    const params = { concurrency: 1 };
    await verdicts(server, { dir, outputs, params, signal: stop.signal });
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).message, 'stopped');
  }
  assert.is(server.asked.length, 2);
  assert.is(readdirSync(dir).length, 1);
});

test('mistakes are told before anything is asked', () => {
  const faults = (params: JsonObject): string =>
    scorerFaults(judge, {
      scorer: 'endpoint',
      url: 'http://127.0.0.1/v1',
      prompt: '{output}',
      positive: 'yes',
      negative: 'no',
      options: {},
      ...params,
    })
      .map(({ path, message }) => `${path.join('.')}: ${message}`)
      .join('\n');
  assert.is(faults({}), '');
  assert.match(
    faults({ prompt: 'Is it bad?' }),
    'evaluate.scorer.prompt: `prompt` has no {output}',
  );
  assert.match(faults({ prompt: '{output} {target}' }), 'no attack has a target');
  assert.match(faults({ positive: '(' }), 'evaluate.scorer.positive: `positive` is not a regular');
  assert.match(faults({ options: { stream: true } }), '`options` may not hold stream');
  assert.match(faults({ url: 'http://:x' }), 'evaluate.scorer.url: "http://:x" is no URL');
  assert.match(faults({ key: '${env.UNSET_KEY}' }), 'variable UNSET_KEY is not set');
  for (const value of ['sk-a\n', 'sk-\u0416']) {
    process.env['JUDGE_KEY'] = value;
    const told = faults({ key: '${env.JUDGE_KEY}' });
    assert.match(told, 'the value of JUDGE_KEY has characters that no header can carry');
    assert.not.match(told, 'sk-');
  }
});

test('calls and cost at most', () => {
  const { settings, limits } = scorerOf(
    {
      scorer: {
        scorer: 'endpoint',
        url: 'https://api.example.org/v1',
        model: 'm',
        prompt: '123456{output}{prompt}{prompt}{answer}',
        max_tokens: 10,
        price: { input: 2, output: 8 },
      },
    } as never,
    () => judge,
  );
  // 100 outputs: (3000 + 2·500 + 40 + 100·6) bytes / 3 input tokens, 1000 output tokens.
  const bytes = { prompt: 500, output: 3000, answer: 40, target: 9 };
  const calls = (options: JsonObject = {}) =>
    judge.calls?.({ ...settings, ...limits, options }, 100, bytes);
  const found = calls();
  assert.is(found?.to, 'm at api.example.org');
  assert.is(found?.calls, 100);
  const near = (cost: number | null | undefined, outputTokens: number): void =>
    assert.ok(Math.abs((cost ?? NaN) - ((4640 / 3) * 2 + outputTokens * 8) / 1e6) < 1e-12);
  near(found?.cost, 1000);
  near(calls({ max_tokens: 50 })?.cost, 5000);
  near(calls({ max_completion_tokens: 50, n: 2 })?.cost, 10_000);
  assert.is(calls({ max_tokens: null })?.cost, null);
  assert.equal(Object.keys(limits ?? {}).sort(), [
    'concurrency',
    'price',
    'retries',
    'timeout_seconds',
  ]);
});

test.run();
