/** VitePress's configuration, copied beside the gathered pages. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { options, searchOptions } from './search.mjs';

// Where the site is served from, such as /dosimeter/.
const base = process.env.DOCS_BASE ?? '/';
const pages = fileURLToPath(new URL('../', import.meta.url));

/** The first heading of a page. @param {string} page */
const titleOf = (page) =>
  /^# (.+)$/m.exec(readFileSync(`${pages}${page}.md`, 'utf8'))?.[1]?.replaceAll('`', '') ?? page;

/** @param {string} page */
const link = (page) => ({ text: titleOf(page), link: `/${page}` });

/** @param {string} dir */
const linksIn = (dir) =>
  readdirSync(`${pages}${dir}`)
    .filter((name) => name.endsWith('.md') && name !== 'index.md')
    .sort()
    .map((name) => link(`${dir}/${name.slice(0, -'.md'.length)}`));

const GUIDES = [
  'getting-started',
  'own-data',
  'datasets',
  'completion',
  'preferences',
  'judges',
  'language-models',
  'models',
  'attacks',
  'own-attack',
  'defences',
  'threat-table',
  'own-stage',
  'plugins',
  'grids-and-seeds',
  'training',
  'kernels',
  'report',
  'figures',
  'envelopes',
  'utility',
  'python',
  'resume-and-share',
  'serve',
  'slurm',
  'gpu',
  'torch',
  'compare',
  'library',
];

const STYLE = `
.vp-doc pre { overflow-x: auto; }
#local-search input { width: 100%; padding: 4px 8px; border: 1px solid var(--vp-c-border); }
#local-search ol { position: absolute; max-height: 70vh; overflow: auto; padding: 0 12px; }
#local-search ol { background: var(--vp-c-bg-elv); box-shadow: var(--vp-shadow-3); }
`;

/**
 * Makes a page's addresses relative, so that it can also be opened from disk. Served, its links are
 * made absolute again before VitePress's program starts: it keeps the sidebar from page to page.
 * @param {string} html
 * @param {string} _
 * @param {{ page: string }} context
 */
function relative(html, _, { page }) {
  if (page === '404.md') return html; // It is served at any depth.
  const root = '../'.repeat(page.split('/').length - 1) || './';
  const fromDisk = `document.head.append(
        Object.assign(document.createElement('script'), { src: '${root}assets/from-disk.js' }))`;
  return html
    .replaceAll(/ (href|src)="(\/[^"#]*)/g, (whole, name, to) =>
      to.startsWith(base)
        ? ` ${name}="${root}${to.slice(base.length).replace(/(^|\/)$/, '$1index.html')}`
        : whole,
    )
    .replace(
      '<head>',
      `<head>
    <script type="module">
      if (location.protocol === 'file:') ${fromDisk};
      else for (const link of document.links)
        if (link.origin === location.origin && !link.getAttribute('href').startsWith('#'))
          link.setAttribute('href', link.pathname.replace(/index[.]html$/, '') + link.hash);
    </script>`,
    );
}

export default {
  title: 'dosimeter',
  description: 'Measures what poisoned training data does to a language model.',
  lang: 'en',
  base,
  cleanUrls: false,
  lastUpdated: false,
  // Angle brackets of the documents are text.
  markdown: { html: false },
  vite: {
    logLevel: 'warn',
    build: { chunkSizeWarningLimit: 4000 },
    experimental: {
      renderBuiltUrl: (
        /** @type {string} */ _,
        /** @type {{ hostType: string }} */ { hostType },
      ) => (hostType === 'css' ? { relative: true } : undefined),
    },
  },
  head: [['style', {}, STYLE]],
  transformHtml: relative,
  themeConfig: {
    search: { provider: 'local', options: { miniSearch: { options, searchOptions } } },
    outline: [2, 3],
    nav: [
      { text: 'Guides', link: '/docs/guides/getting-started' },
      { text: 'Theory', link: '/docs/theory' },
      { text: 'Reference', link: '/docs/reference/spec' },
    ],
    sidebar: [
      { text: 'Guides', items: GUIDES.map((name) => link(`docs/guides/${name}`)) },
      {
        text: 'Reference',
        items: [...linksIn('docs/reference'), { text: 'API', link: '/docs/reference/api/' }],
      },
      {
        text: 'Background',
        items: ['docs/paper', 'docs/theory', 'docs/engine', 'docs/checks', 'SECURITY'].map(link),
      },
      {
        text: 'Development',
        items: [
          ...['ARCHITECTURE', 'CONTRIBUTING', 'CHANGELOG'].map(link),
          { text: 'Benches', link: '/bench/' },
        ],
      },
      { text: 'Decisions', collapsed: true, items: linksIn('docs/decisions') },
    ],
  },
};
