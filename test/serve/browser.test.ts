/** The page of `dosimeter serve` in a browser. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Page } from 'playwright-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packOutputs } from '../../plugins/stages/report/outputs.ts';
import type { RecordedStage } from '../../src/run/log/run-plan.ts';
import { grid } from '../report/many-outputs.ts';
import { launch } from '../rig/chromium.mjs';
import { watchPage } from './chromium.ts';
import {
  type Client,
  createRuns,
  type FakeRun,
  type FakeRuns,
  openClient,
  planned,
  ran,
  started,
} from './runs.ts';

const test = suite('serve in a browser');

const CELLS = 2500;
const HOSTILE = '<img src="http://attacker.example/x.png" onerror=document.title="owned">';
/** Four stages for each of 2500 cells; the first label is hostile. */
function tenThousand(): RecordedStage[] {
  const stages: RecordedStage[] = [];
  const add = (kind: string, cell: number, inputs: readonly number[]): number =>
    stages.push(planned(kind, cell === 0 ? HOSTILE : `rank=${cell % 7} seed=${cell}`, inputs)) - 1;
  for (let cell = 0; cell < CELLS; cell++) {
    const poison = add('poison', cell, []);
    const train = add('train', cell, [poison]);
    add('ntk', cell, [add('evaluate', cell, [train]), train]);
  }
  return stages.map((stage, i) => ({ ...stage, id: `${stage.kind}-${i}` }));
}

// Not in a hook: uvu keeps to itself why one failed.
const browser = await launch();
let runs: FakeRuns, client: Client, run: FakeRun;
const stages = tenThousand();
const idOf = (index: number): string => stages[index]?.id ?? '';

test.before(async () => {
  runs = createRuns();
  client = await openClient(runs);
  run = runs.run('20260101-120000-1', stages);
  const key = runs.entry('evaluated', { 'metrics.json': '{"accuracy":0.9375,"asr":1}' });
  for (let i = 0; i < 40; i++) run.record(started(idOf(i)), ran(idOf(i), key));
  run.record(started(idOf(41)));
  run.progress(
    { [idOf(41)]: [3, 10, 'steps'] },
    { [idOf(41)]: ['Slurm job 7_1', `n1${HOSTILE}`, null] },
  );
  run.log(idOf(41), 'T step 1 of 10: loss 0.7, learning rate 0.001\n');
});
test.after(async () => {
  await browser.close();
  await (client as Client | undefined)?.close();
});

interface Opened {
  readonly page: Page;
  /** What the console, errors and dialogs said, and requests to anywhere else. */
  readonly told: string[];
}

/** Opens the address that was printed and, through its link, the run. */
async function openRun(width: number): Promise<Opened> {
  const page = await browser.newPage({ viewport: { width, height: 900 } });
  const told = watchPage(page, client.serving.url);
  await page.goto(client.serving.url);
  await page.getByRole('link', { name: 'toys' }).click();
  await page.locator('#results .grid').waitFor();
  return { page, told };
}

for (const width of [1440, 390]) {
  test(`10,000 stages fit ${width} px, in few elements and without a word on the console`, async () => {
    const { page, told } = await openRun(width);
    assert.is(page.url().includes(client.token), false);
    assert.is(await page.evaluate('document.documentElement.scrollWidth'), width);
    assert.ok(Number(await page.evaluate('document.querySelectorAll("*").length')) < 1500);
    assert.match(await page.title(), /^40\/10000 · toys · dosimeter$/);
    const grid = page.getByRole('grid', { name: 'Stages', exact: true });
    assert.is(await grid.getAttribute('aria-rowcount'), '10001');
    assert.ok((await grid.innerText()).includes(`poison ${HOSTILE}`));
    assert.is(await page.locator('img').count(), 0);
    await page.getByRole('searchbox').fill('TRAIN seed=77');
    await page.getByText('11 of 10,000 stages').waitFor(); // 77, and 770 to 779
    assert.equal(told, []);
    await page.close();
  });
}

test('many changes at once cost little: the page redraws, not each stage', async () => {
  const { page, told } = await openRun(1440);
  await page.evaluate(`window.changes = 0;
    new MutationObserver((records) => { window.changes += records.length; })
      .observe(document.body, { subtree: true, childList: true, attributes: true,
        characterData: true })`);
  const changed = 4000;
  for (let from = 100; from < 100 + changed; from += 100)
    run.record(
      ...Array.from({ length: 100 }, (_, i) => idOf(from + i)).flatMap((id) => [
        started(id),
        ran(id, 'no key'),
      ]),
    );
  await page.getByText('4,040 of 10,000 stages', { exact: true }).waitFor();
  const seen = Number(await page.evaluate('window.changes'));
  assert.ok(seen > 0 && seen < changed, String(seen));
  assert.ok(Number(await page.evaluate('document.querySelectorAll("*").length')) < 1500);
  assert.equal(told, []);
  await page.close();
});

