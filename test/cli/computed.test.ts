/** What computed a result is in its key, in its manifest, and in what `results` says; another release's result is a miss. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../../src/api.ts';
import { defineStage } from '../../src/api.ts';
import { keyComponents } from '../../src/execute/survey.ts';
import { actionKey } from '../../src/plan/keys.ts';
import type { Plan, PlannedStage } from '../../src/plan/types.ts';
import { differences } from '../../src/store/explain.ts';
import type { Project } from '../rig/project.ts';
import { createProject } from '../rig/project.ts';

const test = suite<{ project: Project }>('computed by');
test.before.each((context) => {
  context.project = createProject();
});
test.after.each(({ project }) => project.clean());

const stageOf = (compute: boolean): PlannedStage =>
  ({
    kind: 'train',
    code: {},
    params: {},
    descriptor: defineStage({
      name: 'train',
      summary: 'S.',
      compute,
      scope: 'cell',
      define: () => ({ params: {}, inputs: {} }),
      run: async () => undefined,
    }),
  }) as unknown as PlannedStage;

test('another release of TensorFlow, or another build of it, makes what it computes anew, and only that', () => {
  const under = (computedBy: string, compute: boolean) =>
    keyComponents(stageOf(compute), { computedBy } as Plan, {}, {});
  const releases = [
    'tensorflow 2.21.0 (cpu)',
    'tensorflow 2.20.0 (cpu)',
    'tensorflow 2.21.0 (cuda)',
    'wasm',
  ];
  assert.is(
    new Set(releases.map((release) => actionKey(under(release, true)))).size,
    releases.length,
  );
  assert.is(new Set(releases.map((release) => actionKey(under(release, false)))).size, 1);
  assert.equal(
    differences(under(releases[1]!, true), under(releases[0]!, true), () => null).map(
      ({ text }) => text,
    ),
    ['backend tensorflow 2.20.0 (cpu) → tensorflow 2.21.0 (cpu)'],
  );
});

test("a stage that computes says on what: in its manifest, in results, in the run's environment", async ({
  project,
}) => {
  project.write('rows.tsv', 'text\tlabel\na\t0\nb\t1\n');
  project.write('model/config.json', '{}');
  project.write(
    'spec.yaml',
    `name: computed
model: { source: "file:model" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
plugins: [./square.mjs]
stages: [square]
`,
  );
  project.write(
    'square.mjs',
    `import * as tf from '@tensorflow/tfjs-core';
import { writeFileSync } from 'node:fs';
import { defineStage } from 'dosimeter';
export default defineStage({
  name: 'square', summary: 'Squares.', compute: true, scope: 'cell', define: () => ({ params: {}, inputs: {} }),
  async run({ outDir }) { writeFileSync(outDir + '/metrics.json', JSON.stringify({ nine: tf.square(tf.scalar(3)).dataSync()[0] })); },
});
`,
  );
  const { code, stderr } = await project.dosimeter('run', 'spec.yaml', '--backend', 'cpu');
  assert.is(code, 0, stderr);
  const [key] = project.entries();
  const manifest = JSON.parse(
    readFileSync(
      path.join(project.dir, '.dosimeter/store', key!.slice(0, 2), key!, 'manifest.json'),
      'utf8',
    ),
  ) as {
    components: { backend: string; code: { [part: string]: string } };
    facts: { computed: JsonObject; environment: string };
  };
  assert.is(manifest.components.backend, 'cpu');
  const { name, precision, tensorflow, packages } = manifest.facts.computed;
  assert.equal([name, precision, tensorflow], ['cpu', 'float32', null]);
  assert.equal(Object.keys(packages as JsonObject), [
    '@tensorflow/tfjs-core',
    '@tensorflow/tfjs-backend-cpu',
  ]);
  const environment = JSON.parse(
    project.read(
      `.dosimeter/store/environments/${manifest.facts.environment.replace('sha256:', '')}.json`,
    ),
  ) as { backend: JsonObject };
  assert.equal(
    [environment.backend['name'], environment.backend['version'], environment.backend['precision']],
    ['cpu', 'cpu', 'float32'],
  );
  const said = await project.dosimeter('results', 'spec.yaml', '--backend', 'cpu', '--json');
  assert.equal(
    (JSON.parse(said.stdout) as { value: number }[]).map(({ value }) => value),
    [9],
  );
  assert.match(
    said.stderr,
    /^computed by cpu, float32, on the CPU, @tensorflow\/tfjs-core \d+\.\d+\.\d+, @tensorflow\/tfjs-backend-cpu \d+\.\d+\.\d+\n$/,
  );
  // What loads the backend is part of an outside stage's version too.
  assert.match(
    project.read(
      `.dosimeter/store/code/${manifest.components.code['stages/square']!.replace('sha256:', '')}.json`,
    ),
    '"dosimeter/compute":"sha256:',
  );
});

test.run();
