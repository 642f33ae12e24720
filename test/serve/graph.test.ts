/** The picture of what reads what has room for all of its boxes and arrows. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { groupStages, layOut } from '../../src/serve/projection.ts';
import type { StageRecord } from '../../src/serve/record.ts';

/** The kinds of stages of pipelines/threat-table.yaml, and which kinds each reads. */
const READS: Readonly<Record<string, readonly string[]>> = {
  data: [],
  poison: ['data'],
  train: ['data', 'poison', 'clean', 'defend', 'merge'],
  evaluate: ['data', 'train', 'clean', 'defend', 'repair', 'merge'],
  clean: ['data'],
  defend: ['poison', 'train', 'clean'],
  repair: ['train', 'clean'],
  merge: ['train'],
  report: ['data', 'poison', 'train', 'evaluate', 'defend'],
};
const kinds = Object.keys(READS);
const stages = kinds.map(
  (group) =>
    ({ group, inputs: (READS[group] ?? []).map((kind) => kinds.indexOf(kind)) }) as Pick<
      StageRecord,
      'group' | 'inputs'
    > as StageRecord,
);

test('no arrow and no box leaves the picture', () => {
  const { groups, arrows, width, height, box } = layOut(stages, groupStages(stages));
  assert.is(groups.length, kinds.length);
  assert.is(arrows.length, Object.values(READS).flat().length);
  const xs = [
    ...arrows.flatMap((points) => points.filter((_, i) => i % 2 === 0)),
    ...groups.flatMap(({ x }) => [x - box.width / 2, x + box.width / 2]),
  ];
  const ys = [
    ...arrows.flatMap((points) => points.filter((_, i) => i % 2 === 1)),
    ...groups.flatMap(({ y }) => [y - box.height / 2, y + box.height / 2]),
  ];
  assert.ok(Math.min(...xs) >= 0 && Math.max(...xs) <= width, xs.join(' '));
  assert.ok(Math.min(...ys) >= 0 && Math.max(...ys) <= height, ys.join(' '));
});

test('a run without stages has an empty picture', () => {
  const { width, height } = layOut([], groupStages([]));
  assert.equal([width, height], [0, 0]);
});

test.run();
