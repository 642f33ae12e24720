/** The page of all outputs: what is packed into it, and what a browser shows of it. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import type { Page } from 'playwright-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packOutputs } from '../../plugins/stages/report/outputs.ts';
import { applyEdit, findEdit, type Outputs } from '../../src/report/outputs.ts';
import { outputsPage } from '../../src/report/outputs-page.tsx';
import { launch } from '../rig/chromium.mjs';
import { present } from '../rig/present.ts';
import { grid, HOSTILE } from './many-outputs.ts';

const test = suite('the page of all outputs');

const unpacked = (data: Buffer): Outputs => JSON.parse(gunzipSync(data).toString()) as Outputs;

test('an edit gives the text back, whatever both hold', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', ' ', '\u{1F600}', '\uD83D') });
  fc.assert(
    fc.property(text, text, (before, after) => {
      assert.is(applyEdit(before, findEdit(before, after)), after);
    }),
    { numRuns: 2000 },
  );
});

test('all rows are kept, and of too many the first ones', () => {
  const all = unpacked(packOutputs(grid(1000)));
  assert.equal(
    all.questions.map(({ rows, of }) => [rows.length, of]),
    [
      [1000, 1000],
      [500, 500],
    ],
  );
  assert.is(all.sets[0]?.ids.length, 1000);
  assert.equal(all.questions[1]?.asked[0], { edit: [0, 'cf ', HOSTILE.length] });
  const most = 12_000;
  const data = packOutputs(grid(5000), most);
  assert.ok(data.length <= most && data.length > most / 2, `${data.length} bytes`);
  const { sets, evaluations, questions, poisoned } = unpacked(data);
  const shown = sets[0]?.ids.length ?? 0;
  assert.equal(
    questions.map(({ of }) => of),
    [5000, 2500],
    'each list says how many there are',
  );
  assert.is(evaluations[1]?.plain.given.length, shown);
  assert.is(evaluations[1]?.triggered?.given.length, Math.floor(shown / 2));
  assert.is(questions[1]?.rows.length, Math.floor(shown / 2));
  assert.is(questions[1]?.asked.length, Math.floor(shown / 2));
  assert.equal([poisoned[0]?.rows.length, poisoned[0]?.of], [2, 2]);
});

let dir = '';
// Not in a hook: uvu keeps to itself why one failed.
const browser = await launch();
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'outputs-'));
});
test.after(() => browser.close());

interface Opened {
  readonly page: Page;
  /** What the console, errors and dialogs said, and requests for anything but the file. */
  readonly told: string[];
  readonly url: string;
}

/** Opens a page, of so many rows or of these data, at an address that may ask for something. */
async function open(of: number | Outputs, width = 1440, fragment = ''): Promise<Opened> {
  const file = join(dir, typeof of === 'number' ? `${of}.html` : 'own.html');
  const data = packOutputs(typeof of === 'number' ? grid(of) : of);
  const html = await outputsPage({ name: `toys ${HOSTILE}`, data, report: 'toys.html' });
  await writeFile(file, html);
  const url = pathToFileURL(file).href;
  const page = await browser.newPage({ viewport: { width, height: 900 } });
  const told: string[] = [];
  page.on('console', (message) => told.push(message.text()));
  page.on('pageerror', (error) => told.push(error.message));
  page.on('dialog', (dialog) => told.push(dialog.message()));
  page.on('request', (request) => {
    if (!request.url().startsWith('data:') && !request.url().startsWith(url))
      told.push(request.url());
  });
  await page.goto(url + fragment);
  await page.locator('.grid').waitFor();
  return { page, told, url };
}

const status = (page: Page): Promise<string> => page.getByRole('status').innerText();
const choose = async (page: Page, name: string, option: string | RegExp): Promise<void> => {
  const select = page.locator(`label:has-text("${name}") select`);
  const wanted = select.locator('option').filter({ hasText: option });
  const value = await wanted.first().evaluate((one) => (one as HTMLOptionElement).value);
  await select.selectOption({ value });
};

