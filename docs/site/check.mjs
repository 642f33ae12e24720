/** Looks at the built site from disk, as a browser on a phone shows it. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { launch } from '../../test/rig/chromium.mjs';

const WIDTH = 390;

/**
 * Every page has its style and is no wider than the window, and a search finds guides first.
 * @param {string} site
 * @throws {Error} that names what is not so
 */
export async function checkSite(site) {
  const faults = [];
  const browser = await launch();
  try {
    const page = await browser.newPage({ viewport: { width: WIDTH, height: 844 } });
    const names = readdirSync(site, { recursive: true, encoding: 'utf8' })
      // 404.html is served for any address. The pages of the API are all alike.
      .filter((name) => name.endsWith('.html') && name !== '404.html')
      .filter((name) => !/reference.api.(?!index)/.test(name));
    for (const name of names) {
      await page.goto(String(pathToFileURL(join(site, name))));
      const { width, styled } = await page.evaluate(() => ({
        width: document.documentElement.scrollWidth,
        styled: getComputedStyle(document.body).margin === '0px',
      }));
      if (width > WIDTH) faults.push(`${name} is ${width} px wide in a window of ${WIDTH}`);
      if (!styled) faults.push(`${name} has no style when it is opened from disk`);
    }
    await page.fill('#local-search input', 'learning rate');
    const links = page.locator('#local-search ol a');
    const [first, ...others] = await links.evaluateAll((found) => found.map(String));
    if (!first?.includes('/guides/') || !others.slice(0, 3).join().includes('/reference/spec'))
      faults.push(`a search for "learning rate" does not find a guide and the spec first`);
  } finally {
    await browser.close();
  }
  if (faults.length > 0) throw new Error(faults.join('\ndocs: '));
}
