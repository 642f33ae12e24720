/**
 * Finds the user's Python for the backend `torch`, and the releases of its packages. It does so
 * without an import of torch, which would take seconds.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { memoized, once } from '../base/memoized.ts';
import { torchPythonDir } from '../setup/paths.mjs';

/** The packages that are needed, each with its oldest release that will do. */
const NEEDED = { torch: '2.6', transformers: '5', peft: '0.18', safetensors: '0.4' } as const;

/** What `worker.py versions` prints. */
interface Versions {
  readonly python: string;
  readonly executable: string;
  readonly packages: { readonly [name in keyof typeof NEEDED]: string | null };
  /** The releases of packages that are not always needed; null where one is not installed. */
  readonly bitsandbytes: string | null;
  readonly lm_eval: string | null;
  /** The release of CUDA that torch was built for; null where it was built for processors only. */
  readonly cuda: string | null;
}

export interface TorchPython extends Versions {
  readonly packages: { readonly [name in keyof typeof NEEDED]: string };
  /** The command that starts this Python. */
  readonly command: string;
  /** The environment variable by which this Python was found, or `set-up`. */
  readonly from: string;
}

export interface NoPython {
  /** Why there is no usable Python. */
  readonly fault: string;
  /** The command that helps; null if none does. */
  readonly remedy: string | null;
}

/** The folder of the Python files, beside this file and in a build. */
const CODE = fileURLToPath(new URL('python/', import.meta.url));

/** The program that computes. */
export const WORKER = join(CODE, 'worker.py');

/** Returns 8 hex digits of the digest of the Python files, a part of the backend's version. */
const codeDigest = once((): string => {
  const hash = createHash('sha256');
  for (const name of readdirSync(CODE).sort())
    if (name.endsWith('.py')) hash.update(`${name}\0`).update(readFileSync(join(CODE, name)));
  return hash.digest('hex').slice(0, 8);
});

/**
 * Returns the backend's version as keys have it: without the `+…` of torch's release, so that
 * builds for other devices have the same.
 */
export function torchVersion({
  packages: { torch, transformers, peft },
}: Pick<TorchPython, 'packages'>): string {
  const release = torch.replace(/\+.*/, '');
  return `torch ${release} (transformers ${transformers}, peft ${peft}, worker ${codeDigest()})`;
}

/** Returns what a command prints for `versions`; null if it does not run as Python. */
const readVersions = memoized(async (command: string): Promise<Versions | null> => {
  try {
    const { stdout } = await promisify(execFile)(command, [WORKER, 'versions']);
    return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Versions;
  } catch {
    return null;
  }
});

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Returns the Python of the backend `torch`: the one that DOSIMETER_PYTHON names, or else that of
 * the active environment if torch is installed in it, or else the one that set-up has made.
 */
export async function findPython(env: Environment = process.env): Promise<TorchPython | NoPython> {
  const named = env['DOSIMETER_PYTHON'];
  if (named) {
    const versions = await readVersions(named);
    return versions === null
      ? {
          fault:
            `DOSIMETER_PYTHON names ${named}, which does not run as Python; ` +
            'unset it to use another',
          remedy: null,
        }
      : checkPackages({ ...versions, command: named, from: 'DOSIMETER_PYTHON' });
  }
  for (const [from, dir] of [
    ['VIRTUAL_ENV', env['VIRTUAL_ENV']],
    ['CONDA_PREFIX', env['CONDA_PREFIX']],
    ['set-up', torchPythonDir(env)],
  ] as const) {
    const command = join(dir ?? '', 'bin', 'python');
    if (!dir || !existsSync(command)) continue;
    const versions = await readVersions(command);
    if (versions?.packages.torch) return checkPackages({ ...versions, command, from });
  }
  return {
    fault:
      'no Python with PyTorch was found: DOSIMETER_PYTHON names none, no active environment has ' +
      'it, and set-up has made none',
    remedy: 'npx dosimeter setup --torch',
  };
}

/** Returns the Python if it has every package that is needed, else what it lacks. */
function checkPackages(
  found: Versions & Pick<TorchPython, 'command' | 'from'>,
): TorchPython | NoPython {
  const wrong = Object.entries(NEEDED).flatMap(([name, oldest]) => {
    const version = found.packages[name as keyof typeof NEEDED];
    if (version === null) return [`has no ${name}`];
    return isOlder(version, oldest) ? [`has ${name} ${version}, older than ${oldest}`] : [];
  });
  if (wrong.length === 0) return found as TorchPython;
  const wanted = Object.entries(NEEDED).map(([name, oldest]) => `'${name}>=${oldest}'`);
  return {
    fault: `${found.command} (${found.from}, Python ${found.python}) ${wrong.join(', ')}`,
    remedy: `${found.command} -m pip install ${wanted.join(' ')}`,
  };
}

/** Whether a release such as `2.13.0+cpu` comes before one such as `2.6`. */
const isOlder = (version: string, than: string): boolean =>
  version.localeCompare(than, 'en', { numeric: true }) < 0;
