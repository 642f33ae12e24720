import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { pipelineTypes } from '../../src/setup/build.mjs';
import { packageOf } from '../../src/setup/closure.mjs';
import { present } from '../rig/present.ts';
import { attack, commandLine, createProject, repository, type TestProject } from './project.ts';

const test = suite<{ project: TestProject }>('setup/build');
test.before.each((context) => {
  context.project = createProject();
});

/** The files of the plugin API that have more than types, which are part of every plugin's code. */
const API = [
  ...'src/api.ts src/api/attack.ts src/api/cell.ts src/api/data.ts'.split(' '),
  ...'src/api/defence.ts src/api/executor.ts src/api/model.ts src/api/stage.ts'.split(' '),
  ...'src/base/defined.ts src/base/fault.ts'.split(' '),
];

/** Code versions by plugin name. */
function versions(project: TestProject): { [name: string]: string } {
  const { code, stderr, registry } = project.build();
  assert.is(code, 0, stderr);
  return Object.fromEntries(registry.plugins.map((plugin) => [plugin.name, plugin.code]));
}

test('the registry lists each plugin with its source, its module and its closure', ({
  project,
}) => {
  const { code, stderr, registry, closures } = project.build();
  assert.is(code, 0, stderr);
  assert.equal(
    registry.plugins.map(({ kind, name, source, file }) => ({ kind, name, source, file })),
    [
      {
        kind: 'attack',
        name: 'first',
        source: 'plugins/attacks/first.ts',
        file: 'plugins/attacks/first.js',
      },
      {
        kind: 'attack',
        name: 'second',
        source: 'plugins/attacks/second.ts',
        file: 'plugins/attacks/second.js',
      },
    ],
  );
  assert.equal(closures, {
    'plugins/attacks/first.ts': ['plugins/attacks/first.ts', ...API, 'src/helper.ts'],
    'plugins/attacks/second.ts': ['plugins/attacks/second.ts', ...API],
  });
});

test('a folder is one plugin: its index, with the files beside that only run imports', ({
  project,
}) => {
  const run = (result: number): string =>
    `export const run = (): Promise<number> => Promise.resolve(${result});\n`;
  project.write(
    'plugins/stages/third/index.ts',
    `import { defineStage } from '../../../src/api.ts';
export default defineStage({
  name: 'third',
  summary: 'S.',
  compute: false,
  scope: 'cell',
  define: () => ({ params: {}, inputs: {} }),
  run: async () => (await import('./run.ts')).run(),
});
`,
  );
  project.write('plugins/stages/third/run.ts', run(1));
  const before = versions(project);
  assert.equal(Object.keys(before), ['first', 'second', 'third']);
  const { registry, closures } = project.build();
  const { source, file } = present(registry.plugins[2]);
  assert.is(source, 'plugins/stages/third/index.ts');
  assert.is(file, 'plugins/stages/third/index.js');
  assert.ok(closures[source]?.includes('plugins/stages/third/run.ts'));
  project.write('plugins/stages/third/run.ts', run(2));
  const edited = versions(project);
  assert.is.not(edited.third, before.third);
  assert.is(edited.first, before.first);
  project.write('plugins/stages/fourth/run.ts', run(1));
  assert.match(project.build().stderr, 'plugins/stages/fourth has no index.ts');
});

test("editing what a plugin executes changes its code version, and no other plugin's", ({
  project,
}) => {
  const before = versions(project);
  project.write(
    'plugins/attacks/first.ts',
    attack('first', 'return { changed: [], negatives: [], asked: 1, eligible: 1 };'),
  );
  const edited = versions(project);
  assert.is.not(edited.first, before.first);
  assert.is(edited.second, before.second);
  project.write('src/helper.ts', 'export const helper = (): number => 2;\n');
  const helped = versions(project);
  assert.is.not(helped.first, edited.first);
  assert.is(helped.second, before.second);
});

test('comments, layout and types are not part of a code version', ({ project }) => {
  const before = versions(project);
  project.write(
    'src/helper.ts',
    `/* why */
export interface Unused { readonly a: 1 }
export const helper =
  (): number => 1; // one
`,
  );
  project.write(
    'plugins/attacks/second.ts',
    `// a comment\n/** @license kept by bundlers */\n${project.read('plugins/attacks/second.ts')}`,
  );
  assert.equal(versions(project), before);
});

test('a dynamic import counts as code that is executed', ({ project }) => {
  project.write('src/late.ts', 'export const late = 1;\n');
  project.write(
    'plugins/attacks/first.ts',
    attack(
      'first',
      'void import("../../src/late.ts"); return { changed: [], negatives: [], asked: 0, eligible: 0 };',
    ),
  );
  const before = versions(project);
  project.write('src/late.ts', 'export const late = 2;\n');
  assert.is.not(versions(project).first, before.first);
});

