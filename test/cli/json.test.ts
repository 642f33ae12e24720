/** The JSON that `plan` and `results` print. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import Ajv from 'ajv';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { present } from '../rig/present.ts';
import { createProject, type Project, writeToys } from '../rig/project.ts';

const test = suite<{ project: Project }>('JSON');
test.before.each((context) => {
  context.project = createProject();
  writeToys(context.project);
});

test('plan --json and results --json keep their shapes', async ({ project }) => {
  const before = await project.stages('spec.yaml');
  assert.equal(
    [
      ...new Set(
        before.map(
          (stage) =>
            `${stage.kind} ${stage.state} ${stage.key === null ? 'null' : 'key'} ` +
            (stage.outputs ?? 'null'),
        ),
      ),
    ].sort(),
    ['toy-evaluate pending null null', 'toy-report pending null null', 'toy-train ready key null'],
  );
  assert.equal(await project.json('results', 'spec.yaml', '--json'), []);
  await project.dosimeter('run', 'spec.yaml');
  const stages = await project.stages('spec.yaml');
  for (const stage of stages) {
    assert.is(stage.state, 'cached');
    assert.match(stage.key ?? '', /^[0-9a-f]{64}$/);
    const outputs = present(stage.outputs);
    assert.ok(path.isAbsolute(outputs));
    assert.type(stage.reason, 'string');
    assert.ok(project.exists(path.relative(project.dir, path.join(outputs, 'manifest.json'))));
  }
  assert.equal(
    stages.map(({ id, kind }) => [id, kind]),
    before.map(({ id, kind }) => [id, kind]),
  );
  const rows = await project.results('spec.yaml');
  assert.is(rows.length, 3 * 2 * 2);
  assert.equal(
    rows.find(
      ({ cell, seed, stage }) =>
        cell['poisoning.rate'] === 0.3 && seed === 2 && stage === 'toy-evaluate',
    ),
    {
      cell: { 'poisoning.attack': 'label-flip', 'poisoning.rate': 0.3, 'adapter.type': 'full' },
      seed: 2,
      stage: 'toy-evaluate',
      metric: 'accuracy',
      value: 0.6799999999999999,
      evidence: { counts: true, reasons: [], n: 2, missing: 0, warnings: [] },
    },
  );
  const csv = await project.dosimeter('results', 'spec.yaml', '--csv');
  assert.is(csv.stdout.split('\r\n').length, 13);
});

test('plan --json and results --json conform to their schemas', async ({ project }) => {
  const holds = (schema: string) =>
    new Ajv({ strict: true, strictTypes: false }).compile(
      JSON.parse(
        readFileSync(new URL(`../../schemas/${schema}.schema.json`, import.meta.url), 'utf8'),
      ),
    );
  const plan = holds('plan'),
    results = holds('results');
  const check = async (): Promise<void> => {
    const planned = await project.json('plan', 'spec.yaml', '--json'),
      rows = await project.json('results', 'spec.yaml', '--json');
    assert.ok(plan(planned), JSON.stringify(plan.errors));
    assert.ok(results(rows), JSON.stringify(results.errors));
  };
  await check();
  await project.dosimeter('run', 'spec.yaml');
  await check();
  const stages = await project.stages('spec.yaml');
  for (const wrong of [
    { state: 'done' },
    { key: 'abc' },
    { outputs: 1 },
    { more: 1 },
    { seed: -1 },
  ])
    assert.not.ok(plan({ stages: [{ ...present(stages[0]), ...wrong }] }), JSON.stringify(wrong));
});

test.run();
