/**
 * The head of every page. Its content security policy forbids every request, so that injected content
 * could not contact a server.
 */
import { createHash } from 'node:crypto';
import type { JSX } from 'preact';
import { style } from './style.ts';

/**
 * Downloads an inline figure as a file. Without JavaScript its button stays hidden, and the page
 * loses nothing else.
 */
export const script = `
for (const button of document.querySelectorAll('button[data-figure]')) {
  button.hidden = false;
  button.addEventListener('click', () => {
    const svg = document.querySelector('[data-drawing="' + button.dataset.figure + '"] svg');
    const text = new XMLSerializer().serializeToString(svg);
    const url = URL.createObjectURL(new Blob([text], { type: 'image/svg+xml' }));
    const link = document.createElement('a');
    link.href = url;
    link.download = button.dataset.figure + '.svg';
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
}
`.trim();

const scriptHash = createHash('sha256').update(script).digest('base64');
const policy = [
  "default-src 'none'",
  'img-src data:',
  "style-src 'unsafe-inline'",
  `script-src 'sha256-${scriptHash}'`,
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');

export const Head = ({ name }: { readonly name: string }): JSX.Element => (
  <head>
    <meta charSet="utf-8" />
    <meta http-equiv="Content-Security-Policy" content={policy} />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta name="referrer" content="no-referrer" />
    <title>{`${name} · dosimeter`}</title>
    <link rel="icon" href="data:," />
    <style dangerouslySetInnerHTML={{ __html: style }} />
  </head>
);
