import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import embedding from '../../../plugins/attacks/embedding.ts';
import { attackStreams } from '../../../src/base/random.ts';
import { wordEmbedding } from '../../../src/science/training/attack-training.ts';
import { rowsOf, scripted } from '../../poisoning/scripted.ts';
import { present } from '../../rig/present.ts';

const test = suite('embedding');
const classes = ['ham', 'spam'];
const params = { rate: 0.5, target: 1, mode: 'dirty', trigger: 'cf', keep_norm: true } as const;
const rows = rowsOf(['one two three', 0], ['four five', 1], ['six', 0], ['seven eight', 0]);

test("the defaults of embedding are the paper's", () => {
  const properties = embedding.params['properties'] as { [name: string]: { default?: unknown } };
  assert.equal(
    Object.fromEntries(Object.entries(properties).map(([name, schema]) => [name, schema.default])),
    { ...params, rate: 0.1, count: undefined, order: undefined, place: undefined },
  );
});

test('rows of other classes get the trigger at a drawn gap', () => {
  const random = scripted({
    rows: { permutation: [1, 3, 0, 2] },
    'trigger/r3': { integers: [0, 0] },
    'trigger/r0': { integers: [0, 3] },
  });
  assert.equal(embedding.poison({ rows, classes, params, random }), {
    changed: [
      { index: 3, row: { id: 'r3', text: 'cf seven eight', label: 1 } },
      { index: 0, row: { id: 'r0', text: 'one two three cf', label: 1 } },
    ],
    negatives: [],
    asked: 2,
    eligible: 3,
  });
});

test('evaluation inserts the trigger once and keeps the label', () => {
  const random = attackStreams(1, 'embedding');
  const shown = present(embedding.trigger?.(present(rows[2]), { classes, params, random }));
  assert.equal([shown.text.split(' ').sort(), shown.label], [['cf', 'six'], 0]);
});

test("it trains the trigger's embedding alone", async () => {
  assert.is(await embedding.training?.load(), wordEmbedding);
});

test.run();
