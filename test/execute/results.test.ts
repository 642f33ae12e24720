/** Which of the stored metrics are read, and what is said of the others. */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { defineStage } from '../../src/api.ts';
import { leftOut } from '../../src/cli/result-tables.ts';
import { readMetrics } from '../../src/execute/results.ts';
import type { StageStatus } from '../../src/execute/survey.ts';
import { planExperiment } from '../../src/plan/plan.ts';
import { createRegistry } from '../../src/registry/registry.ts';
import type { Store } from '../../src/store/store.ts';
import { cell, experiment } from '../rig/rig.ts';

const test = suite<{ dir: string }>('stored metrics');
test.before.each((context) => {
  context.dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-results-'));
});
test.after.each(({ dir }) => rmSync(dir, { recursive: true }));

const train = defineStage({
  name: 'train',
  summary: 'A fixture.',
  compute: false,
  scope: 'cell',
  define: ([one]) => ({ params: { seed: one!.seed }, inputs: {} }),
  run: async () => undefined,
});

/** @param stored `metrics.json` by seed: as the manifest has it, and as the disk has it */
function read(dir: string, stored: readonly { readonly was: string; readonly is?: string }[]) {
  const planned = planExperiment(
    experiment(
      ['train'],
      stored.map((_, i) => cell(i + 1)),
    ),
    createRegistry([train]),
    'cpu',
  );
  assert.ok(planned.ok);
  if (!planned.ok) throw new Error();
  const statuses = planned.value.stages.map((stage, i) => {
    const at = path.join(dir, String(i + 1)),
      { was, is = was } = stored[i]!;
    mkdirSync(at);
    writeFileSync(path.join(at, 'metrics.json'), is);
    const sha256 = createHash('sha256').update(was).digest('hex');
    const manifest = { files: [{ path: 'metrics.json', sha256 }], facts: {} };
    return { stage, state: 'cached', key: String(i), entry: { key: String(i), dir: at, manifest } };
  }) as unknown as StageStatus[];
  const store = {
    manifest: (key: string) => statuses[Number(key)]!.entry!.manifest,
  } as unknown as Store;
  return readMetrics(planned.value, statuses, store);
}

test('a file as it was stored that holds what is refused now is not called damaged', ({ dir }) => {
  const found = read(dir, [
    { was: '{"accuracy": 0.5}' },
    { was: '{"accuracy": 0.5, "loss": 1e400}' },
    { was: '{"loss": null}' },
    { was: '{"accuracy": 0.5}', is: '{"accuracy": 0.9}' },
  ]);
  assert.equal(
    found.cells.map(({ metrics }) => metrics),
    [{ train: { accuracy: 0.5 } }, {}, {}, {}],
  );
  const file = (seed: number): string => path.join(dir, `${seed}/metrics.json`);
  assert.equal(found.damaged, [file(4)]);
  const again = (seed: number): string =>
    `an earlier version stored it; left out (delete ${path.dirname(file(seed))} and run that stage again)`;
  assert.equal(leftOut(found), [
    `${file(4)} is not what was stored; left out (dosimeter verify)`,
    `${file(2)} holds a number that is not finite: "loss" is beyond what a double holds; ${again(2)}`,
    `${file(3)} is no flat object of numbers: "loss" is null; ${again(3)}`,
  ]);
});

test.run();