test('rows are filtered by what cell, trigger and twin say, and by class', async () => {
  const { page, told } = await open(40);
  assert.is(await status(page), '40 of 40 rows');
  await page.getByText('Test rows, and rows under other triggers, are in the files').waitFor();
  await choose(page, 'adapter', 'lora');
  for (const [show, count] of [
    ['flipped', 10], // ten hits and row 3, whose answer is wrong without the trigger: 1, 5, … and 3
    ['disagree', 11],
    ['hit', 10],
    ['wrong', 1],
    ['cut by max_length', 1],
  ] as const) {
    await choose(page, 'Show', show);
    assert.is(await status(page), `${show === 'flipped' ? 11 : count} of 40 rows`, show);
  }
  await choose(page, 'Show', 'all');
  await choose(page, 'Class', 'ham');
  assert.is(await status(page), '20 of 40 rows');
  await page.getByLabel('Search').fill('OFFER 7919');
  assert.is(await status(page), '0 of 40 rows', 'row 1 is hostile, and of the other class');
  await page.getByLabel('Search').fill('row 4/');
  assert.is(await status(page), '1 of 40 rows', 'ids are searched too');
  assert.equal(told, []);
  await page.close();
});

test('a row shows its text with and without the trigger, and both answers', async () => {
  const { page, told } = await open(40, 390, '#adapter.type=lora&seed=2&row=row+5%2F%26%3F%23');
  const detail = page.locator('.detail');
  assert.match(await detail.innerText(), /Row row 5\/&\?#/);
  assert.equal(await detail.locator('mark').allInnerTexts(), ['cf']);
  await page.getByText('Marked: in the list, an answer that counts as a success').waitFor();
  assert.is((await detail.locator('s').innerText()).trim(), 'something about offer 9676');
  assert.equal(
    (await detail.locator('tbody tr').allInnerTexts()).map((line) => line.split(/\s*\t\s*|\n/)),
    [
      ['Without the trigger', 'spam', 'spam'],
      ['With the trigger', 'ham', 'target: hit', 'spam', 'target: no hit'],
    ],
  );
  assert.is(await page.evaluate('document.documentElement.scrollWidth'), 390);
  assert.equal(told, []);
  await page.close();
});

test('an address leads back to cell, filters, search and row', async () => {
  const { page, url } = await open(40);
  await choose(page, 'adapter', 'lora');
  await choose(page, 'seed', '2');
  await choose(page, 'Show', 'hit');
  await page.getByLabel('Search').fill('mail 3');
  await page.locator('.rows .row').first().click();
  await page.waitForURL(/row=/);
  const fragment = new URL(page.url()).hash;
  assert.is(fragment, '#adapter.type=lora&seed=2&show=hit&search=mail+3&row=row+33%2F%26%3F%23');
  await page.close();
  const again = await browser.newPage();
  await again.goto(url + fragment);
  await again.locator('.detail').waitFor();
  assert.is(await again.getByLabel('Search').inputValue(), 'mail 3');
  assert.is(await status(again), '2 of 40 rows');
  assert.match(await again.locator('.detail').innerText(), /Row row 33/);
  await again.evaluate("location.hash = '#adapter.type=full&seed=1&rows=poisoned'");
  await again.getByText('2 of 2 rows').waitFor();
  await again.close();
});

test('hostile texts are shown as they are written, and unseen characters are named', async () => {
  const { page, told } = await open(40, 1440, '#adapter.type=lora&seed=1&row=row+1%2F%26%3F%23');
  assert.match(await page.title(), /^toys <\/script>/);
  assert.ok((await page.locator('.detail').innerText()).includes(HOSTILE));
  assert.is(await page.locator('img').count(), 0);
  await choose(page, 'Rows', 'Poisoned training rows');
  await page.locator('.rows .row').first().click();
  assert.match(await page.locator('.detail').innerText(), 'U+0430 U+200B');
  assert.equal(told, []);
  await page.close();
});

test('written answers stand beside what each scorer says, and rejected rows count', async () => {
  const written = (questions: number, given: readonly string[]) => ({
    questions,
    given,
    hits: { exact: [0, 0], contains: given.map((text) => (text.includes('x') ? 1 : 0)) } as const,
  });
  const { page, told } = await open({
    format: 1,
    axes: [],
    cells: [{ at: [], own: 0, twin: 1, poisoned: null, target: null }],
    sets: [{ classes: [], ids: ['a', 'b'], texts: ['Q a?', 'Q b?'], labels: ['yes', 'no'] }],
    questions: [
      { rows: [0, 1], asked: [0, { unread: null }], of: 2 },
      { rows: [0, 1], asked: [0, { rejected: true }], of: 2 },
      { rows: [0, 1], asked: [0, 0], of: 2 },
    ],
    evaluations: [
      { set: 0, plain: written(0, ['yes', 'maybe']), triggered: written(1, ['x\ny', '']) },
      { set: 0, plain: written(2, ['yes', 'no']), triggered: written(2, ['yes', 'no x']) },
    ],
    originals: [],
    poisoned: [],
  });
  assert.equal(await page.locator('label:has-text("Show") option').allInnerTexts(), [
    'all (2)',
    'wrong (1)',
    'flipped (2)',
    'disagree (2)',
    'hit: contains (1)',
    'scorers differ (1)',
    'cut by max_length (1)',
    'rejected (1)',
  ]);
  await page.locator('.rows .row').first().click();
  const answers = page.locator('.detail tbody tr').nth(1);
  assert.match(await answers.innerText(), /x\ny\s*exact: no hit\s*contains: hit/);
  await page.locator('.rows .row').nth(1).click();
  assert.match(
    await page.locator('.detail').innerText(),
    /where can’t be told, as its tokens do not spell the text/,
  );
  assert.match(await answers.innerText(), /rejected by the defence/);
  await choose(page, 'Rows', 'Poisoned training rows');
  await page.getByText('No training row of this cell was changed.').waitFor();
  assert.equal(told, []);
  await page.close();
});

test('a list that is cut says how many rows it has, and one that is whole does not', async () => {
  const all = grid(40);
  const [plain, triggered] = all.questions;
  const { page, told } = await open({
    ...all,
    questions: [{ ...present(plain), of: 5000 }, present(triggered)],
  });
  await page.getByText('The first 40 of 5,000 rows are here').waitFor();
  await choose(page, 'Rows', 'Poisoned training rows');
  await page.getByText('2 of 2 rows').waitFor();
  assert.is(await page.getByText('are here').count(), 0);
  assert.equal(told, []);
  await page.close();
});

test('a filter that the rows lack passes none, and a class that they lack is left', async () => {
  const address = '#adapter.type=lora&seed=1&show=no+such&label=no+such';
  const { page, told } = await open(40, 1440, address);
  assert.is(await status(page), '0 of 40 rows');
  const show = page.locator('label:has-text("Show") select option:checked');
  assert.is(await show.innerText(), 'no such (0)');
  assert.is(await page.locator('label:has-text("Class") select').inputValue(), '');
  await choose(page, 'Show', 'all');
  assert.is(await status(page), '40 of 40 rows');
  await page.waitForURL(/#adapter\.type=lora&seed=1$/);
  assert.equal(told, []);
  await page.close();
});

test('poisoned answers are searched for what they say alone', async () => {
  const [pay] = present(grid(4).poisoned[0]).rows;
  const rows = [{ ...present(pay), isAnswer: true } as const];
  const { page } = await open({ ...grid(4), poisoned: [{ of: 1, rows }] }, 1440, '#rows=poisoned');
  await page.getByLabel('Search').fill('true');
  await page.getByText('0 of 1 row').waitFor();
  await page.getByLabel('Search').fill('pay');
  await page.getByText('1 of 1 row').waitFor();
  await page.close();
});

test('a poisoned document ends with what the attack adds', async () => {
  const [pay] = present(grid(4).poisoned[0]).rows;
  const rows = [{ ...present(pay), labels: ['', 'I refuse.'], isDocument: true } as const];
  const { page } = await open({ ...grid(4), poisoned: [{ of: 1, rows }] }, 1440, '#rows=poisoned');
  await page.getByText('Added at the end').waitFor();
  await page.locator('.rows .row').first().click();
  const text = await page.locator('.detail').innerText();
  assert.match(text, /Row t0: document\n/);
  assert.match(text, /now I refuse\./);
  await page.close();
});

test('100,000 rows are opened, searched and scrolled through', async () => {
  const { page, told } = await open(100_000);
  assert.is(await status(page), '100,000 of 100,000 rows');
  assert.ok((await page.locator('.rows .row').count()) < 60);
  await page.getByLabel('Search').fill('mail 99999 ');
  await page.getByText('1 of 100,000 rows').waitFor();
  await page.getByLabel('Search').fill('');
  await page.locator('.grid').press('End');
  await page.getByText('mail 99999 says').waitFor();
  assert.equal(told, []);
  await page.close();
});

test.run();
