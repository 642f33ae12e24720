import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createProject, type TestProject } from './project.ts';

const test = suite<{ project: TestProject }>('setup/quickstart');
test.before.each((context) => {
  context.project = createProject();
});

for (const [state, estimated] of [
  ['ready', true],
  ['cached', false],
] as const)
  test(`with a ${state} stage, the time on WebAssembly is ${estimated ? '' : 'not '}estimated`, ({
    project,
  }) => {
    const planned = { ok: true, value: { stages: [{ state: 'cached' }, { state }] } };
    project.write(
      'src/run/library.ts',
      `export const plan = () => Promise.resolve(${JSON.stringify(planned)});\n`,
    );
    const { code, stdout, stderr } = project.node([
      'src/setup/quickstart.mjs',
      '--backend',
      'wasm',
    ]);
    assert.is(code, 0, stderr);
    assert.match(stdout, /^one run pipelines\/quickstart\.yaml --backend wasm$/m);
    assert.is(/takes about \d+ minutes; it may be stopped/.test(stderr), estimated, stderr);
  });

test.run();
