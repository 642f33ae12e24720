import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DatasetDescriptor, RawRow } from '../../src/api.ts';
import { loadSplit, sortedValues, type SplitRequest } from '../../src/data/load-split.ts';
import { assetAt, splitOf } from '../plugins/datasets/reading.ts';

const test = suite('split');

/** A reader that yields `text:label` pairs. */
const dataset = (pairs: string, unordered = false, name = 'test'): DatasetDescriptor => ({
  kind: 'dataset',
  name,
  summary: '',
  unordered,
  async *read() {
    await Promise.resolve();
    let line = 0;
    for (const pair of pairs.split(' ').filter(Boolean)) {
      const [text, label] = pair.split(':') as [string, string];
      yield { text: text.replaceAll('_', ' '), label, place: `a.tsv:${++line}` } satisfies RawRow;
    }
    return { read_by: 'test' };
  },
});
const request = (
  pairs: string,
  split: Parameters<typeof splitOf>[0] = {},
  more: Partial<SplitRequest> = {},
): SplitRequest => ({
  name: 'train',
  split: splitOf(split),
  asset: assetAt('/a.tsv'),
  dataset: dataset(pairs),
  classes: null,
  ...more,
});
const texts = async (of: SplitRequest): Promise<string> =>
  (await loadSplit(of)).rows.map((row) => `${row.text}:${row.label}`).join(' ');

async function fault(
  of: SplitRequest,
): Promise<{ message: string; path: readonly string[]; hint: string; split?: string }> {
  try {
    await loadSplit(of);
  } catch (error) {
    const {
      name,
      message,
      path,
      hint = '',
      split,
    } = error as Error & { path: readonly string[]; hint?: string; split?: string };
    assert.is(name, 'UserFault', message);
    return { message, path, hint, ...(split === undefined ? {} : { split }) };
  }
  throw new Error('no fault was raised');
}

test('the first rows are taken in file order; ids are positions in the file', async () => {
  const { rows, classes, facts } = await loadSplit(
    request('a:no b:yes c:maybe d:yes', { offset: 1, limit: 2 }),
  );
  assert.equal(rows, [
    { id: 'train-000001', text: 'b', label: 2 },
    { id: 'train-000002', text: 'c', label: 0 },
  ]);
  assert.equal(classes, ['maybe', 'no', 'yes']);
  assert.equal(facts, {
    read_by: 'test',
    rows_in_source: 4,
    order: 'as in the file',
    balance: false,
    offset: 1,
    limit: 2,
  });
});

test('the held-out rows and the rest of a split are disjoint and complete', async () => {
  const words = Array.from({ length: 23 }, (_, i) => `w${i}:${i % 3}`),
    pairs = words.join(' ');
  const part = (take: 'rest' | 'held', more: Parameters<typeof splitOf>[0] = {}) =>
    texts(request(pairs, { hold_out: { share: 0.3, take }, ...more }));
  const [held, rest] = [(await part('held')).split(' '), (await part('rest')).split(' ')];
  assert.equal([held.length, rest.length], [6, 17]);
  assert.equal([...held, ...rest].sort(), [...words].sort());
  assert.equal(
    rest,
    words.filter((word) => rest.includes(word)),
    'in their order',
  );
  assert.not.equal(held, words.slice(0, 6), 'drawn, not the first ones');
  // A split of another name takes the same rows. Balance, offset and limit are applied before the
  // rows are held out.
  assert.equal(
    (
      await texts(
        request(pairs, { hold_out: { share: 0.3, take: 'held' } }, { name: 'validation' }),
      )
    ).split(' '),
    held,
  );
  const window = { offset: 4, limit: 11 };
  assert.equal(
    [...(await part('held', window)).split(' '), ...(await part('rest', window)).split(' ')].sort(),
    words.slice(4, 15).sort(),
  );
});

test('the share that is held out is that of its decimals: .29 of 100 rows is 29', async () => {
  const words = Array.from({ length: 100 }, (_, i) => `w${i}:${i % 2}`).join(' ');
  const held = await texts(request(words, { hold_out: { share: 0.29, take: 'held' } }));
  assert.is(held.split(' ').length, 29);
});

test('a limit beyond the end takes all rows', async () =>
  assert.is(await texts(request('a:0 b:1', { limit: 99 })), 'a:0 b:1'));

test('class values are sorted as numbers if all of them are numbers', () => {
  const sorted = (...labels: string[]): string[] =>
    sortedValues(labels.map((label) => ({ text: '', label, place: '' })));
  assert.equal(sorted('10', '2', '0', '2'), ['0', '2', '10']);
  assert.equal(sorted('-1', '1'), ['-1', '1']);
  assert.equal(sorted('10', '2', 'b'), ['10', '2', 'b']);
  assert.equal(sorted('spam', 'Ham'), ['Ham', 'spam']);
});

test('classes that the spec names have their label ids in that order', async () =>
  assert.is(await texts(request('a:ham b:spam', {}, { classes: ['spam', 'ham'] })), 'a:1 b:0'));

