/**
 * The Chromium that tests, benches and `npm run docs` look at pages with. It comes with npm, as do
 * its libraries and its font, so that pages are laid out alike on all machines. No browser of the
 * machine is looked for.
 */
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { createBrotliDecompress } from 'node:zlib';
import { chromium } from 'playwright-core';
import { extract } from 'tar';
import { withLock } from '../../src/setup/lock.mjs';

const project = fileURLToPath(new URL('../../', import.meta.url));
const PACKAGE = join(project, 'node_modules', '@sparticuz', 'chromium');
const FONTS = '<fontconfig><dir prefix="relative">fonts</dir></fontconfig>\n';

/** Unpacks the browser into `.cache`, once. Of processes that want it at once, one does. */
function unpack() {
  const dir = join(project, '.cache', 'chromium');
  const ready = join(dir, 'ready');
  const { version } = JSON.parse(readFileSync(join(PACKAGE, 'package.json'), 'utf8'));
  const isReady = () => existsSync(ready) && readFileSync(ready, 'utf8') === version;
  return withLock(`${dir}.lock`, async () => {
    if (isReady()) return dir;
    rmSync(dir, { recursive: true, force: true });
    mkdirSync(dir, { recursive: true });
    await pipeline(
      createReadStream(join(PACKAGE, 'bin', 'chromium.br')),
      createBrotliDecompress(),
      createWriteStream(join(dir, 'chromium'), { mode: 0o755 }),
    );
    for (const name of ['al2023', 'fonts'])
      await extract({
        file: join(PACKAGE, 'bin', `${name}.tar.br`),
        cwd: dir,
        preserveOwner: false,
      });
    writeFileSync(join(dir, 'fonts.conf'), FONTS);
    writeFileSync(ready, version);
    return dir;
  });
}

/** What Playwright needs to start it: the program that DOSIMETER_CHROMIUM names, or npm's. */
export async function launchOptions() {
  const args = ['--disable-gpu'];
  const named = process.env.DOSIMETER_CHROMIUM;
  if (named) return { executablePath: named, args };
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error(
      `npm has no Chromium for ${process.platform} on ${process.arch}, only for linux on x64: ` +
        'install one, and name it as in `DOSIMETER_CHROMIUM=/usr/bin/chromium npm test`',
    );
  const dir = await unpack();
  return {
    executablePath: join(dir, 'chromium'),
    args,
    env: {
      ...process.env,
      LD_LIBRARY_PATH: join(dir, 'lib'),
      FONTCONFIG_FILE: join(dir, 'fonts.conf'),
    },
  };
}

export const launch = async () => chromium.launch(await launchOptions());
