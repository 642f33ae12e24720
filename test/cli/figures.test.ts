/** `dosimeter figures`: the figures and tables that a spec asks for, as files. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { mailRows } from '../rig/mails.ts';
import { createProject, type Project } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const REPORT = `report:
  figures:
    - name: rate
      title: Success of the trigger
      x: { field: rate, scale: linear }
      y: asr
      color: adapter
      size: column
      overlay: { file: published.csv, citation: "Doe 2026, Table 1", x: rate, y: asr }
    - { name: own, x: rate, y: evaluate.perplexity }
  tables:
    - name: main
      title: What was found
      rows: adapter
      columns: rate
      metrics: [asr, accuracy]
      cells: { attack: badnets }
    - { name: clash, rows: adapter, metrics: asr, cells: { attack: badnets } }
`;

const test = suite<{ project: Project; said: string }>('figures');
test.before(async (context) => {
  const project = (context.project = createProject());
  project.write('rows.tsv', mailRows);
  project.write('published.csv', 'rate,asr\n0.3,0.5\n');
  project.write(
    'spec.yaml',
    `name: figured
seeds: [1, 2]
model: { source: "file:${checkpoint}" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
poisoning: [{ attack: none }, { attack: badnets, rate: [0.25, 0.5], target: ham }]
adapter: [{ type: head-only }, { type: lora, rank: 2 }]
train: { steps: 1, batch_size: 4, max_length: 16, learning_rate: 1.0e-3 }
${REPORT}`,
  );
  const { code, stderr } = await project.dosimeter('run', 'spec.yaml');
  assert.is(code, 0, stderr);
  context.said = stderr;
});

test('run names what could not be drawn, and why', async ({ project, said }) => {
  const { entries } = await project.json<{ entries: readonly { name: string }[] }>(
    ...['run', 'spec.yaml', '--json'],
  );
  assert.equal(
    entries.map(({ name }) => name),
    ['rate', 'own', 'main', 'clash'],
  );
  for (const stderr of [said, (await project.succeeds('run', 'spec.yaml')).stderr]) {
    const lines = stderr.split('\n').filter((line) => line.startsWith('the report '));
    assert.is(lines.length, 2, stderr);
    assert.match(
      lines[0] ?? '',
      'the report leaves out "own": no finished cell has a metric "evaluate.perplexity"',
    );
    assert.match(
      lines[1] ?? '',
      'the report leaves out "clash": several cells have the same place',
    );
  }
});

test('plan warns of a metric that its stage does not have, and refuses one of no rows', async ({
  project,
}) => {
  const saidOf = async (metric: string, expected: number): Promise<string> => {
    const set = [
      ...['--set', `report.figures.1.y=${metric}`],
      ...['--set', 'stages=[train, evaluate, fisher, report]'],
    ];
    const { code, stderr } = await project.dosimeter('plan', 'spec.yaml', ...set);
    assert.is(code, expected, stderr);
    assert.match(stderr, /--set:1:/);
    return stderr;
  };
  assert.match(
    await saidOf('evaluate.acuracy', 0),
    /"evaluate" has no metric "acuracy"[^]*did you mean "evaluate\.accuracy"\?/,
  );
  assert.match(
    await saidOf('fisher.bits', 0),
    /no metric "bits"[^]*such as "fisher\.final\.lora\.true\.information_bits"/,
  );
  assert.match(await saidOf('test_asr', 2), 'is not measured: there is no "data.test"');
  const stages = ['--set', 'stages=[train, evaluate, ntk, fisher, report]'];
  for (const metric of [
    'evaluate.asr_after_2.trigger.training_1',
    'evaluate.mail.accuracy_drop',
    'fisher.step-20.full.empirical.renyi_raw_0.5',
    'ntk.anything',
  ]) {
    const { stderr } = await project.succeeds(
      ...['plan', 'spec.yaml', '--set', `report.figures.1.y=${metric}`, ...stages],
    );
    assert.not.match(stderr, 'no metric');
  }
});

const filesOf = (stdout: string): string[] =>
  stdout
    .trim()
    .split('\n')
    .filter((line) => line !== '');

test('one figure in every format, at the width of a column', async ({ project }) => {
  const { stdout } = await project.succeeds(
    ...['figures', 'spec.yaml', '--only', 'rate', '--out', 'paper'],
  );
  assert.equal(
    filesOf(stdout).sort(),
    ['csv', 'pdf', 'png', 'svg', 'tex', 'vl.json'].map((ending) => `paper/rate.${ending}`),
  );
  const svg = project.read('paper/rate.svg');
  assert.match(svg, /^<svg[^>]* width="234pt"/);
  assert.match(svg, 'published');
  const png = readFileSync(path.join(project.dir, 'paper/rate.png'));
  assert.equal([...png.subarray(1, 4)].map((code) => String.fromCharCode(code)).join(''), 'PNG');
  assert.is(png.readUInt32BE(16), 975, '3.25 in at 300 dpi');
  const { data } = JSON.parse(project.read('paper/rate.vl.json')) as { readonly data?: unknown };
  assert.ok(data);
  assert.match(project.read('paper/rate.csv'), '0.25');
  const tex = project.read('paper/rate.tex');
  assert.match(tex, '\\includegraphics[width=\\linewidth]{rate.pdf}');
  assert.match(tex, /\\caption\{Success of the trigger\. .*Doe 2026, Table 1\.\}/);
});

test('every table and figure, and what has nothing to show', async ({ project }) => {
  const { stdout, stderr } = await project.succeeds(
    ...['figures', 'spec.yaml', '--out', 'all', '--format', 'latex,markdown,csv'],
  );
  for (const file of ['all/main.tex', 'all/main.md', 'all/main.csv', 'all/rate.csv'])
    assert.ok(filesOf(stdout).includes(file), stdout);
  assert.not.ok(
    filesOf(stdout).some((file) => /\.(svg|pdf|png|json)$/.test(file)),
    stdout,
  );
  assert.match(
    stderr.replaceAll(/\s+/g, ' '),
    'own: no finished cell has a metric "evaluate.perplexity": did you mean evaluate.',
  );
  assert.match(
    stderr.replaceAll(/\s+/g, ' '),
    'clash: several cells have the same place, which differ in poisoning.rate: ' +
      'name them under `rows` or `columns`, or choose one value under `cells`',
  );
  assert.match(project.read('all/main.tex'), '\\label{tab:main}');
  assert.match(project.read('all/main.tex'), '\\caption{What was found.');
  assert.match(project.read('all/main.md'), /^\| adapter \| rate 0\.25, ASR \|/);
  const [head, ...rows] = project.read('all/main.csv').trim().split('\r\n');
  assert.match(head ?? '', /^adapter,poisoning\.rate,metric,n,planned,mean,std,/);
  assert.is(rows.length, 8);
});

test('a named figure or table that has nothing to show is a failure', async ({ project }) => {
  for (const name of ['clash', 'own']) {
    const args = ['figures', 'spec.yaml', '--out', 'none', '--only', 'rate', '--only', name];
    const { code, stderr } = await project.dosimeter(...args);
    assert.is(code, 1, stderr);
    assert.match(stderr, new RegExp(`^${name}: `, 'm'));
  }
});

test('plan warns of cells that have the same place in a table', async ({ project }) => {
  const told = async (...sets: readonly string[]): Promise<string> => {
    const args = sets.flatMap((set) => ['--set', `report.tables.1.${set}`]);
    const { stderr } = await project.succeeds('plan', 'spec.yaml', ...args);
    return stderr.replaceAll(/\s+/g, ' ');
  };
  assert.match(
    await told(),
    /spec\.yaml:\d+:\d+: cells that differ in poisoning\.rate have the same place in this table/,
  );
  const warned = 'have the same place';
  assert.not.match(await told('columns=rate'), warned);
  assert.not.match(await told('rows=[adapter, attack]'), warned);
  assert.not.match(await told('cells={ rate: 0.5 }'), warned);
  const both = 'cells=[{ attack: none }, { rate: 0.5 }]';
  assert.not.match(await told(both), warned, 'clean cells may lack the metric');
  assert.match(await told(both, 'metrics=accuracy'), 'cells that differ in poisoning.attack');
});

test('a table of the spec has the facts and caveats of `results --latex`', async ({ project }) => {
  const options = '--rows type --columns rate --metric asr,accuracy --only attack=badnets'.split(
    ' ',
  );
  const { stdout } = await project.succeeds('results', 'spec.yaml', '--latex', ...options);
  const sentences = (tex: string): readonly string[] =>
    tex.split('\n').flatMap((line) => {
      const [, start] = /^ {4}(Model|Data|Target|Computed|\d+ of|No effect)[^&]*$/.exec(line) ?? [];
      // Caveats name cells by the report's labels, and a release follows the backend's name there.
      return start === undefined
        ? []
        : [/^[MDT]/.test(start) ? line : (line.split(/[.,]/)[0] ?? '')];
    });
  const own = sentences(project.read('all/main.tex'));
  assert.equal(own, sentences(stdout));
  assert.match(own.join('\n'), /Model: .*\n.*Data: .*\n.*Computed by .*\n.*Target of badnets: /);
  assert.match(project.read('all/main.md'), /^Target of badnets: "ham" \(label 0\)\.$/m);
});

test('tables say once in how many rows the trigger is not read', async ({ project }) => {
  const cut = '--set train.max_length=3 --set seeds=[1] --only attack=badnets'.split(' ');
  await project.succeeds('run', 'spec.yaml', ...cut);
  for (const form of ['--latex', '--markdown']) {
    const { stdout } = await project.succeeds('results', 'spec.yaml', form, ...cut);
    assert.match(stdout, 'The trigger does not reach the model in some rows. ');
    assert.not.match(stdout, /the trigger reaches the model/i);
  }
});

test('the report has them in a chapter of their own', ({ project }) => {
  const html = project.read('.dosimeter/reports/figured.html');
  assert.match(html, 'Figures and tables of this spec');
  assert.match(html, 'id="figure-rate"');
  assert.match(html, 'id="table-main"');
  assert.match(html, 'Doe 2026, Table 1');
});

test('the entries are in no key but the report’s, and rows that are not drawn in none', async ({
  project,
}) => {
  const keys = async (...args: readonly string[]): Promise<Map<string, string | null>> =>
    new Map((await project.stages('spec.yaml', ...args)).map(({ id, key }) => [id, key]));
  const before = await keys(),
    without = await keys('--set', 'report=');
  assert.equal(
    [...without].filter(([id, key]) => before.get(id) !== key).map(([id]) => /^\w+/.exec(id)?.[0]),
    ['report'],
  );
  project.write('published.csv', 'rate,asr,note\n0.3,0.5,checked\n');
  assert.equal(await keys(), before);
  project.write('published.csv', 'rate,asr\n0.3,0.6\n');
  const after = await keys();
  const changed = [...after].filter(([id, key]) => before.get(id) !== key).map(([id]) => id);
  assert.is(changed.length, 1);
  assert.match(changed[0] ?? '', 'report');
});

test('plan warns of an axis that the grid does not have', async ({ project }) => {
  const { stderr } = await project.succeeds(
    ...['plan', 'spec.yaml', '--set', 'report.figures.0.x=train.warmup'],
  );
  assert.match(stderr, /--set:1:\d+: "train\.warmup" is no axis of this grid\n {2}a list of its/);
});

test('a name that there is not, a format that there is not', async ({ project }) => {
  const unknown = await project.dosimeter(
    ...['figures', 'spec.yaml', '--out', 'x', '--only', 'rat'],
  );
  assert.is(unknown.code, 2);
  assert.match(unknown.stderr, 'error: the report has no figure and no table "rat"\n  it has ');
  const format = await project.dosimeter('figures', 'spec.yaml', '--out', 'x', '--format', 'jpg');
  assert.is(format.code, 2);
  assert.match(
    format.stderr,
    'error: --format takes vega, svg, pdf, png, csv, latex, markdown, got "jpg"',
  );
});

test.run();
