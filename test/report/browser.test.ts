/** The page as a browser shows it. */
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Page } from 'playwright-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { renderReport } from '../../src/report/report.tsx';
import { launch } from '../rig/chromium.mjs';
import { fixture, withFailure } from './fixture.ts';

const test = suite('report in a browser');

let dir = '';
// Not in a hook: uvu keeps to itself why one failed.
const browser = await launch();
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'report-'));
  const failed = withFailure(
    fixture(),
    (cell) => cell.seed === 2 && cell.adapter === 'lora',
    `loss is NaN ${'x'.repeat(300)} <script>alert(1)</script>`,
  );
  await writeFile(join(dir, 'quick.html'), (await renderReport(fixture())).html);
  await writeFile(
    join(dir, 'failed.html'),
    (
      await renderReport({
        ...failed,
        name: 'a-name-of-an-experiment-that-is-much-longer-than-a-phone-is-wide',
      })
    ).html,
  );
  const { cells, ...rest } = fixture();
  const collapsed = cells.map((cell) => ({
    ...cell,
    metrics: { ...cell.metrics, evaluate: { ...cell.metrics['evaluate'], predicted_share: 1 } },
  }));
  await writeFile(
    join(dir, 'collapsed.html'),
    (await renderReport({ ...rest, cells: collapsed })).html,
  );
  await writeFile(
    join(dir, 'decided.html'),
    (await renderReport(fixture({ seeds: [1, 2, 3, 4, 5], rows: 8 }))).html,
  );
  const undefended = { asr_undefended: 0.9, asr_removed: 0.2, accuracy_undefended: 0.9 };
  const judged = { rows_judged: 10, rows_dropped: 3, rejected_share: 0.1, model_suspected: 1 };
  const defended = cells.map((cell) => ({
    ...cell,
    axes: { ...cell.axes, 'defence.defence': `onion-${cell.adapter}` },
    metrics: {
      ...cell.metrics,
      evaluate: { ...cell.metrics['evaluate'], ...undefended, ...judged },
    },
  }));
  await writeFile(
    join(dir, 'defended.html'),
    (await renderReport({ ...rest, cells: [...cells, ...defended] })).html,
  );
});
test.after(() => browser.close());

interface Opened {
  readonly page: Page;
  readonly told: string[];
  readonly requests: string[];
}
const opened = new Map<string, Opened>();

