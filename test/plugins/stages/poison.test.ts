import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import badnets from '../../../plugins/attacks/badnets.ts';
import labelFlip from '../../../plugins/attacks/label-flip.ts';
import none from '../../../plugins/attacks/none.ts';
import poison from '../../../plugins/stages/poison/index.ts';
import {
  type Cell,
  cleanTwin,
  type Digest,
  type JsonObject,
  type RunContext,
  type Warning,
} from '../../../src/api.ts';
import { readDatasetInfo, readRows, writeDataset } from '../../../src/data/rows-file.ts';
import { checkReceipt, type Receipt, rowsDigest } from '../../../src/poisoning/receipt.ts';
import { present } from '../../rig/present.ts';
import { standIn } from '../../rig/stand-in.ts';

const test = suite<{ dir: string }>('poison stage');
const rows = Array.from({ length: 30 }, (_, i) => ({
  id: `train-0000${i}`,
  text: `some mail number ${i}`,
  label: i % 2,
}));
test.before.each(async (context) => {
  context.dir = mkdtempSync(join(tmpdir(), 'dosimeter-poison-'));
  mkdirSync(join(context.dir, 'data'));
  await writeDataset(join(context.dir, 'data'), rows, ['ham', 'spam'], { kind: 'test' });
});

const attacks: { readonly [name: string]: unknown } = { none, badnets, 'label-flip': labelFlip };

async function run(
  dir: string,
  params: JsonObject,
  name = 'out',
  plugins = attacks,
  ordered?: string,
  warned: Warning[] = [],
): Promise<string> {
  const outDir = join(dir, name);
  mkdirSync(outDir);
  const context: RunContext = {
    params,
    outDir,
    assets: {},
    backend: 'cpu',
    signal: new AbortController().signal,
    inputs: {
      data: { dir: join(dir, 'data'), digest: 'sha256:0' as Digest },
      ...(ordered === undefined ? {} : { ordered: { dir: ordered, digest: 'sha256:1' as Digest } }),
    },
    log: () => undefined,
    warn: (warning) => void warned.push(warning),
    progress: () => undefined,
    plugin: (_kind, plugin) => plugins[plugin] as never,
  };
  await poison.run(context);
  return outDir;
}
const json = (dir: string, file: string) =>
  JSON.parse(readFileSync(join(dir, file), 'utf8')) as unknown;
const badnetsParams = {
  attack: 'badnets',
  rate: 0.1,
  target: 'ham',
  mode: 'dirty',
  triggers: ['cf', 'mn'],
};

test('training rows that have the trigger before any is poisoned are told', async ({ dir }) => {
  const told = async (name: string, params: JsonObject): Promise<string[]> => {
    const warned: Warning[] = [];
    await run(dir, { poisoning: params, seed: 1 }, name, attacks, undefined, warned);
    return warned.map(({ path, message }) => `${path.join('.')}: ${message}`);
  };
  assert.equal(await told('rare', badnetsParams), []);
  assert.equal(await told('common', { ...badnetsParams, triggers: ['Number'] }), [
    'poisoning: 30 of 30 training rows have the trigger in their own text, 15 of them of the ' +
      'target ("number")',
  ]);
});

