/**
 * `npm run lint:python`: checks the Python files' style, layout and types, with the tools of
 * .ci/requirements.txt, which it installs once. The types of torch are those in the Python that
 * DOSIMETER_PYTHON names, or in the peers'.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { peersPython, pythonWith } from '../src/setup/python.mjs';
import { run } from '../src/setup/run.mjs';

const project = fileURLToPath(new URL('../', import.meta.url));
const CODE = 'src/torch/python';
const config = '.ci/pyproject.toml';

const python = await pythonWith(
  join(project, '.ci', 'requirements.txt'),
  join(project, '.cache', 'lint-python'),
  'ruff and mypy',
);
const types = process.env.DOSIMETER_PYTHON || (await peersPython(project));
for (const args of [
  ['ruff', 'check', '--config', config, CODE, 'test/torch'],
  ['ruff', 'format', '--check', '--config', config, CODE, 'test/torch'],
  ['mypy', '--config-file', config, '--python-executable', types, CODE],
])
  if ((await run(python, ['-m', ...args], { cwd: project })) !== 0) process.exitCode = 1;