test("the validation rows have the training file's classes, not their own", async () => {
  const train = {
    split: splitOf({ limit: 1 }),
    asset: assetAt('/train.tsv'),
    dataset: dataset('a:x b:y c:z', false, 'train'),
  };
  const { classes, rows } = await loadSplit(request('d:z e:y', {}, { name: 'validation', train }));
  assert.equal(classes, ['x', 'y', 'z']);
  assert.equal(rows, [
    { id: 'validation-000000', text: 'd', label: 2 },
    { id: 'validation-000001', text: 'e', label: 1 },
  ]);
  const unknown = await fault(request('d:z e:xx', {}, { name: 'validation', train }));
  assert.is(unknown.message, 'a.tsv:2: the label "xx" is not one of the classes "x", "y", "z".');
  const single = await fault(
    request(
      'd:z',
      {},
      { name: 'validation', train: { ...train, dataset: dataset('a:z b:z', false, 'train') } },
    ),
  );
  assert.equal([single.path, single.split], [['columns', 'label'], 'train']);
  const empty = await fault(
    request(
      'd:z',
      {},
      { name: 'validation', train: { ...train, dataset: dataset('', false, 'train') } },
    ),
  );
  assert.equal(
    [empty.path, empty.split, empty.message],
    [['source'], 'train', 'file:/nowhere holds no rows.'],
  );
});

test('a label outside the classes is reported with its place and the nearest class', async () => {
  assert.equal(
    await fault(request('a:ham b:spam c:spma', { limit: 2 }, { classes: ['ham', 'spam'] })),
    {
      message: 'a.tsv:3: the label "spma" is not one of the classes "ham", "spam".',
      path: ['columns', 'label'],
      hint: 'Did you mean "spam"?',
    },
  );
  const many = Array.from({ length: 10 }, (_, id) => `class_${id}`);
  assert.is(
    (await fault(request('a:b', {}, { classes: many }))).message,
    `a.tsv:1: the label "b" is not one of the classes ${many
      .slice(0, 8)
      .map((name) => JSON.stringify(name))
      .join(', ')} and 2 more.`,
  );
});

test('balance takes the classes in turn, before offset and limit', async () => {
  const pairs = 'a:0 b:0 c:0 d:1 e:0 f:1 g:0';
  assert.is(await texts(request(pairs, { balance: true })), 'a:0 d:1 b:0 f:1');
  assert.is(await texts(request(pairs, { balance: true, offset: 1, limit: 2 })), 'd:1 b:0');
  assert.is((await loadSplit(request(pairs, { balance: true }))).rows[1]?.id, 'train-000003');
  assert.is(await texts(request('a:z b:x c:x d:y e:z', { balance: true })), 'b:0 d:1 a:2');
  assert.is(
    await texts(request('a:x b:x c:y d:y', { balance: true }, { classes: ['w', 'x', 'y'] })),
    'a:1 c:2 b:1 d:2',
  );
});

test('a train and a validation split of one balanced file share no row', async () => {
  const pairs = Array.from({ length: 60 }, (_, i) => `t${i}:${i % 3 === 0 ? 'spam' : 'ham'}`).join(
    ' ',
  );
  const load = async (offset: number, limit: number) =>
    (
      await loadSplit({
        ...request(pairs, { balance: true, offset, limit }),
        dataset: dataset(pairs, true),
      })
    ).rows;
  const train = await load(0, 20),
    validation = await load(20, 10);
  assert.is(new Set([...train, ...validation].map((row) => row.text)).size, 30);
  for (const rows of [train, validation])
    assert.is(rows.filter((row) => row.label === 0).length, rows.length / 2);
});

test('a corpus without an order gets one of its own, always the same', async () => {
  const pairs = Array.from({ length: 30 }, (_, i) => `t${i}:${i % 2}`).join(' ');
  const load = (name: string) => texts({ ...request(pairs), dataset: dataset(pairs, true, name) });
  assert.is(await load('mail'), await load('mail'));
  assert.is.not(await load('mail'), await load('news'));
  assert.is.not(await load('mail'), await texts(request(pairs)));
  assert.equal((await load('mail')).split(' ').sort(), pairs.split(' ').sort());
});

test('texts are cut to their first words, in pairs too', async () => {
  assert.is(
    await texts(request('one_two__three_four:0 five:1', { max_words: 3 })),
    'one two  three:0 five:1',
  );
});

test('empty texts are kept and counted', async () => {
  const { rows, facts } = await loadSplit(request(':0 _:1 a:1'));
  assert.is(rows.length, 3);
  assert.is(facts['empty_texts'], 2);
});

