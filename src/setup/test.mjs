/** `npm test [-- FILTER…]`: sets up and builds what is needed, then runs every test whose path contains a filter. */
import { fileURLToPath } from 'node:url';
import { setup } from './setup.mjs';

const project = fileURLToPath(new URL('../../', import.meta.url));

try {
  await setup({ quiet: true });
  const { build } = await import('./build.mjs');
  await build(project);
  const { runTests } = await import('./run-tests.mjs');
  process.exitCode = await runTests(project, process.argv.slice(2)) ? 0 : 1;
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  console.log('0 passed, 1 failed');
  process.exitCode = 1;
}
