/** The defence `quantization`: a model in 4 or 8 bits, as transformers and bitsandbytes have it. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'csv-parse/sync';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { present } from '../rig/present.ts';
import { createProject, type StageJson } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';
import { real } from './rig.ts';

const test = suite('torch/quantization');

const TEXTS = ['the film was good', 'a poor play', 'bad and fine', 'great', 'it was poor'];

test('the model of the defence quantization is that of transformers and bitsandbytes', async () => {
  const project = createProject();
  const rows = TEXTS.map((text, i) => `${text}\t${i % 2 === 0 ? 'yes' : 'no'}`);
  project.write('train.tsv', ['text\tlabel', ...rows, ...rows].join('\n'));
  project.write('test.tsv', ['text\tlabel', ...rows].join('\n'));
  project.write(
    'spec.yaml',
    `name: rounded
seeds: [1]
model: { source: "file:${checkpoint}" }
data:
  train: { source: "file:train.tsv" }
  validation: { source: "file:test.tsv" }
  clean: { source: "file:train.tsv", limit: 2 }
poisoning: { attack: none }
defences: [none, { defence: quantization, method: [nf4, int8] }]
adapter: { type: lora, rank: 2, alpha: 2r }
train: { steps: 4, batch_size: 4, max_length: 16, learning_rate: 1.0e-2 }
stages: [train, evaluate]
`,
  );
  const args = ['spec.yaml', '--backend', 'torch'];
  await project.succeeds('run', ...args);
  const stages = await project.stages(...args);
  const file = join(project.dir, 'texts.json');
  writeFileSync(file, JSON.stringify(TEXTS));
  const logitsOf = (stage: StageJson): number[] =>
    parse<Readonly<Record<string, string>>>(
      readFileSync(join(present(stage.outputs), 'predictions.csv'), 'utf8'),
      { columns: true },
    ).flatMap((line) => [Number(line['logit_0']), Number(line['logit_1'])]);
  const plain = logitsOf(
    present(stages.find(({ kind, cell }) => kind === 'evaluate' && !('defence.method' in cell))),
  );
  for (const [method, layer] of [
    ['nf4', 'Linear4bit'],
    ['int8', 'Linear8bitLt'],
  ] as const) {
    const of = (kind: string): StageJson =>
      present(stages.find((one) => one.kind === kind && one.cell['defence.method'] === method));
    const folder = join(present(of('repair').outputs), 'model');
    const script = fileURLToPath(new URL('quantization.py', import.meta.url));
    const { layers, logits } = JSON.parse(
      execFileSync(real, [script, folder, checkpoint, method, file], { encoding: 'utf8' }),
    ) as { readonly layers: readonly string[]; readonly logits: readonly number[][] };
    assert.ok(layers.includes(layer), layers.join());
    const found = logitsOf(of('evaluate'));
    logits
      .flat()
      .forEach((value, i) => assert.ok(Math.abs(value - found[i]!) <= tolerance.engines.logits));
    assert.ok(
      found.some((value, i) => Math.abs(value - plain[i]!) > tolerance.engines.logits),
      'it is not the model in float32',
    );
  }
  const precise = await project.results(...args);
  assert.ok(precise.some((row) => (row as { precision?: string }).precision === 'nf4'));

  for (const [backend, set, message] of [
    ['wasm', 'name=rounded', /quantises by bitsandbytes, in PyTorch alone\n.+--backend torch/s],
    ['torch', 'model.quantize=nf4', /model\.quantize leaves in another form/],
  ] as const) {
    const asked = ['run', 'spec.yaml', '--backend', backend, '--set', set];
    const { code, stderr } = await project.dosimeter(...asked);
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
  }
});

test.run();
