/** Faults of an attack that the data on disk show are reported before anything runs. */
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { mailRows } from '../rig/mails.ts';
import { present } from '../rig/present.ts';
import { createProject, type Project } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const test = suite<{ project: Project }>('poisoning before anything runs');
test.before.each((context) => {
  const project = (context.project = createProject());
  project.write('rows.tsv', mailRows);
});

/** The messages of preflight's faults, each with its place. */
const preflightFaults = (stderr: string): string[] =>
  [...stderr.matchAll(/(?<=error\[preflight\]: ).*|(?<= --> ).*/g)].map(([text]) => text);

const spec = (poisoning: string, stages = 'poison'): string => `name: poisoning
model: { source: "file:${checkpoint}" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
poisoning:
${poisoning}
adapter: { type: lora, rank: 2 }
train: { steps: 1, batch_size: 4, max_length: 16 }
stages: [${stages}]
`;

test('an unknown class and doses above the eligible rows are reported all at once', async ({
  project,
}) => {
  project.write(
    'spec.yaml',
    spec(`  - { attack: badnets, rate: 0.5, target: spam }
  - { attack: addsent, target: eggs }
  - { attack: label-flip, count: 5, map: { ham: spam } }
  - { attack: prefix, rate: 0.9, phrases: ["a"] }
  - { attack: paper-clean-label, rate: 0.9, target: ham }
  - { attack: badnets, rate: 0.6, target: ham }`),
  );
  const said = await project.dosimeter('run', 'spec.yaml');
  assert.is(said.code, 2);
  assert.equal(preflightFaults(said.stderr), [
    'The attack asks for 6 rows (rate 0.5 of 12), but only 4 of 12 are eligible: mode dirty ' +
      'draws among rows whose label is not "spam".',
    'spec.yaml:5:30',
    '`target`: there is no class "eggs"; the classes are 0 ("ham"), 1 ("spam").',
    'spec.yaml:6:32',
    'The attack asks for 5 rows (count 5), but only 4 of 12 are eligible: `map` flips only "ham".',
    'spec.yaml:7:34',
    'The attack asks for 10 rows (rate 0.9 of 12), but only 4 of 12 are eligible: only classes ' +
      'with a phrase are poisoned.',
    'spec.yaml:8:29',
    'The attack asks for 10 rows (rate 0.9 of 12), but only 4 of 12 are eligible: mode clean ' +
      'draws among rows whose label is "ham".',
    'spec.yaml:9:40',
  ]);
  assert.not.ok(project.exists('.dosimeter/runs'));
});

test('run and report warn of a rate that comes to no row, but not of a rate of zero', async ({
  project,
}) => {
  project.write(
    'spec.yaml',
    spec(
      '  - { attack: badnets, rate: 0.01, target: ham }\n  - { attack: label-flip, rate: 0 }',
      'train, report',
    ),
  );
  const run = await project.succeeds('run', 'spec.yaml');
  assert.match(
    run.stderr,
    /^spec\.yaml:5:30: rate 0\.01 of 12 training rows is less than one row: nothing is poisoned\n/,
  );
  assert.is(run.stderr.match(/nothing is poisoned/g)?.length, 1);
  assert.match(
    readFileSync(run.stdout.trim(), 'utf8'),
    /<dt>Poisoned nothing<\/dt><dd>[^<]*badnets[^<]*: a dose of zero rows<\/dd>/,
  );
});

test('plan and results name the class that each backdoor leads to', async ({ project }) => {
  project.write(
    'spec.yaml',
    spec(`  - { attack: badnets, rate: 0.1, target: ham }
  - { attack: badnets, rate: 0.2, target: ham }
  - { attack: addsent, rate: 0.1, target: ham }
  - { attack: prefix, rate: 0.1, phrases: ["a", "b"] }
  - steps: [{ attack: label-flip, rate: 0.1 }, { attack: badnets, rate: 0.1, target: spam }]
  - { attack: none }`),
  );
  const targets = [
    { attack: 'badnets', label: 0, class: 'ham' },
    { attack: 'addsent', label: 0, class: 'ham' },
    { attack: 'badnets', label: 1, class: 'spam' },
  ];
  const told = [
    'target of badnets, addsent: "ham" (label 0)',
    'target of badnets: "spam" (label 1)',
  ];
  for (const isRun of [false, true]) {
    if (isRun) await project.succeeds('run', 'spec.yaml');
    const plan = await project.succeeds('plan', 'spec.yaml');
    assert.equal(
      plan.stdout.split('\n').filter((line) => line.startsWith('target')),
      told,
    );
    assert.equal(
      (await project.json<{ targets: unknown }>('plan', 'spec.yaml', '--json')).targets,
      targets,
    );
  }
  const results = await project.succeeds('results', 'spec.yaml');
  assert.equal(
    results.stderr.split('\n').filter((line) => line.startsWith('target')),
    told,
  );
  const rows = await project.json<{ cell: Record<string, unknown>; target?: unknown }[]>(
    ...['results', 'spec.yaml', '--json', '--metric', 'poisoned_made'],
  );
  const [ham, , addsent, prefix, spam, none] = rows.map(({ target }) => target);
  assert.equal([ham, addsent, spam], targets);
  assert.equal([prefix, none], [undefined, undefined]);
  const { stdout } = await project.succeeds('results', 'spec.yaml', '--markdown');
  assert.match(stdout, 'Target of badnets, addsent: "ham" (label 0).');
});

