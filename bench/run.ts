/** `npm run bench -- NAME [--json] [--rounds N]`: one script a claim, each against its peer. */
import { parseArgs } from 'node:util';
import { printClaim, type Claim } from './claims.ts';

const benches: Readonly<Record<string, () => Promise<{ bench(options: { rounds?: number }): AsyncGenerator<Claim> }>>> = {
  train: () => import('./train.ts'),
  theory: () => import('./theory.ts'),
};

const { values, positionals } = parseArgs({ allowPositionals: true, options: { json: { type: 'boolean' }, rounds: { type: 'string' } } });
const chosen = positionals[0] === undefined ? undefined : benches[positionals[0]];
if (chosen === undefined) {
  process.stderr.write(`usage: npm run bench -- ${Object.keys(benches).join('|')} [--json] [--rounds N]\n`);
  process.exitCode = 2;
} else {
  const { bench } = await chosen();
  for await (const claim of bench(values.rounds === undefined ? {} : { rounds: Number(values.rounds) })) {
    process.stdout.write(`${values.json === true ? JSON.stringify(claim) : printClaim(claim)}\n`);
  }
}
