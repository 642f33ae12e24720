/** `steps: [a, b]` in a variant of `poisoning`: its cells, what they are called, and where its fields are found. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Rig } from './rig.ts';
import { createRig, minimal } from './rig.ts';

const test = suite<{ rig: Rig }>('steps');
test.before.each(async (context) => {
  context.rig = await createRig();
});
test.after.each(({ rig }) => rig.remove());

const flips = '{ attack: label-flip, rate: [0.1, 0.3] }',
  words = '{ attack: badnets, target: ham, rate: { linspace: [0.1, 0.2, 2] } }';

test('axes in steps multiply; a cell is named by attacks, fields and values', async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}poisoning: [{ attack: none }, { steps: [${flips}, ${words}] }]\n`,
  );
  assert.equal(
    cells.map(({ label }) => label),
    [
      'attack=none',
      'attack=label-flip+badnets label-flip.rate=0.1 badnets.rate=0.1',
      'attack=label-flip+badnets label-flip.rate=0.1 badnets.rate=0.2',
      'attack=label-flip+badnets label-flip.rate=0.3 badnets.rate=0.1',
      'attack=label-flip+badnets label-flip.rate=0.3 badnets.rate=0.2',
    ],
  );
  assert.equal(cells[2]!.config.poisoning, {
    attack: 'label-flip+badnets',
    steps: {
      'label-flip': { rate: 0.1 },
      badnets: { rate: 0.2, target: 'ham', triggers: ['cf', 'mn'] },
    },
  });
  const { 'adapter.type': _adapter, ...axes } = cells[2]!.axes;
  assert.equal(axes, {
    'poisoning.attack': 'label-flip+badnets',
    'poisoning.steps.label-flip.rate': 0.1,
    'poisoning.steps.badnets.rate': 0.2,
    'poisoning.steps.badnets.target': 'ham',
  });
});

test('the order of the steps is part of the name; a step may choose among attacks; one step is that attack alone', async ({
  rig,
}) => {
  const attacks = async (poisoning: string) =>
    (await rig.expand(`${minimal}poisoning: ${poisoning}\n`)).cells.map(
      ({ config }) => config.poisoning,
    );
  assert.equal(
    (
      await attacks(
        '[{ steps: [{ attack: label-flip }, { attack: badnets }] }, { steps: [{ attack: badnets }, { attack: label-flip }] }]',
      )
    ).map(({ attack }) => attack),
    ['label-flip+badnets', 'badnets+label-flip'],
  );
  assert.equal(
    await attacks('{ steps: [{ attack: [label-flip, badnets], rate: 0.2 }] }'),
    await attacks('{ attack: [label-flip, badnets], rate: 0.2 }'),
  );
  assert.equal(
    await attacks(
      '[{ steps: [{ attack: label-flip, count: 2 }] }, { attack: label-flip, count: 2 }]',
    ),
    [{ attack: 'label-flip', count: 2 }],
  );
});

test('include, exclude, when, tags, --only and ${…} name a step by its attack', async ({ rig }) => {
  const text = (more: string, when = ''): string =>
    `${minimal}poisoning: [{ attack: none }, { steps: [${flips}, ${words}]${when} }]\n${more}`;
  const rates = async (spec: string, options = {}) =>
    (await rig.expand(spec, options)).cells.map(({ axes }) => [
      axes['poisoning.steps.label-flip.rate'],
      axes['poisoning.steps.badnets.rate'],
    ]);
  assert.equal(await rates(text('include: [{ poisoning.steps.badnets.rate: 0.2 }]\n')), [
    [0.1, 0.2],
    [0.3, 0.2],
  ]);
  assert.equal(
    await rates(
      text(
        'exclude: [{ poisoning.attack: none }, { poisoning.steps.label-flip.rate: { min: 0.2 } }]\n',
      ),
    ),
    [
      [0.1, 0.1],
      [0.1, 0.2],
    ],
  );
  assert.equal(await rates(text('', ', when: { poisoning.steps.badnets.rate: 0.1 }')), [
    [undefined, undefined],
    [0.1, 0.1],
    [0.3, 0.1],
  ]);
  assert.equal(await rates(text(''), { only: ['badnets.rate=0.1', 'label-flip.rate=0.3'] }), [
    [0.3, 0.1],
  ]);
  assert.equal(
    await rates(text('tags: { strong: { poisoning.steps.label-flip.rate: 0.3 } }\n'), {
      only: ['strong'],
    }),
    [
      [0.3, 0.1],
      [0.3, 0.2],
    ],
  );
  const same = await rig.expand(
    `${minimal}poisoning: { steps: [{ attack: label-flip, rate: 0.2 }, { attack: badnets, rate: "\${poisoning.steps.label-flip.rate}" }] }\n`,
  );
  assert.is(same.cells[0]!.axes['poisoning.steps.badnets.rate'], 0.2);
});

test('--set and `extends` name a step by its attack or its place, and put other attacks in place of all', async ({
  rig,
}) => {
  const text = `${minimal}poisoning: { steps: [{ attack: label-flip }, { attack: badnets }] }\n`;
  const set = async (...sets: readonly string[]) =>
    (await rig.expand(text, { sets })).cells.map(({ config }) => config.poisoning);
  const steps = {
    'label-flip': { rate: 0.3 },
    badnets: { rate: 0.5, target: 1, triggers: ['cf', 'mn'] },
  };
  assert.equal(await set('poisoning.steps.badnets.rate=0.5'), [
    { attack: 'label-flip+badnets', steps },
  ]);
  assert.equal(await set('poisoning.steps.1.rate=0.5'), [{ attack: 'label-flip+badnets', steps }]);
  assert.equal(await set('poisoning.attack=label-flip'), [{ attack: 'label-flip', rate: 0.3 }]);
  await rig.write({ 'base.yaml': `${minimal}poisoning: { attack: badnets, rate: 0.9 }\n` });
  const { cells } = await rig.expand(
    'extends: base.yaml\npoisoning: { steps: [{ attack: label-flip }, { attack: badnets, rate: 0.5 }] }\n',
  );
  assert.equal(
    cells.map(({ config }) => config.poisoning),
    [{ attack: 'label-flip+badnets', steps }],
  );
});

test('the resolved spec is a spec of the same grid', async ({ rig }) => {
  const spec = `${minimal}poisoning: [{ steps: [${flips}, ${words}], when: { poisoning.steps.badnets.rate: 0.1 } }, { attack: none }]\n`;
  const first = await rig.expand(spec),
    again = await rig.expand(JSON.stringify(first.resolved));
  assert.equal(
    again.cells.map(({ config }) => config),
    first.cells.map(({ config }) => config),
  );
  assert.equal(again.resolved, first.resolved);
});

test('a field of a step is found where it is written', async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}poisoning:\n  - attack: none\n  - steps:\n      - { attack: label-flip }\n      - { attack: badnets, rate: [0.1, 0.2] }\n`,
  );
  const at = (...path: (string | number)[]): string => {
    const { line, column, text, endColumn } = cells[2]!.locate(['poisoning', 'steps', ...path]);
    return `${line}: ${text.slice(column - 1, endColumn - 1)}`;
  };
  assert.equal(
    [at('badnets', 'rate'), at('badnets', 'target'), at('label-flip', 'rate'), at()],
    ['8: 0.2', '8: badnets', '7: label-flip', '7: - { attack: label-flip }'],
  );
});

test.run();