test('what loads a backend is part of the version of a stage that computes, and of no other', ({
  project,
}) => {
  for (const [name, compute] of [
    ['computes', true],
    ['counts', false],
  ] as const) {
    project.write(
      `plugins/stages/${name}.ts`,
      `import { defineStage } from '../../src/api.ts';
export default defineStage({
  name: '${name}', summary: 'S.', compute: ${compute}, scope: 'cell',
  define: () => ({ params: {}, inputs: {} }), run: async () => undefined,
});
`,
    );
  }
  const release = (version: string): void => {
    project.write(
      'node_modules/vega-fake/package.json',
      JSON.stringify({ name: 'vega-fake', version, type: 'module', main: 'index.js' }),
    );
  };
  release('1.0.0');
  project.write('node_modules/vega-fake/index.js', 'export const fake = 1;\n');
  project.write(
    'src/tensor/load.ts',
    "export const kernel = 1;\nexport const load = () => import('vega-fake');\n",
  );
  project.write('src/run/execute/worker.ts', "void import('../../tensor/load.ts');\n");
  const before = versions(project);
  assert.equal(project.build().closures['plugins/stages/computes.ts'], [
    'npm:vega-fake',
    'plugins/stages/computes.ts',
    ...API,
    'src/tensor/load.ts',
  ]);
  const unlike = (after: { readonly [name: string]: string }): string[] =>
    Object.keys(before).filter((name) => after[name] !== before[name]);
  release('1.0.1');
  assert.equal(unlike(versions(project)), ['computes']);
  release('1.0.0');
  project.write(
    'src/tensor/load.ts',
    "export const kernel = 2;\nexport const load = () => import('vega-fake');\n",
  );
  assert.equal(unlike(versions(project)), ['computes']);
});

for (const [how, external] of [
  ['bundled', false],
  ['imported at run time', true],
] as const) {
  test(`a package's version, and its dependencies' versions, count: ${how}`, ({ project }) => {
    const name = external ? 'vega-fake' : 'fake';
    const release = (version: string, inner: string): void => {
      project.write(
        `node_modules/${name}/package.json`,
        JSON.stringify({
          name,
          version,
          type: 'module',
          main: 'index.js',
          dependencies: { inner: '*' },
        }),
      );
      project.write(`node_modules/${name}/index.js`, 'export const fake = 1;\n');
      project.write(
        'node_modules/inner/package.json',
        JSON.stringify({ name: 'inner', version: inner }),
      );
    };
    release('1.0.0', '1.0.0');
    project.write(
      'src/helper.ts',
      `import { fake } from '${name}';\nexport const helper = (): number => fake;\n`,
    );
    const before = versions(project);
    release('1.0.1', '1.0.0');
    const newer = versions(project);
    assert.is.not(newer.first, before.first);
    assert.is(newer.second, before.second);
    release('1.0.1', '2.0.0');
    assert.is.not(versions(project).first, newer.first);
  });
}

test('a CommonJS package keeps its named exports, imported statically or dynamically', ({
  project,
}) => {
  project.write(
    'node_modules/common/package.json',
    JSON.stringify({ name: 'common', version: '1.0.0' }),
  );
  project.write('node_modules/common/index.js', 'exports.named = () => "called";\n');
  project.write(
    'src/cli.ts',
    `import { named } from "common";
${commandLine('const late = await import("common"); console.log(named(), late.named());')}`,
  );
  assert.is(project.node(['src/setup/launcher.mjs']).stdout, 'called called\n');
});

test('two plugins of one kind and name are refused, both files named', ({ project }) => {
  project.write('plugins/attacks/third.ts', attack('first'));
  const { code, stderr } = project.build();
  assert.is(code, 2);
  assert.match(
    stderr,
    'two plugins are the attack "first": plugins/attacks/first.ts and plugins/attacks/third.ts',
  );
});

test("a fault in a plugin's source is shown with its place, and the earlier build stays", ({
  project,
}) => {
  versions(project);
  const before = project.read('dist/build.json');
  project.write('plugins/attacks/first.ts', 'export default {\n  name: "first",,\n};\n');
  const { code, stderr } = project.build();
  assert.is(code, 2);
  assert.match(stderr, 'plugins/attacks/first.ts:2:16');
  assert.not.match(stderr, 'at failureErrorWithLog');
  assert.is(project.read('dist/build.json'), before);
});

test('a plugin that throws when it is loaded, and one that exports none, are named', ({
  project,
}) => {
  project.write('plugins/attacks/first.ts', 'throw new Error("not today");\nexport default {};\n');
  assert.match(
    project.build().stderr,
    'plugins/attacks/first.ts throws when it is loaded: not today',
  );
  project.write('plugins/attacks/first.ts', 'export const nothing = 1;\n');
  assert.match(project.build().stderr, 'plugins/attacks/first.ts exports no plugin as default');
});

test('the same sources make the same build', ({ project }) => {
  versions(project);
  const { build } = JSON.parse(project.read('dist/build.json')) as { build: string };
  versions(project);
  assert.is((JSON.parse(project.read('dist/build.json')) as { build: string }).build, build);
  assert.equal(
    readdirSync(join(project.dir, 'dist')).filter((name) => /^[0-9a-f]{12}$/.test(name)),
    [build],
  );
});

test('the committed types are those that the schema generates', async () => {
  const { readFileSync } = await import('node:fs');
  assert.is(
    readFileSync(join(repository, 'src', 'spec', 'pipeline.generated.ts'), 'utf8'),
    await pipelineTypes(repository),
  );
});

test('a bundled file of a package is not a source, wherever npm installed the package', () => {
  for (const [root, path, expected] of [
    ['/clone', 'node_modules/ajv/dist/ajv.js', '/clone/node_modules/ajv'],
    ['/clone', 'src/cli.ts', null],
    ['/x/node_modules/dosimeter', '../ajv/dist/ajv.js', '/x/node_modules/ajv'],
    ['/x/node_modules/dosimeter', '../@a/b/index.js', '/x/node_modules/@a/b'],
    [
      '/x/node_modules/dosimeter',
      'node_modules/ajv/dist/ajv.js',
      '/x/node_modules/dosimeter/node_modules/ajv',
    ],
    ['/x/node_modules/dosimeter', 'src/cli.ts', null],
    ['/spec/attacks', '../shared.mjs', null],
  ] as const)
    assert.is(packageOf(path, root), expected, `${path} from ${root}`);
});

test.run();
