/** Which of the stored metrics are read, and what is reported about the others. */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { defineStage } from '../../../src/api.ts';
import { leftOut } from '../../../src/cli/result-tables.ts';
import { planExperiment } from '../../../src/plan/plan.ts';
import type { ActionKey } from '../../../src/plan/types.ts';
import { type MetricsStatus, readMetrics } from '../../../src/run/execute/metrics.ts';
import { createRegistry } from '../../rig/registry.ts';
import { cell, experiment } from '../../rig/rig.ts';

const test = suite<{ dir: string }>('stored metrics');
test.before.each((context) => {
  context.dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-results-'));
});

const train = defineStage({
  name: 'train',
  summary: 'A fixture.',
  compute: false,
  scope: 'cell',
  define: (cells) => ({ params: { seed: cells[0]?.seed ?? 0 }, inputs: {} }),
  run: () => Promise.resolve(),
});

/** A `metrics.json` as the manifest has it, and as the disk has it (default: the same). */
interface Stored {
  readonly was: string;
  readonly is?: string;
}

/** Reads the metrics of one stage for each of these files, by seed from 1. */
function read(dir: string, stored: readonly Stored[]) {
  const planned = planExperiment(
    experiment(
      ['train'],
      stored.map((_, i) => cell(i + 1)),
    ),
    createRegistry([train]),
    'cpu',
  );
  if (!planned.ok) throw new Error('the fixture has no plan');
  const statuses = planned.value.stages.map((stage, i): MetricsStatus => {
    const { was, is = was } = stored[i] ?? { was: '' };
    const entryDir = path.join(dir, String(i + 1));
    mkdirSync(entryDir);
    writeFileSync(path.join(entryDir, 'metrics.json'), is);
    const sha256 = createHash('sha256').update(was).digest('hex');
    const files = [{ path: 'metrics.json', size: was.length, sha256 }];
    return { stage, entry: { key: String(i) as ActionKey, dir: entryDir, manifest: { files } } };
  });
  return readMetrics(planned.value, statuses, { manifest: () => ({ facts: {} }) });
}

test('a file that is as it was stored, but is refused now, is not called damaged', ({ dir }) => {
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
    'an earlier version stored it; left out ' +
    `(delete ${path.dirname(file(seed))} and run that stage again)`;
  assert.equal(leftOut(found), [
    `${file(4)} is not what was stored; left out (dosimeter verify)`,
    `${file(2)} holds a number that is not finite: "loss" is beyond what a double holds; ` +
      again(2),
    `${file(3)} is not a flat object of numbers: "loss" is null; ${again(3)}`,
  ]);
});

test.run();
