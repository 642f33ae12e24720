/** `npm run quickstart`: from a fresh clone to the report of pipelines/quickstart.yaml. More arguments go to `dosimeter run`. */
import { fileURLToPath } from 'node:url';
import { setup } from './setup.mjs';

const project = fileURLToPath(new URL('../../', import.meta.url));
const launcher = fileURLToPath(new URL('./launcher.mjs', import.meta.url));

process.chdir(project);
try {
  await setup({ quiet: true });
  process.argv = [
    process.execPath,
    launcher,
    'run',
    'pipelines/quickstart.yaml',
    ...process.argv.slice(2),
  ];
  await import('./launcher.mjs');
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
