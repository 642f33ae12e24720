import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import refusal from '../../../plugins/scorers/refusal.ts';
import {
  scored,
  scorerOf,
  scorerRecord,
  scorersOfCell,
} from '../../../plugins/stages/evaluate/scoring.ts';
import { prefixed } from '../../../plugins/stages/shared/files.ts';
import { scorerFiles, scorerPrefix } from '../../../plugins/stages/shared/program-files.ts';
import {
  type Cell,
  defineScorer,
  type ScorerDescriptor,
  type UserFault,
} from '../../../src/api.ts';
import { standIn } from '../../rig/stand-in.ts';

const test = suite('scorer settings');
const own = (score: () => unknown): ScorerDescriptor =>
  defineScorer({
    name: 'own',
    summary: 'Decides.',
    citation: '',
    params: {
      properties: {
        bar: { type: 'number', default: 2 },
        text: { type: 'string' },
        files: { type: 'array', default: [] },
      },
    },
    score: score as ScorerDescriptor['score'],
  });
const evaluate = (scorer?: unknown) => ({ ...(scorer === undefined ? {} : { scorer }) }) as never;

test('without a scorer it is exact; a name stands for its defaults', () => {
  assert.equal(
    scorerOf(evaluate(), () => undefined),
    { settings: { scorer: 'exact' }, files: {} },
  );
  const find = (name: string) => (name === 'own' ? own(() => []) : undefined);
  assert.equal(scorerOf(evaluate('own'), find), {
    settings: { scorer: 'own', bar: 2, files: [] },
    files: {},
  });
  const given = { scorer: 'own', bar: 3, files: ['file:/a/judge.py'] };
  assert.equal(scorerOf(evaluate(given), find), {
    settings: { scorer: 'own', bar: 3, files: ['judge.py'] },
    files: { 'judge.py': 'file:/a/judge.py' },
  });
});

test("a scorer's files are assets, and found among others", () => {
  const assets = prefixed({ 'judge.py': 'file:/a/judge.py' }, scorerPrefix());
  assert.equal(assets, { 'scorer/judge.py': 'file:/a/judge.py' });
  const found = scorerFiles({ model: { path: '/m' }, 'scorer/judge.py': { path: '/j' } } as never);
  assert.equal(found, { 'judge.py': '/j' });
  const further = prefixed({ 'judge.py': 'file:/b/judge.py' }, scorerPrefix('own'));
  assert.equal(further, { 'scorers/own/judge.py': 'file:/b/judge.py' });
  const both = { 'scorer/judge.py': { path: '/j' }, 'scorers/own/judge.py': { path: '/k' } };
  assert.equal(scorerFiles(both as never, 'own'), { 'judge.py': '/k' });
  assert.equal(scorerFiles(both as never), { 'judge.py': '/j' });
});

test('further scorers have defaults too, and each scorer is there once', () => {
  const find = (name: string) => (name === 'own' ? own(() => []) : undefined);
  const evaluated = (scorers?: unknown, scorer?: unknown) =>
    ({ ...(evaluate(scorer) as object), ...(scorers === undefined ? {} : { scorers }) }) as never;
  const furtherOf = (cell: Cell['evaluate']) =>
    scorersOfCell(cell, null, ((_kind: string, name: string) => find(name)) as never).further;
  assert.equal(furtherOf(evaluated()), []);
  assert.equal(
    furtherOf(evaluated(['own', { scorer: 'contains', text: 'a' }])).map(
      ({ settings }) => settings,
    ),
    [
      { scorer: 'own', bar: 2, files: [] },
      { scorer: 'contains', text: 'a' },
    ],
  );
  for (const odd of [evaluated(['exact']), evaluated(['own'], 'own'), evaluated(['own', 'own'])])
    assert.throws(
      () => furtherOf(odd),
      (error: UserFault) => error.path?.join('.') === 'evaluate.scorers',
    );
});

test('a scorer that does not say of each output whether it counts is a fault', async () => {
  const outputs = [{ prompt: '', output: 'x', answer: '' }];
  const settings = { scorer: 'own' };
  const context = { files: {}, log: () => undefined };
  assert.equal(
    await scored(
      own(() => [true]),
      settings,
      outputs,
      context,
    ),
    [true],
  );
  assert.equal(
    await scored(
      own(() => Promise.resolve([false])),
      settings,
      outputs,
      context,
    ),
    [false],
  );
  for (const odd of [[], [true, true], [1], 'x', undefined])
    try {
      await scored(
        own(() => odd),
        settings,
        outputs,
        context,
      );
      assert.unreachable();
    } catch (error) {
      assert.is((error as UserFault).name, 'UserFault');
      assert.match((error as Error).message, 'the scorer "own" was given 1 outputs');
    }
});

test('only a scorer that says so may be undecided', async () => {
  const outputs = [{ prompt: '', output: 'x', answer: '' }];
  const open = own(() => [{ hit: null, said: 'perhaps' }]),
    context = { files: {}, log: () => undefined };
  const verdicts = await scored({ ...open, undecided: true }, { scorer: 'own' }, outputs, context);
  assert.equal(verdicts, [{ hit: null, said: 'perhaps' }]);
  const fault = await scored(open, { scorer: 'own' }, outputs, context).catch(
    (error: unknown) => error,
  );
  assert.match(String(fault), 'the scorer "own" is undecided on an output');
});

test("a record has the scorer's name, its parameters and its own words", () => {
  const record = scorerRecord(standIn<ScorerDescriptor>(refusal), {
    scorer: 'refusal',
    within: 50,
  });
  assert.equal(Object.keys(record), ['scorer', 'within', 'list', 'phrases']);
  assert.equal(
    scorerRecord(
      own(() => []),
      { scorer: 'own', bar: 2 },
    ),
    { scorer: 'own', bar: 2 },
  );
});

test.run();