/** A report at its top. It stays open for the tests that follow, since laying it out takes long. */
async function open(name: string, width: number): Promise<Opened> {
  const known = opened.get(`${name} ${width}`);
  if (known !== undefined) {
    await known.page.evaluate('scrollTo(0, 0)');
    return known;
  }
  const page = await browser.newPage({ viewport: { width, height: 900 } });
  const told: string[] = [],
    requests: string[] = [];
  page.on('console', (message) => {
    told.push(message.text());
  });
  page.on('pageerror', (error) => {
    told.push(error.message);
  });
  page.on('dialog', (dialog) => {
    told.push(`dialog ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('request', (request) => {
    if (!request.url().startsWith('data:')) requests.push(request.url());
  });
  await page.goto(pathToFileURL(join(dir, name)).href, { waitUntil: 'load' });
  const made = { page, told, requests };
  opened.set(`${name} ${width}`, made);
  return made;
}

test('the first screen holds the verdict, the caveats, and the answer as a picture', async () => {
  const onScreen = (selector: string): string => `(() => {
      const box = document.querySelector(${JSON.stringify(selector)}).getBoundingClientRect();
      return box.top >= 0 && box.bottom <= innerHeight;
    })()`;
  for (const name of ['quick.html', 'collapsed.html']) {
    const { page } = await open(name, 1280);
    for (const selector of ['.standing', '#figure-answer-accuracy svg', '#figure-answer-asr svg'])
      assert.ok(await page.evaluate(onScreen(selector)), `${selector} of ${name}`);
  }
  for (const width of [1280, 390]) {
    const { page } = await open('collapsed.html', width);
    assert.ok(await page.evaluate(onScreen('.caveats li')), `at ${width} px`);
    assert.match(
      await page.locator('.caveats').innerText(),
      '18 of 18 models predict one class only',
    );
  }
});

for (const width of [1280, 390]) {
  for (const name of ['quick.html', 'failed.html', 'decided.html']) {
    test(`${name} at ${width} px fetches nothing, logs nothing and fits its width`, async () => {
      const { page, told, requests } = await open(name, width);
      await page.evaluate(`document.querySelectorAll('summary').forEach((one) => one.click())`);
      assert.equal(requests, [pathToFileURL(join(dir, name)).href]);
      assert.equal(told, []);
      assert.is(await page.evaluate('document.documentElement.scrollWidth'), width);
      assert.is(await page.evaluate('document.querySelectorAll("script").length'), 1);
      assert.match(await page.title(), / · dosimeter$/);
      // Each figure is within its card, however narrow.
      const badlyPlaced = `[...document.querySelectorAll('.figures figure:not(.broad) svg')]
          .map((svg) => svg.getBoundingClientRect())
          .filter(({ right, width }) => right > innerWidth || width < 200).length`;
      assert.equal(await page.evaluate(badlyPlaced), 0);
    });
  }
}

test('figures download as SVG that opens by itself, their data as CSV', async () => {
  const { page, told } = await open('quick.html', 1280);
  const [svg] = await Promise.all([
    page.waitForEvent('download'),
    page.locator('#figure-kernel-init button').click(),
  ]);
  assert.is(svg.suggestedFilename(), 'kernel-init.svg');
  assert.match(
    await readFile(await svg.path(), 'utf8'),
    /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"[^]*<\/svg>$/,
  );
  const [csv] = await Promise.all([
    page.waitForEvent('download'),
    page.locator('#figure-scores-asr a').click(),
  ]);
  assert.is(csv.suggestedFilename(), 'scores-asr.csv');
  assert.match(
    await readFile(await csv.path(), 'utf8'),
    /^attack,adapter,setting,seed,metric,value,not_evidence\r\n/,
  );
  assert.equal(told, []);
});

test('findings are read without scrolling sideways, on a phone too', async () => {
  for (const width of [1280, 390]) {
    for (const name of ['decided.html', 'defended.html']) {
      const { page } = await open(name, width);
      const scrolled = `[...document.querySelectorAll('.finding .scroll')]
        .filter((box) => box.scrollWidth > box.clientWidth + 1)
        .map((box) => box.innerText)`;
      assert.equal(await page.evaluate(scrolled), [], `${name} at ${width} px`);
    }
  }
});

test('the notes of a wide table are read without scrolling sideways', async () => {
  for (const width of [1280, 390]) {
    const { page } = await open('defended.html', width);
    const notes = `[...document.querySelectorAll('.scroll caption span')].map((note) => {
      const box = note.closest('.scroll');
      box.scrollLeft = 60;
      const [inner, outer] = [note, box].map((one) => one.getBoundingClientRect());
      return {
        isWide: box.scrollWidth > box.clientWidth,
        isCut: inner.left < outer.left || inner.right > outer.right,
      };
    })`;
    const found = await page.evaluate<{ isWide: boolean; isCut: boolean }[]>(notes);
    assert.ok(
      found.some(({ isWide }) => isWide),
      'a table that scrolls',
    );
    assert.not.ok(found.some(({ isCut }) => isCut));
  }
});

test('a poisoned mail is shown as it is written, and no script in it runs', async () => {
  const { page } = await open('quick.html', 1280);
  assert.match(
    await page.locator('#rows').innerText(),
    '<script>document.title="owned"</script><img src="http://example.invalid/x.png"',
  );
  assert.equal(
    await page.locator('#rows mark').allInnerTexts(),
    'spam ham ham cf ham mn'.split(' '),
  );
});

test('each chapter of the navigation is there', async () => {
  const { page } = await open('quick.html', 1280);
  const missing = `[...document.querySelectorAll('nav a')]
    .filter((link) => !document.querySelector(link.hash + ' h2')).length`;
  assert.equal(await page.evaluate(missing), 0);
});

test.run();
