/**
 * `npm run bench -- NAME [--json] [--rounds N] [--quick] [--slow] [--only PART]`: runs the script
 * of one bench, which compares dosimeter with its peers.
 */
import { parseArgs } from 'node:util';
import { type Claim, printClaim } from './claims.ts';

interface BenchOptions {
  readonly rounds?: number;
  readonly quick?: boolean;
  readonly slow?: boolean;
  /** A part of the bench, or its one peer; each bench says what it knows. */
  readonly only?: string;
}

const benches: Readonly<
  Record<
    string,
    () => Promise<{ readonly bench: (options: BenchOptions) => AsyncGenerator<Claim> }>
  >
> = {
  decoder: () => import('./decoder.ts'),
  engine: () => import('./engine.ts'),
  outputs: () => import('./outputs.ts'),
  packs: () => import('./packs.ts'),
  slurm: () => import('./slurm.ts'),
  train: () => import('./train.ts'),
  theory: () => import('./theory.ts'),
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean' },
    only: { type: 'string' },
    quick: { type: 'boolean' },
    rounds: { type: 'string' },
    slow: { type: 'boolean' },
  },
});
const chosen = positionals[0] === undefined ? undefined : benches[positionals[0]];
if (chosen === undefined) {
  process.stderr.write(
    `usage: npm run bench -- ${Object.keys(benches).join('|')} [--json] [--rounds N] [--quick] ` +
      '[--slow] [--only PART]\n',
  );
  process.exitCode = 2;
} else {
  const { bench } = await chosen();
  const { rounds, quick = false, slow = false, only } = values;
  for await (const claim of bench({
    quick,
    slow,
    ...(rounds === undefined ? {} : { rounds: Number(rounds) }),
    ...(only === undefined ? {} : { only }),
  })) {
    process.stdout.write(`${values.json === true ? JSON.stringify(claim) : printClaim(claim)}\n`);
  }
}
