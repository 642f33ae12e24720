import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { defineExecutor } from 'dosimeter';

/**
 * What an executor for a cluster does, without the cluster: a job goes into a file, a program runs
 * it elsewhere, and a second file says how it ended.
 */
export default defineExecutor({
  name: 'process',
  summary: 'A process of its own for each stage.',
  open({ dir, env, command }) {
    const jobs = join(dir, 'jobs');
    mkdirSync(jobs, { recursive: true });
    const running = new Set();
    let count = 0;
    return {
      run: (job, hooks, signal) =>
        new Promise((resolve) => {
          const name = join(jobs, `${job.id}-${count++}`),
            result = `${name}.result.json`;
          writeFileSync(`${name}.json`, JSON.stringify(job));
          const [program, ...args] = command(`${name}.json`, result);
          const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
          running.add(child);
          for (const stream of [child.stdout, child.stderr])
            stream.on('data', (chunk) => hooks.onOutput(String(chunk)));
          const stop = () => child.kill('SIGTERM');
          signal.addEventListener('abort', stop, { once: true });
          // Its own word counts, not how the process ended.
          child.once('close', (code, by) => {
            running.delete(child);
            signal.removeEventListener('abort', stop);
            resolve(
              existsSync(result)
                ? JSON.parse(readFileSync(result, 'utf8'))
                : { type: 'exit', code, signal: by },
            );
          });
        }),
      async close() {
        await Promise.all(
          [...running].map(
            (child) =>
              new Promise((resolve) => {
                child.once('close', resolve);
                child.kill('SIGTERM');
              }),
          ),
        );
      },
    };
  },
});