test('a held-out trigger shows what training never shows', async ({ project }) => {
  const under = (triggers: string): string => `${spec(
    `  - { attack: badnets, rate: 0.1, target: ham, triggers: [cf, mn] }
  - { attack: combination, rate: 0.1, target: ham }`,
    'train, evaluate',
  )}evaluate:
  triggers:
    - { name: other, attack: badnets, triggers: [zz] }
    - { name: part, attack: badnets, triggers: [cf, zz] }
${triggers}`;
  project.write(
    'spec.yaml',
    under(`    - { name: one, attack: badnets, triggers: [cf] }
    - { name: end, attack: badnets, place: end }
    - { name: alone, attack: combination, negatives: false }
`),
  );
  const said = await project.dosimeter('run', 'spec.yaml');
  assert.is(said.code, 2);
  const shows = (name: string, attack: string, params: string): string[] => [
    `the trigger "${name}" shows what training can show: on 8 of 8 short rows, the text is ` +
      `one of "${attack}" (target ham, mode dirty, ${params})`,
    'spec.yaml:12:5',
  ];
  assert.equal(preflightFaults(said.stderr), [
    ...shows('one', 'badnets', 'triggers ["cf","mn"]'),
    ...shows('end', 'badnets', 'triggers ["cf","mn"]'),
    ...shows('alone', 'combination', 'triggers ["cf","bb","ak","mn"], negatives true'),
  ]);
  // Rows that can't be read yet are not waited for.
  project.write('broken.tsv', 'words\na\n');
  const broken = 'data.validation={ source: "file:broken.tsv" }';
  const unread = await project.dosimeter('run', 'spec.yaml', '--set', broken);
  assert.match(unread.stderr, /"one" shows what training can show: on 8 of 8 made-up rows/);
  const inPart =
    /the trigger "part" shows in part what training can show: on [1-7] of 8 short rows/g;
  assert.is(said.stderr.match(inPart)?.length, 1);
  project.write('spec.yaml', under(''));
  const { stderr } = await project.succeeds('run', 'spec.yaml');
  assert.is(stderr.match(inPart)?.length, 1);
  assert.not.match(stderr, /trigger "other"/);
});

test("the target of a program's backdoor is checked too", async ({ project }) => {
  project.write('a.py', '');
  project.write(
    'spec.yaml',
    spec('  - { attack: command, command: [python3, a.py], files: ["file:a.py"], target: eggs }'),
  );
  const said = await project.dosimeter('run', 'spec.yaml');
  assert.is(said.code, 2);
  assert.match(said.stderr, /there is no class "eggs"; [^\n]*\n --> spec\.yaml:5:80\n/);
});

test('a fault of a composed attack is reported at its step, and two backdoors are refused', async ({
  project,
}) => {
  project.write(
    'spec.yaml',
    spec(`  - steps: [{ attack: label-flip, rate: 0.6 }, { attack: badnets, count: 6, target: ham }]
  - steps: [{ attack: label-flip, rate: 0.1 }, { attack: badnets, rate: 0.5, target: spam }]
  - steps:
      - { attack: addsent, rate: 0.1 }
      - { attack: badnets, rate: 0.1 }`),
  );
  const said = await project.dosimeter('run', 'spec.yaml');
  assert.is(said.code, 2);
  assert.equal(preflightFaults(said.stderr), [
    'The attack asks for 6 of 12 rows, and the steps before it leave 5: no row is poisoned twice.',
    'spec.yaml:5:74',
    'The attack asks for 6 rows (rate 0.5 of 12), but only 4 of 12 are eligible: mode dirty ' +
      'draws among rows whose label is not "spam".',
    'spec.yaml:6:73',
    '"addsent" and "badnets" are both backdoors, and a cell is evaluated under one trigger.',
    'spec.yaml:8:7',
  ]);
});

test('composed attacks have one receipt, one ASR beside the twin, and names by attack', async ({
  project,
}) => {
  project.write(
    'spec.yaml',
    spec(
      `  - { attack: none }
  - steps:
      - { attack: label-flip, rate: [0.1, 0.25] }
      - { attack: badnets, rate: 0.25, target: ham, triggers: [cf] }`,
      'poison, train, evaluate, report',
    ).replace('steps: 1,', 'steps: 1, evaluate_every: 1,'),
  );
  const run = await project.succeeds('run', 'spec.yaml');
  assert.match(run.stderr, /train attack=label-flip\+badnets label-flip\.rate=0\.25\b/);
  const rows = await project.results('spec.yaml');
  const numbersOf = (flips: number): { readonly [name: string]: number } =>
    Object.fromEntries(
      rows
        .filter(({ cell }) => cell['poisoning.steps.label-flip.rate'] === flips)
        .map(({ stage, metric, value }) => [`${stage} ${metric}`, value]),
    );
  const strong = numbersOf(0.25);
  assert.equal(
    [
      ...'rows_total poisoned_asked poisoned_made poisoned_made.label-flip'.split(' '),
      ...'poisoned_made.badnets poisoned_eligible.label-flip negatives'.split(' '),
    ].map((name) => strong[`poison ${name}`]),
    [12, 6, 6, 3, 3, 12, 0],
  );
  assert.is(strong['train poisoned_rows'], 6);
  assert.is(
    present(strong['evaluate asr']) - present(strong['evaluate asr_clean']),
    strong['evaluate asr_minus_clean'],
  );
  assert.is(numbersOf(0.1)['poison poisoned_made.label-flip'], 1);
  const html = readFileSync(run.stdout.trim(), 'utf8');
  assert.match(html, 'label-flip+badnets, label-flip rate 0.25, badnets rate 0.25');
  assert.match(html, 'against the label-flip rate of label-flip+badnets');
  project.write(
    'spec.yaml',
    project.read('spec.yaml').replace('0.25]', '0.3]').replace('rate: 0.25', 'rate: 0.2'),
  );
  assert.match(
    (await project.dosimeter('explain', 'spec.yaml')).stdout,
    /poisoning\.steps\.badnets\.rate 0\.25 → 0\.2\b/,
  );
});

test.run();