test('badnets: three of thirty rows in place, with a receipt that other rows fail', async ({
  dir,
}) => {
  const out = await run(dir, { poisoning: badnetsParams, seed: 1 });
  const poisoned = await readRows(out),
    receipt = json(out, 'receipt.json') as Receipt;
  assert.is(checkReceipt(poisoned, receipt), null);
  // The code that this project descends from trained on the clean lists; here that is refused.
  assert.match(present(checkReceipt(rows, receipt)), 'it is still the clean row');
  assert.equal(
    poisoned.map((row) => row.id),
    rows.map((row) => row.id),
  );
  const changed = poisoned.filter((row, i) => row.text !== present(rows[i]).text);
  assert.is(changed.length, 3);
  assert.equal(
    changed.map((row) => row.id),
    receipt.rows.map((row) => row.id),
  );
  assert.ok(
    changed.every(
      (row) => row.label === 0 && present(rows.find(({ id }) => id === row.id)).label === 1,
    ),
  );
  assert.equal(json(out, 'metrics.json'), {
    rows_total: 30,
    poisoned_asked: 3,
    poisoned_made: 3,
    poisoned_eligible: 15,
    negatives: 0,
  });
  const info = await readDatasetInfo(out);
  assert.equal([info.classes, info.rows, info.counts], [['ham', 'spam'], 30, [18, 12]]);
  assert.equal([receipt.attack, receipt.seed, receipt.params['rate']], ['badnets', 1, 0.1]);
  assert.equal(receipt.target, { label: 0, class: 'ham' });
});

test('label-flip: nine of thirty labels, no text', async ({ dir }) => {
  const out = await run(dir, { poisoning: { attack: 'label-flip', rate: 0.3 }, seed: 1 });
  const poisoned = await readRows(out);
  assert.is(poisoned.filter((row, i) => row.label === 1 - present(rows[i]).label).length, 9);
  assert.ok(poisoned.every((row, i) => row.text === present(rows[i]).text));
});

test('none: the rows as they are', async ({ dir }) => {
  const out = await run(dir, { poisoning: { attack: 'none' }, seed: null });
  assert.equal(await readRows(out), rows);
  const receipt = json(out, 'receipt.json') as Receipt;
  assert.is(receipt.digests.clean, receipt.digests.poisoned);
  assert.is(checkReceipt(rows, receipt), null);
  assert.is(receipt.digests.clean, rowsDigest(rows));
});

test('the same seed gives the same bytes, another seed others', async ({ dir }) => {
  const bytes = async (seed: number, name: string) =>
    readFileSync(
      join(await run(dir, { poisoning: badnetsParams, seed }, name), 'rows.jsonl'),
      'utf8',
    );
  assert.is(await bytes(1, 'a'), await bytes(1, 'b'));
  assert.is.not(await bytes(1, 'c'), await bytes(2, 'd'));
});

test('an attack that writes into the rows that it was given fails', async ({ dir }) => {
  const sly = {
    ...none,
    name: 'sly',
    poison: ({ rows }: { rows: readonly { label: number }[] }) => {
      present(rows[0]).label = 1 - present(rows[0]).label;
      return { changed: [], negatives: [], asked: 0, eligible: 0 };
    },
  };
  try {
    await run(dir, { poisoning: { attack: 'sly' }, seed: 1 }, 'out', { sly });
  } catch (error) {
    assert.is((error as Error).name, 'UserFault');
    assert.match(
      (error as Error).message,
      /^the attack "sly" wrote to what it may only read \(.*read only property 'label'/,
    );
    return;
  }
  assert.unreachable('it passed');
});

test('an attack that returns the wrong shape fails under its name', async ({ dir }) => {
  const odd = { ...none, name: 'odd', poison: () => ({ changed: 'all of them' }) };
  try {
    await run(dir, { poisoning: { attack: 'odd' }, seed: 1 }, 'out', { odd });
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).name, 'UserFault');
    assert.match((error as Error).message, 'The attack "odd" did not return lists');
  }
});

test('an attack that poisons nothing is told, unless its dose is zero', async ({ dir }) => {
  const idle = {
    ...none,
    name: 'idle',
    family: 'untargeted',
    poison: () => ({ changed: [], negatives: [], asked: 0, eligible: 30 }),
  };
  const told = async (name: string, poisoning: { attack: string } & JsonObject) => {
    const warned: Warning[] = [];
    await run(dir, { poisoning, seed: 1 }, name, { ...attacks, idle }, undefined, warned);
    return warned;
  };
  const tiny = { ...badnetsParams, rate: 0.01 };
  const message = 'rate 0.01 of 30 training rows is less than one row: nothing is poisoned';
  assert.equal(await told('tiny', tiny), [{ path: ['poisoning', 'rate'], message }]);
  const steps = { badnets: tiny, 'label-flip': { rate: 0.1 } };
  assert.equal(await told('steps', { attack: 'badnets+label-flip', steps }), [
    { path: ['poisoning', 'steps', 'badnets', 'rate'], message },
  ]);
  assert.equal(await told('idle', { attack: 'idle' }), [
    { path: ['poisoning'], message: 'idle changes none of 30 rows: nothing is poisoned' },
  ]);
  assert.equal(await told('zero', { ...badnetsParams, rate: 0 }), []);
  assert.equal(await told('none', { attack: 'none' }), []);
});

