/** `npm run quickstart`: from a fresh clone to the report of pipelines/quickstart.yaml. More arguments go to `dosimeter run`. */
import { fileURLToPath } from 'node:url';
import { setup } from './setup.mjs';

const project = fileURLToPath(new URL('../../', import.meta.url));
const launcher = fileURLToPath(new URL('./launcher.mjs', import.meta.url));

process.chdir(project);
try {
  const asked = process.argv.join(' ').match(/--backend[ =](\S+)/)?.[1];
  const tensorflow = await setup({ quiet: true });
  if (asked === 'wasm' || (asked === undefined && !tensorflow)) {
    const { wasmMinutes } = await import('./wasm-time.mjs');
    console.error(
      `quickstart: on WebAssembly here, the whole takes about ${Math.ceil(await wasmMinutes())} minutes; it may be stopped, and goes on when it is started again`,
    );
  }
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