test('the keyboard reaches everything, and every place has a name', async () => {
  const { page, told } = await openRun(1440);
  const focused = `(() => {
    const at = document.activeElement;
    const name = at.getAttribute('aria-label') || at.labels?.[0]?.innerText || at.innerText || '';
    const { outlineStyle } = getComputedStyle(at);
    return at === document.body ? null
      : { role: at.getAttribute('role') ?? at.localName, name: name.trim(), outlineStyle };
  })()`;
  interface Focused {
    readonly role: string;
    readonly name: string;
    readonly outlineStyle: string;
  }
  const stops: Focused[] = [];
  for (let i = 0; i < 80; i++) {
    await page.keyboard.press('Tab');
    const stop = await page.evaluate<Focused | null>(focused);
    if (stop === null) break;
    stops.push(stop);
    if (stop.role === 'grid' && stop.name === 'Stages') break;
  }
  assert.equal(
    stops.filter(({ name, outlineStyle }) => name === '' || outlineStyle === 'none'),
    [],
  );
  for (const role of ['a', 'button', 'input', 'select', 'region', 'grid'])
    assert.ok(
      stops.some((stop) => stop.role === role),
      role,
    );

  await page.keyboard.press('End');
  await page.keyboard.press('ArrowUp');
  const grid = page.getByRole('grid', { name: 'Stages', exact: true });
  const active = (await grid.getAttribute('aria-activedescendant')) ?? '';
  assert.match(await page.locator(`#${active}`).innerText(), /^evaluate rank=0 seed=2499/);
  await page.keyboard.press('Enter');
  const drawer = page.getByRole('dialog');
  await drawer.waitFor();
  await drawer.getByRole('heading', { name: 'Reads', exact: true }).waitFor();
  await drawer.getByRole('button', { name: 'train rank=0 seed=2499' }).waitFor();
  assert.is(await page.evaluate('document.activeElement.id'), 'drawer-title');
  await page.keyboard.press('Escape');
  await drawer.waitFor({ state: 'detached' });
  assert.is(await page.evaluate('document.activeElement.getAttribute("role")'), 'grid');
  assert.equal(told, []);
  await page.close();
});

/** Texts whose colour stands out from what is behind them by less than 4.5 to 1 (WCAG 2.2, AA). */
const FAINT = `(() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((value) => value / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (at) => {
    if (at === null) return [255, 255, 255];
    const [r, g, b, alpha = 1] = numbers(getComputedStyle(at).backgroundColor);
    if (alpha === 1) return [r, g, b];
    return behind(at.parentElement).map((value, i) => value * (1 - alpha) + [r, g, b][i] * alpha);
  };
  const faint = [];
  for (const at of document.querySelectorAll('body *')) {
    const text = [...at.childNodes].filter((node) => node.nodeType === 3)
      .map((node) => node.data.trim()).join('');
    if (text === '' || !at.checkVisibility()) continue;
    const [a, b] = [luminance(numbers(getComputedStyle(at).color)), luminance(behind(at))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push(text.slice(0, 40) + ' ' + ratio.toFixed(2));
  }
  return faint;
})()`;

for (const colorScheme of ['light', 'dark'] as const) {
  test(`every text can be read on a ${colorScheme} page`, async () => {
    const { page, told } = await openRun(1440);
    await page.emulateMedia({ colorScheme });
    const background = await page.evaluate('getComputedStyle(document.body).backgroundColor');
    assert.is(background, colorScheme === 'dark' ? 'rgb(18, 23, 30)' : 'rgb(255, 255, 255)');
    await page.locator('#running button.link').first().click();
    await page.getByRole('dialog').getByRole('img').first().waitFor();
    assert.equal(await page.evaluate(FAINT), []);
    assert.equal(told, []);
    await page.close();
  });
}

test('a page that nothing happens to asks for nothing', async () => {
  const { page, told } = await openRun(1440);
  await page.locator('#running').getByText(`Slurm job 7_1 on n1${HOSTILE}`).waitFor();
  const asked: string[] = [];
  page.on('request', (request) => asked.push(request.url()));
  await sleep(6_000);
  assert.equal(asked, []);
  assert.equal(told, []);
  await page.close();
});

