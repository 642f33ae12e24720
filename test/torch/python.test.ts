import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  findPython,
  type NoPython,
  type TorchPython,
  torchVersion,
} from '../../src/torch/python.ts';
import { createProject } from '../rig/project.ts';
import { program, real, standInPython, temporary } from './rig.ts';

const test = suite('torch/python');

const RELEASES = {
  torch: '2.13.0+cu126',
  transformers: '5.24.0',
  peft: '0.21.2',
  safetensors: '1',
};

/** A program that says of itself what `worker.py versions` says. */
function fake(packages: object, dir = temporary()): string {
  const facts = { python: '3.11.7', executable: '-', packages, cuda: '12.6' };
  return program('python', `echo loading; echo '${JSON.stringify(facts)}'`, dir);
}

/** An environment with that Python. */
function environmentOf(packages: object): string {
  const dir = temporary();
  mkdirSync(join(dir, 'bin'));
  fake(packages, join(dir, 'bin'));
  return dir;
}

const found = async (env: Readonly<Record<string, string>>): Promise<TorchPython> => {
  const python = await findPython(env);
  if ('fault' in python) throw new Error(python.fault);
  return python;
};

const refused = async (env: Readonly<Record<string, string>>): Promise<NoPython> => {
  const python = await findPython(env);
  if (!('fault' in python)) throw new Error(`it found ${python.command}`);
  return python;
};

test('the one that DOSIMETER_PYTHON names is used, or refused', async () => {
  const python = fake(RELEASES),
    active = environmentOf(RELEASES);
  const { command, from, cuda } = await found({ DOSIMETER_PYTHON: python, VIRTUAL_ENV: active });
  assert.equal([command, from, cuda], [python, 'DOSIMETER_PYTHON', '12.6']);
  for (const broken of ['/no/python', program('python', 'exit 1'), program('python', 'echo hi')])
    assert.equal(await refused({ DOSIMETER_PYTHON: broken, VIRTUAL_ENV: active }), {
      fault: `DOSIMETER_PYTHON names ${broken}, which does not run as Python; unset it to use another`,
      remedy: null,
    });
});

test("the active environment's is used if it has torch, or else set-up's", async () => {
  const [venv, conda, bare] = [RELEASES, RELEASES, { ...RELEASES, torch: null }].map(environmentOf);
  const cache = temporary();
  const none = await refused({ VIRTUAL_ENV: bare!, CONDA_PREFIX: bare!, DOSIMETER_CACHE: cache });
  assert.equal(none, {
    fault:
      'no Python with PyTorch was found: DOSIMETER_PYTHON names none, no active environment has ' +
      'it, and set-up has made none',
    remedy: 'npx dosimeter setup --torch',
  });
  symlinkSync(environmentOf(RELEASES), join(cache, 'torch-python'));
  for (const [env, from] of [
    [{ VIRTUAL_ENV: venv!, CONDA_PREFIX: conda! }, 'VIRTUAL_ENV'],
    [{ VIRTUAL_ENV: bare!, CONDA_PREFIX: conda! }, 'CONDA_PREFIX'],
    [{ VIRTUAL_ENV: bare! }, 'set-up'],
    [{}, 'set-up'],
  ] as const)
    assert.is((await found({ ...env, DOSIMETER_CACHE: cache })).from, from);
});

test('packages that are missing or too old are named, with a command', async () => {
  const python = fake({ torch: '2.5.1', transformers: '4.57.0', peft: null, safetensors: '0.5.0' });
  assert.equal(await refused({ DOSIMETER_PYTHON: python }), {
    fault:
      `${python} (DOSIMETER_PYTHON, Python 3.11.7) has torch 2.5.1, older than 2.6, ` +
      'has transformers 4.57.0, older than 5, has no peft',
    remedy: `${python} -m pip install 'torch>=2.6' 'transformers>=5' 'peft>=0.18' 'safetensors>=0.4'`,
  });
  // Releases are compared number by number.
  const new_ = { torch: '2.10', transformers: '5.0.0rc1', peft: '0.18', safetensors: '0.10.1' };
  assert.is((await found({ DOSIMETER_PYTHON: fake(new_) })).packages.torch, '2.10');
});

test('keys name the releases and the code, not the build', async () => {
  assert.match(
    torchVersion(await found({ DOSIMETER_PYTHON: fake(RELEASES) })),
    /^torch 2\.13\.0 \(transformers 5\.24\.0, peft 0\.21\.2, worker [0-9a-f]{8}\)$/,
  );
});

test('doctor shows PyTorch, whose lack is no fault unless it is asked for', async () => {
  const project = createProject();
  const old = fake({ ...RELEASES, peft: '0.17.1' });
  const asked = await project.dosimeterWith({ DOSIMETER_PYTHON: old }, 'doctor');
  assert.is(asked.code, 0);
  assert.match(asked.stdout, /^ {2}torch {6}.* has peft 0\.17\.1, older than 0\.18$/m);
  assert.match(asked.stdout, `to get it: ${old} -m pip install`);
  const insisted = await project.dosimeterWith(
    { DOSIMETER_PYTHON: old },
    ...['doctor', '--backend', 'torch'],
  );
  assert.is(insisted.code, 2);
  assert.match(insisted.stderr, `the backend "torch" is not available: ${old}`);
  const broken = await project.dosimeterWith({ DOSIMETER_PYTHON: fake(RELEASES) }, 'doctor');
  assert.match(broken.stdout, /^ {2}torch {6}it is installed but does not run here: /m);
});

test('PyTorch itself multiplies two matrices, and doctor names lm_eval beside it', async () => {
  const { stdout } = await createProject().dosimeterWith(
    { DOSIMETER_PYTHON: standInPython(), STAND_IN_PACKAGES: 'real' },
    ...['doctor', '--backend', 'torch'],
  );
  assert.match(stdout, /^▸ torch {6}PyTorch 2\.\d+/m);
  const asked = "from importlib import metadata; print(metadata.version('lm_eval'))";
  const release = execFileSync(real, ['-c', asked], { encoding: 'utf8' }).trim();
  assert.match(stdout.replaceAll(/\s+/g, ' '), `, lm_eval ${release}, in `);
  assert.match(stdout, /^torch is used$/m);
});

test.run();
