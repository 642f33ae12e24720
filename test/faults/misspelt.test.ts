/** Misspelt names are errors. In wireit and redun, some of them pass for a success. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createProject, type Project, writeToys } from '../rig/project.ts';

const test = suite<{ project: Project }>('faults/misspelt');
test.before.each((context) => {
  context.project = createProject({ warm: false });
  writeToys(context.project);
});

for (const [what, file, from, to, said] of [
  [
    'key',
    'spec.yaml',
    'poisoning:',
    'poisonning:',
    /unknown key "poisonning"\n --> spec\.yaml:7:1[^]*did you mean "poisoning"\?/,
  ],
  [
    'goal',
    'spec.yaml',
    'toy-evaluate, toy-report]',
    'toy-evalute, toy-report]',
    /no stage "toy-evalute"\n --> spec\.yaml:9:21[^]*did you mean "toy-evaluate"\?/,
  ],
  [
    'dependency',
    'toy-evaluate.mjs',
    "kind: 'toy-train'",
    "kind: 'toy-trian'",
    /"toy-evaluate" reads a stage of the kind "toy-trian", which no plugin provides/,
  ],
  ['plugin file', 'spec.yaml', './toy-train.mjs', './toy-trian.mjs', /toy-trian\.mjs/],
  [
    'source',
    'spec.yaml',
    'train: { source: "file:rows.tsv"',
    'train: { source: "file:rosw.tsv"',
    /rosw\.tsv/,
  ],
] as const) {
  test(`a misspelt ${what} ends with exit code 2, and nothing has run`, async ({ project }) => {
    const text = project.read(file);
    assert.ok(text.includes(from));
    project.write(file, text.replace(from, to));
    const { code, stderr } = await project.dosimeter('run', 'spec.yaml');
    assert.is(code, 2, stderr);
    assert.match(stderr, said);
    assert.equal([project.lines('ran.log'), project.entries()], [[], []]);
  });
}

test.run();
