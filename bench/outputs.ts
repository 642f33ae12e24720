/**
 * The page of all outputs in Chromium: its size, how long it takes to open and to filter. It has no
 * peer: the limits stand in its place. `--quick`: 10,000 rows alone.
 */
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser } from 'playwright-core';
import { packOutputs } from '../plugins/stages/report/outputs.ts';
import { outputsPage } from '../src/report/outputs-page.tsx';
import { grid } from '../test/report/many-outputs.ts';
import { launch } from '../test/rig/chromium.mjs';
import { type Claim, makeClaim, median } from './claims.ts';

/** In milliseconds: until the rows are on the page, and until a search has chosen among them. */
async function open(browser: Browser, file: string): Promise<readonly [number, number]> {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  try {
    const started = performance.now();
    await page.goto(pathToFileURL(file).href);
    await page.locator('.grid').waitFor();
    const opened = performance.now();
    const all = await page.getByRole('status').innerText();
    await page.getByLabel('Search').fill('offer 9676');
    await page.waitForFunction(
      (before) => document.querySelector('[role=status]')?.textContent !== before,
      all,
    );
    return [opened - started, performance.now() - opened];
  } finally {
    await page.close();
  }
}

export async function* bench({
  rounds = 5,
  quick = false,
}: {
  readonly rounds?: number;
  readonly quick?: boolean;
}): AsyncGenerator<Claim> {
  const dir = await mkdtemp(join(tmpdir(), 'outputs-'));
  const browser = await launch();
  try {
    for (const rows of quick ? [10_000] : [10_000, 100_000]) {
      const file = join(dir, `${rows}.html`);
      const data = packOutputs(grid(rows));
      await writeFile(file, await outputsPage({ name: 'bench', data, report: 'bench.html' }));
      await open(browser, file);
      const times: (readonly [number, number])[] = [];
      for (let round = 0; round < rounds; round++) times.push(await open(browser, file));
      const claim = (what: string, unit: string, value: number, limit: number): Claim =>
        makeClaim('outputs', {
          claim: `${rows.toLocaleString('en')} rows of four cells, ${what}`,
          ...{ unit, value, peer: 'the limit', peerValue: limit, sense: 'cost', goal: 1 },
        });
      yield claim('the page', 'MB', (await stat(file)).size / 1e6, 10);
      yield claim('to open it', 's', median(times.map(([opened]) => opened)) / 1000, 2);
      yield claim('to search', 's', median(times.map(([, searched]) => searched)) / 1000, 0.5);
    }
  } finally {
    await browser.close();
    await rm(dir, { recursive: true });
  }
}
