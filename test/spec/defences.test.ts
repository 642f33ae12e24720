/** `defences`: an axis of variants, of which a cell has one, or none. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createRig, first, minimal, registry as bare, type Rig } from './rig.ts';

const registry = {
  ...bare,
  defences: [
    { name: 'oracle', params: { type: 'object', properties: {} } },
    {
      name: 'onion',
      params: {
        type: 'object',
        properties: {
          bar: { type: 'number', default: 0 },
          model: { type: 'string', format: 'source', description: 'A language model.' },
        },
      },
    },
  ],
};

const test = suite<{ rig: Rig }>('defences');
test.before(async (context) => {
  context.rig = await createRig();
});

test('a cell without a defence is what it is in a spec without defences', async ({ rig }) => {
  const plain = await rig.expand(minimal, { registry });
  const none = await rig.expand(`${minimal}defences: none\n`, { registry });
  const grid = await rig.expand(`${minimal}defences: [none, oracle]\n`, { registry });
  const { config, axes } = first(plain.cells);
  for (const { cells } of [none, grid]) {
    assert.equal(first(cells).config, config);
    assert.equal(first(cells).axes, axes);
  }
  assert.not.ok('defence' in config);
  assert.not.ok('defences' in (plain.resolved as object), 'and is recorded without them');
});

test('defences are an axis, with their defaults and their names in cells', async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}poisoning: [{ attack: none }, { attack: badnets }]
defences: [none, oracle, { defence: onion, bar: [0, 2] }]
`,
    { registry },
  );
  assert.equal(
    cells.map(({ config }) => config.defence),
    ['none', 'badnets'].flatMap(() => [
      undefined,
      { defence: 'oracle' },
      { defence: 'onion', bar: 0 },
      { defence: 'onion', bar: 2 },
    ]),
  );
  assert.equal(
    cells.slice(4).map(({ label }) => label),
    [
      'attack=badnets defence=none',
      'attack=badnets defence=oracle',
      'attack=badnets defence=onion bar=0',
      'attack=badnets defence=onion bar=2',
    ],
  );
  assert.equal(
    cells.slice(4).map(({ axes }) => [axes['defence.defence'], axes['defence.bar']]),
    [
      [undefined, undefined],
      ['oracle', undefined],
      ['onion', 0],
      ['onion', 2],
    ],
  );
});

test('patterns name a defence, and none', async ({ rig }) => {
  const spec = `${minimal}adapter: [{ type: full }, { type: lora }]
defences: [none, { defence: onion, when: { adapter.type: lora } }]
`;
  const kept = async (...only: string[]): Promise<unknown[]> =>
    (await rig.expand(spec, { registry, only })).cells.map(({ config: { adapter, defence } }) => [
      adapter.type,
      defence?.defence,
    ]);
  const full = ['full', undefined],
    lora = ['lora', undefined],
    onion = ['lora', 'onion'];
  assert.equal(await kept(), [full, lora, onion]);
  assert.equal(await kept('defence=none'), [full, lora]);
  assert.equal(await kept('defence=onion,none', 'type=lora'), [lora, onion]);
  const excluding = await rig.expand(`${spec}exclude: [{ defence: none, type: full }]\n`, {
    registry,
  });
  assert.is(excluding.cells.length, 2);
});

test('a base has no defence', async ({ rig }) => {
  assert.match(
    await rig.faults(`${minimal}base: { defences: [oracle] }\n`, { registry }),
    /unknown key "defences" in "base"/,
  );
});

test('faults are reported at their place', async ({ rig }) => {
  const faults = async (defences: string): Promise<string> =>
    rig.faults(`${minimal}defences: ${defences}\n`, { registry });
  assert.match(await faults('[none, orcle]'), /there is no defence "orcle"\n.*:4:18\n/);
  assert.match(await faults('[none, orcle]'), /did you mean "oracle"/);
  assert.match(
    await faults('{ defence: onion, barr: 1 }'),
    /defence "onion" takes no "barr"[^]*did you mean "bar"/,
  );
  assert.match(await faults('{ defence: onion, bar: high }'), /"defences\.bar" must be a number/);
  assert.match(
    await faults('{ defence: onion, model: "file:nowhere" }'),
    /there is no file DIR\/nowhere/,
  );
});

test('a source of a defence starts from the spec, and axes are found again', async ({ rig }) => {
  await rig.write({ 'lm/config.json': '{}' });
  const { cells } = await rig.expand(
    `${minimal}defences: [{ defence: onion, model: "file:lm", bar: [1, 3] }]\n`,
    { registry },
  );
  const [one, other] = cells;
  assert.is(one?.config.defence?.['model'], `file:${rig.dir}/lm`);
  assert.is(other?.locate(['defence', 'bar']).column, 57);
  assert.is(other?.locate(['defence', 'defence']).column, 23);
});

test.run();