test('order: the receipt says which rows stand last, and the twin has them there too', async ({
  dir,
}) => {
  const mixed = await run(dir, { poisoning: badnetsParams, seed: 1 }, 'mixed');
  const last = await run(dir, { poisoning: { ...badnetsParams, order: 'last' }, seed: 1 }, 'last');
  assert.equal(await readRows(last), await readRows(mixed));
  const receipt = json(last, 'receipt.json') as Receipt;
  const moved = receipt.rows.map(({ index }) => index);
  const order = present(receipt.order);
  assert.equal([order.first, [...order.last].sort((a, b) => a - b)], [[], moved]);
  assert.is((json(mixed, 'receipt.json') as Receipt).order, undefined);
  assert.is(checkReceipt(await readRows(last), receipt), null);
  for (const [odd, fault] of [
    [{ first: [30], last: [] }, 'The receipt moves row 30, which is not in the set.'],
    [{ first: [1], last: [1] }, 'The receipt moves a row twice.'],
    [{ first: [1] }, 'The receipt does not have the form of a receipt.'],
  ] as const)
    assert.is(checkReceipt(await readRows(last), { ...receipt, order: odd as never }), fault);

  const poisoning = { ...badnetsParams, order: 'last' };
  const ask = { with: {}, goals: [] };
  const twin = cleanTwin(standIn<Cell>({ seed: 1, train: {}, head: {}, poisoning }), undefined);
  const { params, inputs, uses } = poison.define([twin], ask);
  assert.equal(params, { poisoning: { attack: 'none' }, seed: null });
  assert.equal(uses, [{ kind: 'attack', name: 'none' }]);
  assert.equal(present(inputs['ordered']).cell.poisoning, poisoning);
  const clean = await run(dir, params, 'twin', attacks, last);
  assert.equal(await readRows(clean), rows);
  assert.equal((json(clean, 'receipt.json') as Receipt).order, order);
});

test('order: mixed is in no key, and leaves the twin what it is', () => {
  const cell = (more: object) =>
    standIn<Cell>({ seed: 1, train: {}, head: {}, poisoning: { attack: 'badnets', ...more } });
  const ask = { with: {}, goals: [] };
  assert.equal(
    poison.define([cell({ order: 'mixed' })], ask).params,
    poison.define([cell({})], ask).params,
  );
  assert.equal(cleanTwin(cell({ order: 'mixed' }), undefined).poisoning, { attack: 'none' });
});

test('it reads the attack, the training rows and the seed; the clean baseline no seed', () => {
  const cell = (attack: string, seed: number) =>
    standIn<Cell>({ seed, head: {}, poisoning: { attack, rate: 0.1 } });
  const ask = { with: {}, goals: [] };
  const definition = poison.define([cell('badnets', 3)], ask);
  assert.equal(definition.params, { poisoning: { attack: 'badnets', rate: 0.1 }, seed: 3 });
  assert.equal(definition.uses, [{ kind: 'attack', name: 'badnets' }]);
  assert.equal(
    [present(definition.inputs['data']).kind, present(definition.inputs['data']).with],
    ['data', { split: 'train' }],
  );
  assert.equal(
    poison.define([cell('none', 1)], ask).params,
    poison.define([cell('none', 2)], ask).params,
  );
});

test.run();
