/**
 * Runs commands of the built `dosimeter` in a process that stays, since loading the program takes
 * longer than most commands of a test. A command that is itself about its process (signals, pipes,
 * limits, a start of the program) needs `Project.start`.
 */
import { type ChildProcess, fork } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildDir } from '../../src/run/registry/build.ts';

const server = fileURLToPath(new URL('warm-command.mjs', import.meta.url));

interface Request {
  readonly dir: string;
  readonly env: NodeJS.ProcessEnv;
  readonly args: readonly string[];
}

interface Answer {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Processes that perform no command at the moment. */
const idle: ChildProcess[] = [];

function startServer(): ChildProcess {
  const child = fork(server, [path.join(buildDir(), 'cli.js')], {
    execArgv: [],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  // A test process that has nothing else to do may end.
  child.unref();
  child.channel?.unref();
  return child;
}

/** Returns the next message of a process; rejects if it ends before. */
function answerOf<T>(child: ChildProcess, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const onMessage = (message: unknown): void => {
      child.off('exit', onExit);
      child.channel?.unref();
      resolve(message as T);
    };
    const onExit = (code: number | null): void => {
      child.off('message', onMessage);
      reject(new Error(`${what} ended its process (exit code ${String(code)})`));
    };
    child.once('message', onMessage).once('exit', onExit);
    child.channel?.ref();
  });
}

/** Performs one command. Two at a time are performed by two processes. */
export async function warmCommand(request: Request): Promise<Answer> {
  let child = idle.pop();
  if (child === undefined) {
    child = startServer();
    await answerOf(child, 'the warm dosimeter');
  }
  const answer = answerOf<Answer>(child, `dosimeter ${request.args.join(' ')}`);
  child.send(request);
  const said = await answer;
  idle.push(child);
  return said;
}
