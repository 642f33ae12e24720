/**
 * `npm test [-- FILTER…]`: sets up and builds what is needed, then runs every test whose path
 * contains a filter. `npm run test:NAME` does the same for one suite; with `-- --full`, its tests
 * repeat more often.
 */
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { setup } from './setup.mjs';

const project = fileURLToPath(new URL('../../', import.meta.url));

try {
  const { values, positionals: filters } = parseArgs({
    allowPositionals: true,
    options: { suite: { type: 'string' }, full: { type: 'boolean', default: false } },
  });
  await setup({ quiet: true });
  const { build } = await import('./build.mjs');
  await build(project);
  const { SUITES, runTests } = await import('./run-tests.mjs');
  const suite = SUITES.find((name) => name === values.suite);
  if (values.suite !== undefined && suite === undefined)
    throw new Error(`there is no suite "${values.suite}"; the suites are ${SUITES.join(', ')}`);
  const { peersPython } = await import('./python.mjs');
  process.exitCode = (await runTests(project, filters, {
    suite,
    limitMinutes: values.full ? 180 : undefined,
    env: {
      ...(values.full ? { DOSIMETER_TESTS_FULL: '1' } : {}),
      ...(suite === 'peers' ? { DOSIMETER_PEERS_PYTHON: await peersPython(project) } : {}),
      ...(suite === 'torch'
        ? { DOSIMETER_PYTHON: process.env.DOSIMETER_PYTHON || (await peersPython(project)) }
        : {}),
    },
  }))
    ? 0
    : 1;
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  console.log('0 passed, 1 failed');
  process.exitCode = 1;
}
