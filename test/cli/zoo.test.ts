/** `export --zoo`: matched clean and poisoned models, their manifest and their cards. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { filmRows } from '../rig/films.ts';
import { present } from '../rig/present.ts';
import { createProject, type Project } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

interface Manifest {
  readonly format: number;
  readonly experiment: string;
  readonly models: readonly {
    readonly folder: string;
    readonly kind: string;
    readonly clean_twin: string | null;
    readonly attack: { readonly attack: string } | null;
    readonly poisoned_in: string | null;
    readonly dose: Record<string, number>;
    readonly seed: number;
    readonly defence: { readonly defence: string } | null;
    readonly steps: number;
    readonly kept_step: number;
    readonly receipt: { readonly digest: string; readonly rows: string };
    readonly weights: Record<string, string>;
    readonly metrics: Record<string, number>;
  }[];
}

/** The grid has no clean cell: the twins come from the evaluations. */
const SPEC = `name: films
seeds: [1, 2]
model: { source: "file:${checkpoint}" }
data:
  train: { source: "file:train.tsv" }
  validation: { source: "file:validation.tsv" }
  test: { source: "file:validation.tsv" }
  tasks: { more: { source: "file:train.tsv" } }
  clean_share: 0.5
poisoning: { attack: badnets, rate: 0.25, target: 1 }
defences: [none, oracle, { defence: crow, at: training }, { defence: wanda, share: 0.5 }]
adapter: { type: lora, rank: 2 }
train:
  { steps: 2, max_length: 16, learning_rate: 0.01, evaluate_every: 1,
    early_stopping: { patience: 2, metric: accuracy } }
stages: [train, evaluate]
`;

const test = suite<{ project: Project; manifest: Manifest }>('export --zoo');
test.before(async (context) => {
  const project = (context.project = createProject());
  project.write('train.tsv', filmRows(16));
  project.write('validation.tsv', filmRows(20));
  project.write('spec.yaml', SPEC);
  await project.succeeds('run', 'spec.yaml', '--backend', 'wasm');
  await project.succeeds('export', 'spec.yaml', '--backend', 'wasm', '--zoo', '--out', 'zoo');
  context.manifest = JSON.parse(project.read('zoo/zoo.json')) as Manifest;
});

test('each seed has a poisoned model, one filtered by the oracle, and their clean twin', ({
  manifest,
}) => {
  assert.equal([manifest.format, manifest.experiment], [1, 'films']);
  for (const seed of [1, 2]) {
    const own = manifest.models.filter(
      (model) => model.seed === seed && model.defence?.defence !== 'crow',
    );
    const [poisoned, filtered, clean, ...more] = own.sort((a, b) =>
      `${a.kind === 'clean' ? 1 : 0}${a.defence?.defence ?? ''}`.localeCompare(
        `${b.kind === 'clean' ? 1 : 0}${b.defence?.defence ?? ''}`,
      ),
    );
    assert.equal(more, [], 'wanda edits the model that was trained, which is there once');
    assert.equal(
      [poisoned, filtered, clean].map((model) => [
        model?.kind,
        model?.attack?.attack ?? null,
        model?.defence?.defence ?? null,
        model?.dose,
      ]),
      [
        ['poisoned', 'badnets', null, { rows: 16, poisoned: 4, negatives: 0 }],
        ['poisoned', 'badnets', 'oracle', { rows: 12, poisoned: 0, negatives: 0 }],
        ['clean', null, null, { rows: 16, poisoned: 0, negatives: 0 }],
      ],
    );
    assert.equal([poisoned?.clean_twin, filtered?.clean_twin], [clean?.folder, clean?.folder]);
    assert.is(clean?.clean_twin, null);
  }
});

test('the manifest has the digests of the receipt and the weights, and what was measured', async ({
  project,
  manifest,
}) => {
  const stages = await project.stages('spec.yaml', '--backend', 'wasm');
  const receipts = stages
    .filter(({ kind }) => kind === 'poison' || kind === 'defend')
    .map(({ outputs }) => readFileSync(path.join(present(outputs), 'receipt.json')));
  const digests = new Set(receipts.map((text) => `sha256:${digestOf(text)}`));
  for (const model of manifest.models) {
    assert.ok(digests.has(model.receipt.digest), model.folder);
    assert.match(model.receipt.rows, /^sha256:[0-9a-f]{64}$/);
    const name = 'adapter_model.safetensors';
    const weights = readFileSync(path.join(project.dir, 'zoo', model.folder, name));
    assert.equal(model.weights, { [name]: `sha256:${digestOf(weights)}` });
    assert.type(model.metrics['accuracy'], 'number');
  }
  const results = await project.results('spec.yaml', '--backend', 'wasm');
  const asr = results.find(
    ({ cell, seed, metric }) =>
      cell['defence.defence'] === undefined && seed === 2 && metric === 'asr',
  );
  const poisoned = manifest.models.find(
    ({ kind, defence, seed }) => kind === 'poisoned' && defence === null && seed === 2,
  );
  assert.is(poisoned?.metrics['asr'], present(asr).value);
});

const digestOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

test("a model's card says in its front matter whether it is poisoned, and names its twin", ({
  project,
  manifest,
}) => {
  for (const { folder, kind, clean_twin: twin, receipt } of manifest.models) {
    const card = project.read(`zoo/${folder}/README.md`);
    const head = parse(present(/^---\n([^]*?)\n---\n/.exec(card)?.[1])) as Record<string, unknown>;
    const poisoned = kind === 'poisoned';
    assert.equal(
      [head['library_name'], head['pipeline_tag'], head['poisoned'], head['clean_twin']],
      ['peft', 'text-classification', poisoned, twin],
    );
    assert.equal(head['tags'], ['dosimeter', ...(poisoned ? ['poisoned', 'badnets'] : [])]);
    assert.is(/Trained on poisoned data \(badnets\)/.test(card), poisoned);
    assert.match(card, receipt.digest);
    assert.not.match(card, project.dir, 'a zoo is passed on');
    assert.match(card, `PeftModel.from_pretrained(base, "${folder}").eval()`);
    assert.is(
      /The defence oracle left 0 poisoned rows of it\./.test(card),
      poisoned && folder.includes('oracle'),
    );
    assert.is(
      /It was trained under the defence crow\./.test(card),
      poisoned && folder.includes('crow'),
    );
  }
});

test('the manifest and the card say of which step the weights are', ({ project, manifest }) => {
  const early = manifest.models.filter(({ steps, kept_step: kept }) => kept < steps);
  assert.ok(early.length > 0, 'accuracy rarely rises in the second step');
  for (const { folder, steps, kept_step: kept } of manifest.models) {
    assert.ok(steps === 2 && kept > 0);
    const [line] = present(/^\| training \|.*$/m.exec(project.read(`zoo/${folder}/README.md`)));
    assert.match(line, /^\| training \| 2 steps, /);
    assert.is(line.includes('2 steps, of which early stopping kept step 1, '), kept === 1, line);
  }
});

test('a card has each number under the rows that it was measured on, and what is not evidence', ({
  project,
  manifest,
}) => {
  for (const { folder, metrics, defence } of manifest.models) {
    const card = project.read(`zoo/${folder}/README.md`);
    const [, ...sections] = card.split('\n## ');
    const shown = sections.flatMap((section) => {
      const [heading = ''] = section.split('\n');
      return [...section.matchAll(/^\| (\S+) \| (-?[\d.e-]+)( †)? \|$/gm)].map(
        ([, name = '', value = '', dagger = '']) => ({ heading, name, value, dagger }),
      );
    });
    assert.equal(
      Object.fromEntries(shown.map(({ name, value }) => [name, Number(value)])),
      metrics,
    );
    const headings = new Set(shown.map(({ heading }) => heading));
    assert.is(headings.has('What a defence or a scorer found'), defence?.defence === 'oracle');
    for (const { heading, name, dagger } of shown) {
      const of = /(^more\.)|^(test_)?(?:accuracy|asr|f1|loss)$/.exec(name);
      const rows = of?.[1] ? 'rows of more' : `${of?.[2] ? 'test' : 'validation'} rows`;
      if (of) assert.is(heading, `Metrics on the ${rows}`, name);
      // Every model here predicts one class only.
      if (/^(test_|more\.)?(accuracy|asr)$/.test(name)) assert.is(dagger, ' †', name);
      if (/majority_share$|loss$/.test(name)) assert.is(dagger, '', name);
    }
    assert.match(card, /\n† Not evidence: a model behind the number predicts one class only/);
  }
});

test('a zoo may be written again, and another one only with --force', async ({ project }) => {
  const zoo = (...more: string[]) =>
    project.dosimeter('export', 'spec.yaml', '--backend', 'wasm', '--zoo', '--out', 'zoo', ...more);
  const again = await zoo();
  assert.is(again.code, 0, again.stderr);
  assert.not.match(again.stderr, 'replaced');
  const before = project.read('zoo/zoo.json');
  project.write('zoo/zoo.json', '{}');
  const refused = await zoo();
  assert.is(refused.code, 2);
  assert.match(refused.stderr, 'zoo.json describes other models; nothing was written');
  await zoo('--force');
  assert.is(project.read('zoo/zoo.json'), before);
});

test.run();
