import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import labelFlip from '../../../plugins/attacks/label-flip.ts';
import none from '../../../plugins/attacks/none.ts';
import { UserFault } from '../../../src/api.ts';
import { attackStreams } from '../../../src/base/random.ts';
import { rowsOf, scripted } from '../../poisoning/scripted.ts';
import { present } from '../../rig/present.ts';

const test = suite('label-flip');
const binary = rowsOf(['a b', 0], ['c', 1], ['d e f', 1], ['g', 0], ['h', 0]);

test('two classes: y becomes 1 − y, in ⌊.5·5⌋ rows of any label, and texts stay', () => {
  const random = scripted({
    rows: { permutation: [3, 1, 0, 2, 4] },
    'label/r3': { integers: [0] },
    'label/r1': { integers: [0] },
  });
  assert.equal(
    labelFlip.poison({ rows: binary, classes: ['ham', 'spam'], params: { rate: 0.5 }, random }),
    {
      changed: [
        { index: 3, row: { id: 'r3', text: 'g', label: 1 } },
        { index: 1, row: { id: 'r1', text: 'c', label: 0 } },
      ],
      negatives: [],
      asked: 2,
      eligible: 5,
    },
  );
});

test('three classes: a row gets one of the others, by its own draw', () => {
  const rows = rowsOf(['a', 0], ['b', 1], ['c', 2]);
  const random = scripted({
    rows: { permutation: [0, 1, 2] },
    'label/r0': { integers: [1] },
    'label/r1': { integers: [1] },
    'label/r2': { integers: [0] },
  });
  const { changed } = labelFlip.poison({
    rows,
    classes: ['x', 'y', 'z'],
    params: { rate: 1 },
    random,
  });
  assert.equal(
    changed.map(({ row }) => row.label),
    [2, 0, 0],
  );
});

test('with many classes every other class is equally likely', () => {
  const rows = Array.from({ length: 4000 }, (_, i) => ({ id: `r${i}`, text: '', label: 1 }));
  const { changed } = labelFlip.poison({
    rows,
    classes: ['a', 'b', 'c', 'd', 'e'],
    params: { rate: 1 },
    random: attackStreams(7, 'label-flip'),
  });
  const counts = [0, 0, 0, 0, 0];
  for (const { row } of changed) counts[row.label]!++;
  assert.is(counts[1], 0);
  // The standard deviation of 4000 draws at ¼ is 27.4; the bound is five of them.
  for (const label of [0, 2, 3, 4])
    assert.ok(Math.abs(present(counts[label]) - 1000) < 137, `label ${label}: ${counts[label]}`);
});

test('a map flips the classes that it names, by name or id, and no others', () => {
  const rows = rowsOf(['a', 0], ['b', 1], ['c', 2], ['d', 0]);
  const random = scripted({ rows: { permutation: [2, 3, 1, 0] } });
  const result = labelFlip.poison({
    rows,
    classes: ['x', 'y', 'z'],
    params: { rate: 0.5, map: { x: 2, 1: 'x' } },
    random,
  });
  assert.equal(
    result.changed.map(({ index, row }) => [index, row.label]),
    [
      [3, 2],
      [1, 0],
    ],
  );
  assert.is(result.eligible, 3);
  const flip = (map: { [from: string]: string | number }) => () =>
    labelFlip.poison({ rows, classes: ['x', 'y', 'z'], params: { rate: 0.25, map }, random });
  assert.throws(
    flip({ w: 'x' }),
    (error: unknown) => error instanceof UserFault && /no class "w"/.test(error.message),
  );
  assert.throws(flip({ x: 'x' }), /turns class "x" into itself/);
  assert.throws(flip({ x: 'y', 0: 'z' }), /names class "x" twice/);
  assert.throws(
    () =>
      labelFlip.poison({
        rows,
        classes: ['x', 'y', 'z'],
        params: { rate: 0.5, map: { z: 'x' } },
        random,
      }),
    /only 1 of 4 are eligible/,
  );
});

test('a row is flipped to the same label at every rate', () => {
  const rows = Array.from({ length: 50 }, (_, i) => ({ id: `r${i}`, text: '', label: i % 3 }));
  const at = (rate: number) =>
    labelFlip.poison({
      rows,
      classes: ['a', 'b', 'c'],
      params: { rate },
      random: attackStreams(1, 'label-flip'),
    }).changed;
  assert.equal(at(0.2), at(0.6).slice(0, 10));
});

test('the attack none changes nothing and draws nothing', () => {
  assert.equal(
    none.poison({ rows: binary, classes: ['ham', 'spam'], params: {}, random: scripted({}) }),
    { changed: [], negatives: [], asked: 0, eligible: 0 },
  );
});

test.run();
