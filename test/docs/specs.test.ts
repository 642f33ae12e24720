/** The engine reads every YAML block of the documents: whole specs, and parts of specs. */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import type { Project } from '../rig/project.ts';
import { blocksIn, repository } from './blocks.ts';
import { reader } from './reader.ts';

const test = suite<{ project: Project }>('docs: specs');
test.before((context) => {
  context.project = reader();
});

/** Completes a part of a spec. A whole spec is returned unchanged. */
function completed(text: string): string {
  const fields = parse(text) as Record<string, unknown>;
  return 'extends' in fields || ('model' in fields && 'data' in fields)
    ? text
    : `extends: base.yaml\n${text}`;
}

/** Plans each spec that it is told of and prints their faults as JSON. */
const PLANNER = `import { plan } from ${JSON.stringify(path.join(repository, 'src/setup/index.mjs'))};
const faults = [];
for (const spec of process.argv.slice(2)) {
  const [file, profile] = spec.split('@');
  const { ok, diagnostics = [] } = await plan(file, profile === undefined ? {} : { profile });
  // What PyTorch alone computes needs a Python, which is not everywhere: the rest of it is checked.
  const own = diagnostics.filter(
    ({ message }) =>
      !/the backend torch alone|needs the backend torch|no Python with PyTorch/.test(message),
  );
  if (!ok && own.length > 0) faults.push(spec + ': ' + own.map(({ message }) => message).join('; '));
}
console.log(JSON.stringify(faults));
`;

/** Returns the faults of all specs that have any. One process plans them all. */
function faultsOf(project: Project, specs: readonly string[]): unknown {
  project.write('planner.mjs', PLANNER);
  const { status, stdout, stderr } = spawnSync(process.execPath, ['planner.mjs', ...specs], {
    cwd: project.dir,
    encoding: 'utf8',
    env: {
      ...process.env,
      DOSIMETER_CACHE: path.join(project.dir, '.cache'),
      API_TOKEN: 'secret',
    },
  });
  assert.is(status, 0, stderr);
  return JSON.parse(stdout);
}

test('every YAML block of the documents is a spec, or a part of one', ({ project }) => {
  const specs = blocksIn('yaml').map(({ place, text }) => {
    const file = `${place.replaceAll(/[/:]/g, '-')}.yaml`;
    project.write(file, completed(text));
    return file;
  });
  assert.ok(specs.length > 20);
  assert.equal(faultsOf(project, specs), []);
});

test('every pipeline of the repository is planned', ({ project }) => {
  const specs = readdirSync(path.join(repository, 'pipelines'))
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => `pipelines/${name}`);
  assert.ok(specs.length > 0);
  assert.equal(faultsOf(project, specs), []);
});

// test/cli/paper.test.ts runs them in their profile `tiny`.
test("the paper's experiments are planned in their other profiles", ({ project }) => {
  const specs = readdirSync(path.join(repository, 'pipelines/paper'))
    .filter((name) => name.endsWith('.yaml'))
    .flatMap((name) => ['paper', 'small'].map((profile) => `pipelines/paper/${name}@${profile}`));
  assert.is(specs.length, 14);
  assert.equal(faultsOf(project, specs), []);
});

test('a spec that does not plan is named with its fault', ({ project }) => {
  project.write('faulty.yaml', 'extends: base.yaml\ntrain: { steps: none }\n');
  const [fault, ...others] = faultsOf(project, ['base.yaml', 'faulty.yaml']) as string[];
  assert.match(fault ?? '', /^faulty\.yaml: .*train\.steps/);
  assert.equal(others, []);
});

test.run();
