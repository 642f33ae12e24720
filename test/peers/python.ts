/**
 * Runs a few lines of Python in the Python environment of the peers, which `npm run test:peers`
 * makes and DOSIMETER_PEERS_PYTHON names.
 */
import { spawnSync } from 'node:child_process';

/**
 * @param code reads `args` (the JSON passed to it) and answers by `answer(value)`
 * @returns the answer
 * @throws Error with Python's message when it fails
 */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- Python's answer
export function python<T>(code: string, args: unknown = null): T {
  const program = process.env['DOSIMETER_PEERS_PYTHON'];
  if (program === undefined)
    throw new Error('DOSIMETER_PEERS_PYTHON names no Python; `npm run test:peers` makes one');
  const { status, error, stdout, stderr } = spawnSync(program, ['-c', `${prelude}\n${code}`], {
    input: JSON.stringify(args),
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: {
      ...process.env,
      HF_HUB_OFFLINE: '1',
      TRANSFORMERS_VERBOSITY: 'error',
      TOKENIZERS_PARALLELISM: 'false',
      OMP_NUM_THREADS: '1',
    },
  });
  if (error) throw error;
  const last = stdout.trimEnd().split('\n').at(-1) ?? '';
  if (status !== 0 || !last.startsWith('answer: '))
    throw new Error(`${program} ended with ${String(status)}\n${stderr}`);
  return JSON.parse(last.slice('answer: '.length)) as T;
}

const prelude = `
import json, sys
args = json.load(sys.stdin)
def answer(value): print('answer: ' + json.dumps(value))
`;
