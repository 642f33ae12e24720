/** A Chromium that looks at a server of its own. */
import type { Page } from 'playwright-core';
import { serve } from '../../src/serve/server.ts';
import { launch } from '../rig/chromium.mjs';

/**
 * Notes what the console, errors and dialogs of a page say, and requests to anywhere but the origin
 * of `url`, or with the token in their address.
 */
export function watchPage(page: Page, url: string): string[] {
  const told: string[] = [];
  const [, token = ''] = url.split('#token=');
  const { origin } = new URL(url);
  page.on('console', (message) => told.push(message.text()));
  page.on('pageerror', (error) => told.push(error.message));
  page.on('dialog', (dialog) => told.push(dialog.message()));
  page.on('request', (request) => {
    if (!request.url().startsWith(`${origin}/`) && !request.url().startsWith('data:'))
      told.push(request.url());
    if (request.url().includes(token)) told.push('the token is in an address');
  });
  return told;
}

export interface Looking {
  readonly page: Page;
  /** What `watchPage` has noted, and the server's own faults. */
  readonly told: readonly string[];
  close(): Promise<void>;
}

export async function openBrowser(): Promise<{
  /** Serves the runs of a folder and opens the list of them. */
  serve(runs: string): Promise<Looking>;
}> {
  const browser = await launch();
  return {
    async serve(runs) {
      const faults: string[] = [];
      const serving = await serve({ runs, onFault: (error) => faults.push(String(error)) });
      const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
      const told = watchPage(page, serving.url);
      await page.goto(serving.url);
      return {
        page,
        get told() {
          return [...told, ...faults];
        },
        async close() {
          await browser.close();
          await serving.close();
        },
      };
    },
  };
}
