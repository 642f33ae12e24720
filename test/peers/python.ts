/**
 * Runs lines of Python in the Python environment of the peers, which `npm run test:peers` makes and
 * DOSIMETER_PEERS_PYTHON names.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('.', import.meta.url));

interface Waiting {
  readonly resolve: (line: string) => void;
  readonly reject: (error: Error) => void;
}

/** Calls that have no reply yet, in their order. */
const waiting: Waiting[] = [];
/** One process for all calls of a test file, because importing PyTorch takes seconds. */
let started: ChildProcessByStdio<Writable, Readable, null> | null = null;

function start(): NonNullable<typeof started> {
  const program = process.env['DOSIMETER_PEERS_PYTHON'];
  if (program === undefined)
    throw new Error('DOSIMETER_PEERS_PYTHON names no Python; `npm run test:peers` makes one');
  const child = spawn(program, ['-c', server, folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      ...process.env,
      HF_HUB_OFFLINE: '1',
      TRANSFORMERS_VERBOSITY: 'error',
      TOKENIZERS_PARALLELISM: 'false',
      OMP_NUM_THREADS: '1',
    },
  });
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.resolve(line));
  // A test process that has nothing else to do may end, and Python with it.
  (child.stdout as Readable & { unref(): void }).unref();
  const onEnd = (why: unknown): void => {
    started = null;
    for (const { reject } of waiting.splice(0))
      reject(new Error(`${program} ended: ${String(why)}`));
  };
  child.once('error', onEnd).once('close', (code, signal) => onEnd(signal ?? code));
  return child;
}

/**
 * @param code reads `args` (the JSON passed to it) and answers by `answer(value)`; its variables
 *   and its working folder are its own
 * @returns the answer
 * @throws Error with Python's message when it fails
 */
export async function python<T>(code: string, args: unknown = null): Promise<T> {
  const child = (started ??= start());
  child.ref();
  const reply = new Promise<string>((resolve, reject) => {
    waiting.push({ resolve, reject });
  });
  child.stdin.write(`${JSON.stringify({ code, args })}\n`);
  const line = await reply;
  if (waiting.length === 0) child.unref();
  const said = JSON.parse(line) as { readonly answer: T } | { readonly error: string };
  if ('error' in said) throw new Error(said.error);
  return said.answer;
}

/**
 * Reads one call a line, and writes one reply a line; what the called lines print goes to stderr.
 */
const server = `
import json, os, sys, traceback
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
replies = os.fdopen(os.dup(1), 'w')
os.dup2(2, 1)
home = os.getcwd()
for line in sys.stdin:
    call, answers = json.loads(line), []
    try:
        exec(call['code'], {'args': call['args'], 'answer': answers.append})
        [answer] = answers
        reply = json.dumps({'answer': answer})
    except Exception:
        reply = json.dumps({'error': traceback.format_exc()})
    os.chdir(home)
    print(reply, file=replies, flush=True)
`;
