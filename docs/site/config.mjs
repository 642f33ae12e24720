/** VitePress's configuration, copied beside the gathered pages. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

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
  'resume-and-share',
  'serve',
  'slurm',
  'gpu',
  'compare',
  'library',
];

export default {
  title: 'dosimeter',
  description: 'Measures what poisoned training data does to a language model.',
  lang: 'en',
  // Where the site is served from, such as /dosimeter/.
  base: process.env.DOCS_BASE ?? '/',
  cleanUrls: false,
  lastUpdated: false,
  // Angle brackets of the documents are text.
  markdown: { html: false },
  vite: { logLevel: 'warn', build: { chunkSizeWarningLimit: 4000 } },
  themeConfig: {
    search: { provider: 'local' },
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
        items: ['docs/theory', 'docs/engine', 'docs/checks', 'SECURITY'].map(link),
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
