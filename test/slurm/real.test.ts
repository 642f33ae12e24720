/** Real trainings, evaluations and kernels on a real Slurm: the keys and results of `local`. */
import { readFileSync, rmSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import * as assert from 'uvu/assert';
import { cacheDir } from '../../src/setup/paths.mjs';
import { createProject, type Project, type StageJson } from '../rig/project.ts';
import { slurmSuite } from './rig.ts';

const test = slurmSuite('slurm/real');

/**
 * The quickstart with one seed and a few steps: clean and poisoned trainings of MiniLM, under full
 * fine-tuning and LoRA, with their evaluations, kernels and Fisher information.
 */
const SPEC = [
  'spec.yaml',
  ...['--set', 'seeds=[1]', '--set', 'train.steps=6', '--set', 'ntk.rows=4'],
];
const PROFILE = `poll: 1s
memory_mb: 1500
local: [data, poison, report]
`;

/** Metrics that are no results. */
const MEASURED = ['seconds', 'examples_per_second', 'tokens_per_second', 'peak_memory_mb'];

interface Finished {
  /** Each stage with its key and the digest of its output, except the report's, which has times. */
  readonly stages: readonly (readonly [id: string, key: string | null, content: string | null])[];
  readonly results: unknown;
}

const manifestOf = ({ outputs }: StageJson): { readonly content: string; facts: Facts } =>
  JSON.parse(readFileSync(path.join(outputs ?? '', 'manifest.json'), 'utf8')) as {
    content: string;
    facts: Facts;
  };
interface Facts {
  readonly executor?: string;
  readonly packed?: number;
}

async function finished(project: Project): Promise<Finished & { readonly facts: Facts[] }> {
  const stages = await project.stages(...SPEC);
  return {
    stages: stages.map((stage) => [
      stage.id,
      stage.key,
      stage.kind === 'report' ? null : manifestOf(stage).content,
    ]),
    results: (await project.results(...SPEC)).filter(({ metric }) => !MEASURED.includes(metric)),
    facts: stages.filter(({ kind }) => kind === 'train').map((stage) => manifestOf(stage).facts),
  };
}

test('trainings, evaluations and kernels have the keys, bits and results of local', async ({
  cluster,
}) => {
  const project = createProject();
  const run = async (env: Readonly<Record<string, string>>, ...args: readonly string[]) => {
    const said = await project.startWith({ env }, 'run', ...SPEC, ...args).ended;
    assert.is(said.code, 0, said.stderr);
  };
  project.write('spec.yaml', readFileSync('pipelines/quickstart.yaml', 'utf8'));
  project.write('slurm.yaml', PROFILE);
  symlinkSync(cacheDir(), path.join(project.dir, '.cache')); // with what it fetches
  await run(cluster.env, '--executor', 'slurm');
  const there = await finished(project);
  assert.ok(there.stages.length >= 30, `${there.stages.length} stages`);
  assert.ok(there.facts.every(({ executor }) => executor === 'slurm'));
  assert.ok(
    there.facts.some(({ packed = 1 }) => packed > 1),
    'trainings shared a job',
  );
  rmSync(path.join(project.dir, '.dosimeter'), { recursive: true });
  await run({}, '--jobs', '2');
  const here = await finished(project);
  assert.equal(there.stages, here.stages);
  assert.equal(there.results, here.results);
});

test.run();
