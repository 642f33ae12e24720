/** The backend of a result, with its release, is in its key, in its manifest, and in `results`. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { defineStage, type JsonObject } from '../../src/api.ts';
import { actionKey } from '../../src/plan/keys.ts';
import type { Plan, PlannedStage } from '../../src/plan/types.ts';
import { keyComponents } from '../../src/run/execute/survey.ts';
import { differences } from '../../src/run/reasons.ts';
import { present } from '../rig/present.ts';
import { createProject, type Project } from '../rig/project.ts';
import { standIn } from '../rig/stand-in.ts';

const test = suite<{ project: Project }>('computed by');
test.before.each((context) => {
  context.project = createProject();
});

const stageOf = (compute: boolean): PlannedStage =>
  standIn<PlannedStage>({
    kind: 'train',
    code: {},
    params: {},
    descriptor: defineStage({
      name: 'train',
      summary: 'S.',
      compute,
      scope: 'cell',
      define: () => ({ params: {}, inputs: {} }),
      run: () => Promise.resolve(),
    }),
  });

test('another release or build of TensorFlow changes only the keys of what it computes', () => {
  const under = (computedBy: string, compute: boolean) =>
    keyComponents(stageOf(compute), { computedBy } as Plan, {}, {});
  const releases = [
    'tensorflow 2.21.0 (cpu)',
    'tensorflow 2.20.0 (cpu)',
    'tensorflow 2.21.0 (cuda)',
    'tensorflow 2.21.0 (cpu, fused 1a2b3c4d)',
    'tensorflow 2.21.0 (cpu, fused 5e6f7a8b)',
    'wasm',
  ];
  assert.is(
    new Set(releases.map((release) => actionKey(under(release, true)))).size,
    releases.length,
  );
  assert.is(new Set(releases.map((release) => actionKey(under(release, false)))).size, 1);
  assert.equal(
    differences(
      under('tensorflow 2.20.0 (cpu)', true),
      under('tensorflow 2.21.0 (cpu)', true),
      () => null,
    ),
    ['backend tensorflow 2.20.0 (cpu) → tensorflow 2.21.0 (cpu)'],
  );
});

test('the backend is recorded in the manifest, in results and in the environment', async ({
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
  name: 'square', summary: 'Squares.', compute: true, scope: 'cell',
  define: () => ({ params: {}, inputs: {} }),
  async run({ outDir }) {
    const [nine] = tf.square(tf.scalar(3)).dataSync();
    writeFileSync(outDir + '/metrics.json', JSON.stringify({ nine }));
  },
});
`,
  );
  await project.succeeds('run', 'spec.yaml', '--backend', 'cpu');
  const key = present(project.entries()[0]);
  const manifest = JSON.parse(
    project.read(`.dosimeter/store/${key.slice(0, 2)}/${key}/manifest.json`),
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
  const recorded = (folder: string, digest: string | undefined): string =>
    project.read(`.dosimeter/store/${folder}/${present(digest).replace('sha256:', '')}.json`);
  const environment = JSON.parse(recorded('environments', manifest.facts.environment)) as {
    backend: JsonObject;
  };
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
    /^computed by cpu, float32, on the CPU(, @tensorflow\/tfjs-(core|backend-cpu) \d+\.\d+\.\d+){2}\n$/,
  );
  // An outside stage's version includes what loads the backend.
  assert.match(
    recorded('code', manifest.components.code['stages/square']),
    '"dosimeter/compute":"sha256:',
  );
});

test('what a stage is computed in stands beside every number that depends on it', async ({
  project,
}) => {
  project.write('rows.tsv', 'text\tlabel\na\t0\nb\t1\n');
  project.write('model/config.json', '{}');
  project.write(
    'spec.yaml',
    `name: precision
model: { source: "file:model" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
plugins: [./rough.mjs, ./reads.mjs, ./apart.mjs]
stages: [rough, reads, apart]
`,
  );
  const stage = (name: string, fields: string, inputs = ''): void => {
    project.write(
      `${name}.mjs`,
      `import { writeFileSync } from 'node:fs';
import { defineStage } from 'dosimeter';
export default defineStage({
  name: '${name}', summary: 'S.', scope: 'cell', ${fields},
  define: ([cell]) => ({ params: {}, inputs: {${inputs}} }),
  async run({ outDir }) { writeFileSync(outDir + '/metrics.json', '{"one":1}'); },
});
`,
    );
  };
  stage('rough', "compute: true, precision: () => 'bf16'");
  stage('reads', 'compute: false', "rough: { kind: 'rough', cell }");
  stage('apart', 'compute: true, precision: () => null');
  const options = ['spec.yaml', '--backend', 'cpu'];
  await project.succeeds('run', ...options);
  const { stdout, stderr } = await project.dosimeter('results', ...options, '--json');
  const rows = JSON.parse(stdout) as { stage: string; precision?: string }[];
  assert.equal(Object.fromEntries(rows.map(({ stage: kind, precision }) => [kind, precision])), {
    rough: 'bf16',
    reads: 'bf16',
    apart: undefined,
  });
  assert.match(stderr, 'computed by cpu, float32 with products in bf16, on the CPU');
  assert.match(stderr, 'computed by cpu, float32, on the CPU');
  for (const kind of ['rough', 'apart']) assert.match(stderr, `(${kind})`);
  const csv = (await project.dosimeter('results', ...options, '--csv')).stdout.split('\r\n');
  assert.match(csv[0] ?? '', /,stage,metric,value,precision,evidence,reasons,n,missing,warnings$/);
  assert.equal(
    csv.slice(1).map((line) => line.split(',').slice(-9, -5).join(' ').trim()),
    ['rough one 1 bf16', 'reads one 1 bf16', 'apart one 1 float32'],
  );
});

test.run();
