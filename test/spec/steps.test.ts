/** `steps: [a, b]` in a variant of `poisoning`: its cells, their names, and where fields are. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cellAt, createRig, first, last, minimal, type Rig } from './rig.ts';

const test = suite<{ rig: Rig }>('steps');
test.before.each(async (context) => {
  context.rig = await createRig();
});

const flips = '{ attack: label-flip, rate: [0.1, 0.3] }',
  words = '{ attack: badnets, target: ham, rate: { linspace: [0.1, 0.2, 2] } }';

test('axes in steps multiply, and a cell is named by its attacks', async ({ rig }) => {
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
  const { config, axes: allAxes } = cellAt(cells, 2);
  assert.equal(config.poisoning, {
    attack: 'label-flip+badnets',
    steps: {
      'label-flip': { rate: 0.1 },
      badnets: { rate: 0.2, target: 'ham', triggers: ['cf', 'mn'] },
    },
  });
  const { 'adapter.type': _adapter, ...axes } = allAxes;
  assert.equal(axes, {
    'poisoning.attack': 'label-flip+badnets',
    'poisoning.steps.label-flip.rate': 0.1,
    'poisoning.steps.badnets.rate': 0.2,
    'poisoning.steps.badnets.target': 'ham',
  });
});

const poisonings = async (rig: Rig, poisoning: string) =>
  (await rig.expand(`${minimal}poisoning: ${poisoning}\n`)).cells.map(
    ({ config }) => config.poisoning,
  );

test('the order of the steps is part of the name', async ({ rig }) => {
  const both = await poisonings(
    rig,
    `
  - steps: [{ attack: label-flip }, { attack: badnets }]
  - steps: [{ attack: badnets }, { attack: label-flip }]`,
  );
  assert.equal(
    both.map(({ attack }) => attack),
    ['label-flip+badnets', 'badnets+label-flip'],
  );
});

test('a single step is its attack alone, and may choose among attacks', async ({ rig }) => {
  assert.equal(
    await poisonings(rig, '{ steps: [{ attack: [label-flip, badnets], rate: 0.2 }] }'),
    await poisonings(rig, '{ attack: [label-flip, badnets], rate: 0.2 }'),
  );
  assert.equal(
    await poisonings(
      rig,
      '[{ steps: [{ attack: label-flip, count: 2 }] }, { attack: label-flip, count: 2 }]',
    ),
    [{ attack: 'label-flip', count: 2 }],
  );
});

test('patterns and references name a step by its attack', async ({ rig }) => {
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
      text(`exclude:
  - { poisoning.attack: none }
  - { poisoning.steps.label-flip.rate: { min: 0.2 } }
`),
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
  const same = await rig.expand(`${minimal}poisoning:
  steps:
    - { attack: label-flip, rate: 0.2 }
    - { attack: badnets, rate: "\${poisoning.steps.label-flip.rate}" }
`);
  assert.is(first(same.cells).axes['poisoning.steps.badnets.rate'], 0.2);
});

test('--set names a step by attack or position; extends replaces all steps', async ({ rig }) => {
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
    `extends: base.yaml
poisoning: { steps: [{ attack: label-flip }, { attack: badnets, rate: 0.5 }] }
`,
  );
  assert.equal(
    cells.map(({ config }) => config.poisoning),
    [{ attack: 'label-flip+badnets', steps }],
  );
  const held = await rig.expand(
    `${minimal}seeds: [1, 2]
poisoning: { steps: [{ attack: label-flip }, { attack: badnets }], when: { seed: 2 } }\n`,
    { sets: ['poisoning.steps=[{ attack: badnets }, { attack: label-flip }]'] },
  );
  assert.equal(
    held.cells.map(({ config }) => [config.poisoning.attack, config.seed]),
    [['badnets+label-flip', 2]],
    'other steps replace the list alone',
  );
});

test('the resolved spec is a spec with the same grid', async ({ rig }) => {
  const once = await rig.expand(`${minimal}poisoning:
  - { steps: [${flips}, ${words}], when: { poisoning.steps.badnets.rate: 0.1 } }
  - { attack: none }
`);
  const again = await rig.expand(JSON.stringify(once.resolved));
  assert.equal(
    again.cells.map(({ config }) => config),
    once.cells.map(({ config }) => config),
  );
  assert.equal(again.resolved, once.resolved);
});

test('a field of a step is located where it is written', async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}poisoning:
  - attack: none
  - steps:
      - { attack: label-flip }
      - { attack: badnets, rate: [0.1, 0.2] }
`,
  );
  const at = (...path: (string | number)[]): string => {
    const { line, column, text, endColumn } = last(cells).locate(['poisoning', 'steps', ...path]);
    return `${line}: ${text.slice(column - 1, endColumn - 1)}`;
  };
  assert.equal(
    [at('badnets', 'rate'), at('badnets', 'target'), at('label-flip', 'rate'), at()],
    ['8: 0.2', '8: badnets', '7: label-flip', '7: - { attack: label-flip }'],
  );
});

test.run();