test('a screen reader finds landmarks, headings, tables and what the pictures show', async () => {
  const { page } = await openRun(1440);
  for (const landmark of ['banner', 'navigation', 'main', 'contentinfo', 'search'] as const)
    assert.is(await page.getByRole(landmark).count(), 1, landmark);
  assert.is(await page.getByRole('heading', { level: 1 }).count(), 1);
  assert.is(await page.getByRole('progressbar', { name: 'Stages done' }).count(), 1);
  assert.ok((await page.getByRole('rowheader', { name: 'train', exact: true }).count()) > 0);
  const box = page.getByRole('button', { name: /^train, level 2: 2,500 stages, .*1 running/ });
  await box.click();
  assert.is(await page.locator('#stages select').nth(1).inputValue(), '1');

  // A running stage, live: its curve, its log, its end.
  await page.locator('#running button.link').first().click();
  const drawer = page.getByRole('dialog');
  const curve = drawer.getByRole('img');
  await curve.waitFor();
  assert.is(await curve.getAttribute('aria-label'), 'loss: 0.7000 at step 1, 0.7000 at step 1');
  run.log(idOf(41), `T step 2 of 10: loss 0.5, learning rate 0.001\n| ${HOSTILE}\n`);
  // The place of the stage has the same text: only the log's own counts.
  await drawer
    .getByRole('region', { name: /^Log of / })
    .filter({ hasText: HOSTILE })
    .waitFor();
  await drawer.getByRole('img', { name: 'loss: 0.7000 at step 1, 0.5000 at step 2' }).waitFor();
  run.record({
    event: 'stage-ended',
    stage: idOf(41),
    state: 'failed',
    error: `the loss is NaN ${HOSTILE}`,
    hint: 'lower the rate',
    internal: false,
  });
  await drawer.getByText('the loss is NaN').waitFor();
  await page.locator('#failures').getByText('lower the rate').waitFor();
  run.record({ event: 'ended', interrupted: false, seconds: 60 });
  await page.getByText(/, the run is failed$/).waitFor({ state: 'attached' });
  assert.is(await page.title(), '4040/10000 · toys · dosimeter');
  assert.is(await page.locator('img').count(), 0);
  await page.close();
});

test('without the token, or without the server, the page says what to do', async () => {
  const page = await browser.newPage();
  await page.goto(new URL(client.serving.url).origin);
  await page.getByText('Open the whole address').waitFor();
  await page.goto(client.serving.url); // the same document, with the token
  await page.getByRole('link', { name: 'toys' }).click();
  await page.locator('#stages .grid').waitFor();
  await client.close();
  await page.getByRole('alert').getByText('The connection is lost.').waitFor();
  client = await openClient(runs);
  await page.close();
});

test('on a phone names of stages are whole, and a bar under a table covers no row', async () => {
  const stage = planned('evaluate', 'attack=label-flip type=lora rank=16 seed=1');
  const made = runs.run('20260103-120000-1', [stage]);
  made.record(ran(stage.id, runs.entry('one', { 'metrics.json': '{"accuracy":0.9375}' })));
  const page = await browser.newPage({ viewport: { width: 390, height: 900 } });
  await page.goto(client.serving.url);
  await page.evaluate(`location.hash = '#/run/${made.id}'`);
  await page.locator('#results .grid').waitFor();
  for (const part of ['#stages', '#results']) {
    const sizes = `(() => {
      const name = document.querySelector('${part} .cut'), grid = name.closest('.grid');
      // A border takes the room that a bar for scrolling sideways does.
      grid.style.borderBottomWidth = '15px';
      return [name.scrollHeight - name.clientHeight, grid.clientHeight];
    })()`;
    assert.equal(await page.evaluate(sizes), [0, 2 * 34], part);
  }
  await page.close();
});

test('the rows of a report are browsed, at an address that can be kept', async () => {
  const made = runs.run('20260102-120000-1', [planned('report', 'all')]);
  const key = runs.entry('rows', { 'outputs.json.gz': packOutputs(grid(40)) });
  made.record(ran('report-all', key), { event: 'ended', interrupted: false, seconds: 60 });
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  const told = watchPage(page, client.serving.url);
  await page.goto(client.serving.url);
  await page.evaluate(`location.hash = '#/run/${made.id}'`);
  await page.getByRole('link', { name: 'Outputs' }).click();
  await page.getByText('40 of 40 rows').waitFor();
  await page.getByLabel('Search').fill('mail 33');
  await page.locator('.rows .row').first().click();
  await page.locator('.detail').getByText('cf', { exact: true }).waitFor();
  await page.waitForURL(/outputs\?adapter\.type=full&seed=1&search=mail\+33&row=row\+33/);
  await page.reload();
  await page.locator('.detail').getByText('cf', { exact: true }).waitFor();
  await page.getByRole('link', { name: made.id }).click();
  await page.locator('#stages .grid').waitFor();
  await page.goBack();
  await page.locator('.detail').getByText('cf', { exact: true }).waitFor();
  await page.getByLabel('Search').fill('mail 3');
  // The address leads elsewhere before the page has noticed, as it may after a click.
  await page.evaluate(`history.replaceState(null, '', '#/run/${made.id}')`);
  await sleep(500);
  assert.ok(page.url().endsWith(`#/run/${made.id}`), page.url());
  await page.evaluate("dispatchEvent(new HashChangeEvent('hashchange'))");
  await page.locator('#stages .grid').waitFor();
  assert.equal(told, []);
  await page.close();
});

test.run();