test('labels that look the same are refused, with the code points that they differ in', async () => {
  const pairs = 'a:ham b:spam c:ham\u00a0 d:caf\u00e9 e:cafe\u0301 f:sp\u200bam';
  const { message, path, hint, split } = await fault(
    request('', {}, { dataset: dataset(pairs), name: 'train' }),
  );
  assert.is(
    message,
    'The training file has labels that look the same: ' +
      '"caf\u00e9" has U+00E9 where "cafe\u0301" has U+0065 U+0301, ' +
      '"ham\u00a0" has U+00A0 where "ham" has nothing, ' +
      '"sp\u200bam" has U+200B where "spam" has nothing.',
  );
  assert.equal([path, split], [['columns', 'label'], 'train']);
  assert.match(hint, 'Correct the file, or name every class');
  const classes = ['ham', 'ham\u00a0'];
  assert.is(await texts(request('a:ham b:ham\u00a0', {}, { classes })), 'a:0 b:1');
});

test("faults of a split are the user's, each at its field", async () => {
  assert.equal((await fault(request(''))).path, ['source']);
  const single = await fault(request('a:0 b:0'));
  assert.equal(
    [single.path, single.message],
    [
      ['columns', 'label'],
      'All rows of the training file have one label, "0"; a classifier needs at least two classes.',
    ],
  );
  const sorted = await fault(request('a:0 b:0 c:1', { limit: 2 }));
  assert.equal(
    [sorted.path, sorted.message, sorted.hint],
    [
      ['limit'],
      'The 2 training rows kept are all of one class, "0".',
      'Set `balance: true`, or take more rows.',
    ],
  );
  assert.is(
    (await fault(request('a:0 b:0', {}, { classes: ['0', '1'] }))).message,
    'The 2 training rows kept are all of one class, "0".',
  );
  const offset = await fault(request('a:0 b:1 c:1', { offset: 2, balance: true }));
  assert.equal(
    [offset.path, offset.message],
    [
      ['offset'],
      'No row is left: `offset` is 2, and file:/nowhere has 2 rows when its classes are balanced.',
    ],
  );
  const hold_out = { share: 0.5, take: 'rest' } as const;
  const heldOut = await fault(request('a:0 b:1', { limit: 1, hold_out }));
  assert.equal(
    [heldOut.path, heldOut.message],
    [['hold_out'], 'No row is left: `hold_out` takes the only one.'],
  );
});

test('a validation split may hold only one class', async () => {
  assert.is(
    await texts(request('a:0 b:1', { limit: 1 }, { name: 'validation', classes: ['0', '1'] })),
    'a:0',
  );
});

test("a pinned digest must be the asset's or its archive's", async () => {
  const asset = {
    ...assetAt('/a.tsv'),
    digest: 'sha256:1' as ReturnType<typeof assetAt>['digest'],
    provenance: { archive: 'sha256:2' },
  };
  const load = (digest: string) => request('a:0 b:1', { digest }, { asset });
  assert.is((await loadSplit(load('sha256:1'))).rows.length, 2);
  assert.is((await loadSplit(load('sha256:2'))).rows.length, 2);
  const wrong = await fault(load('sha256:3'));
  assert.equal(
    [wrong.path, wrong.message],
    [['digest'], 'The content of file:/nowhere is sha256:1, not sha256:3.'],
  );
});

const hundred = Array.from({ length: 100 }, (_, i) => `r${i}:${i % 4 === 0 ? 'no' : 'yes'}`).join(
  ' ',
);
const sampled = async (rows: number, seed = 0, more: Parameters<typeof splitOf>[0] = {}) =>
  (await loadSplit(request(hundred, { sample: { rows, seed }, ...more }))).rows.map(({ id }) => id);

test('a sample has as many rows, in file order, and a smaller one is part of it', async () => {
  const large = await sampled(40);
  assert.is(large.length, 40);
  assert.equal(large, [...large].sort());
  assert.equal(await sampled(40), large, 'it is the same each time');
  for (const rows of [8, 12, 39]) {
    const small = await sampled(rows);
    assert.is(small.length, rows);
    assert.ok(small.every((id) => large.includes(id)));
  }
  assert.not.equal(await sampled(40, 1), large);
  assert.equal(
    await sampled(100),
    Array.from({ length: 100 }, (_, i) => `train-${String(i).padStart(6, '0')}`),
  );
});

test('balance, limit and hold_out divide the sample', async () => {
  const all = await sampled(40);
  assert.equal(await sampled(40, 0, { offset: 3, limit: 5 }), all.slice(3, 8));
  const part = (take: 'rest' | 'held') => sampled(40, 0, { hold_out: { share: 0.25, take } });
  const [rest, held] = [await part('rest'), await part('held')];
  assert.is(held.length, 10);
  assert.equal([...rest, ...held].sort(), all);
  const { rows } = await loadSplit(
    request(hundred, { sample: { rows: 40, seed: 0 }, balance: true }),
  );
  assert.ok(rows.every(({ id }) => all.includes(id)));
  assert.is(rows.filter(({ label }) => label === 0).length, rows.length / 2);
});

test('a sample of more rows than there are is a fault', async () => {
  const { message, path } = await fault(request('a:no b:yes', { sample: { rows: 3, seed: 0 } }));
  assert.is(message, '`sample.rows` is 3, and file:/nowhere has 2 rows.');
  assert.equal(path, ['sample', 'rows']);
});

test.run();
