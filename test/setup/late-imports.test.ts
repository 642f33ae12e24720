import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { attack, commandLine, createProject, type TestProject } from './project.ts';

const test = suite<{ project: TestProject }>('setup/late-imports');
test.before.each((context) => {
  context.project = createProject();
});

function output(project: TestProject): string {
  const { code, stdout, stderr } = project.node(['src/setup/launcher.mjs', 'run']);
  assert.is(code, 0, stderr);
  return stdout;
}

test('own modules are imported at run time, and so are packages', ({ project }) => {
  project.write('src/late.ts', 'export const late = "own";\n');
  project.write(
    'node_modules/modern/package.json',
    JSON.stringify({ name: 'modern', version: '1.0.0', type: 'module', exports: './index.js' }),
  );
  project.write('node_modules/modern/index.js', 'await 0;\nexport const modern = "package";\n');
  project.write(
    'src/cli.ts',
    commandLine(`const [{ late }, { modern }, { sep }] = await Promise.all([
      import('./late.ts'), import('modern'), import('node:path')]);
    console.log(late, modern, sep);`),
  );
  assert.is(output(project), 'own package /\n');
});

test("what a plugin imports at run time is the build's module, as in a worker", ({ project }) => {
  project.write('src/work.ts', 'export const place = import.meta.url.replace(/.*[/]/, "");\n');
  project.write(
    'plugins/attacks/first.ts',
    attack('first').replace('helper(); ', 'return import("../../src/work.ts"); '),
  );
  project.write('plugins/attacks/second.ts', attack('second'));
  project.write(
    'src/cli.ts',
    `import first from '../plugins/attacks/first.ts';
${commandLine('console.log((await first.poison()).place);')}`,
  );
  assert.match(output(project), /^chunk-\w+\.js\n$/);
});

test('text beyond ASCII is what the sources have', ({ project }) => {
  project.write(
    'src/cli.ts',
    commandLine('/* é */ console.log(/^±$/u.test("±"), String.raw`€`.length, "ł".codePointAt(0));'),
  );
  assert.is(output(project), 'true 1 322\n');
});

test.run();
