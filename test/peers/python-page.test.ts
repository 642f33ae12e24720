/** The Python of docs/guides/python.md, run as written after the commands that it names. */
import { cpSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { blocksOf } from '../docs/blocks.ts';
import { argumentsOf, commandsOf } from '../docs/shell.ts';
import { present } from '../rig/present.ts';
import { createProject } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';
import { python } from './python.ts';

const test = suite('peers/python page');

test('the blocks of the page run, and read numbers, kernels and adapters', async () => {
  const project = createProject();
  cpSync(checkpoint, path.join(project.dir, 'checkpoint'), { recursive: true });
  // As many classes as the checkpoint has.
  const rows = Array.from({ length: 9 }, (_, i) => `the film was ${'gbd'.charAt(i % 3)}\t${i % 3}`);
  project.write('rows.tsv', ['text\tlabel', ...rows].join('\n'));
  project.write(
    'experiment.yaml',
    `name: tiny
seeds: [1, 2]
model: { source: "file:checkpoint" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
adapter: [{ type: lora, rank: 2 }, { type: full }]
poisoning: [{ attack: none }, { attack: label-flip, rate: 0.25 }]
train: { steps: 2, batch_size: 4, max_length: 16 }
ntk: { rows: 4 }
stages: [train, evaluate, ntk]
`,
  );
  await project.succeeds('run', 'experiment.yaml');
  const blocks = blocksOf('docs/guides/python.md');
  for (const command of blocks.filter(({ language }) => language === 'sh').flatMap(commandsOf)) {
    const { stdout } = await project.succeeds(...present(argumentsOf(command)));
    const to = command.words.indexOf('>');
    if (to >= 0) project.write(present(command.words[to + 1]), stdout);
  }
  const lines = blocks.filter(({ language }) => language === 'python').map(({ text }) => text);
  const read = await python<Record<string, unknown>>(
    `import os
os.chdir(args['dir'])
exec(args['lines'])
answer({
  'cells': len(accuracy.groupby(by, dropna=False)),
  'pairs': [int(n) for n in difference.groupby('poisoning.attack').count()],
  'kernel': list(kernel.shape),
  'adapter': model.peft_config['default'].r,
})`,
    { dir: project.dir, lines: lines.join('\n') },
  );
  assert.equal(read, { cells: 4, pairs: [2, 2], kernel: [4, 3, 4, 3], adapter: 2 });
});

test.run();
