/**
 * Runs in a page that was opened from disk, where browsers load no modules and so not VitePress's
 * own program: its search, without it.
 */
import MiniSearch from 'minisearch';
import index from 'search-index';
import { options, searchOptions } from './search.mjs';

const root = new URL('..', /** @type {HTMLScriptElement} */ (document.currentScript).src);
const input = Object.assign(document.createElement('input'), {
  type: 'search',
  placeholder: 'Search',
});
const found = document.createElement('ol');
/** @type {MiniSearch | undefined} */
let sections;

input.addEventListener('input', () => {
  sections ??= MiniSearch.loadJSON(index, { ...options, searchOptions });
  found.replaceChildren(
    ...sections.search(input.value).map(({ id, title, titles }) => {
      const link = document.createElement('a');
      const address = id.slice(BASE.length).replace(/(^|\/)(?=#)/, '$1index.html');
      link.href = String(new URL(address, root));
      link.textContent = [...titles, title].join(' › ');
      const item = document.createElement('li');
      item.append(link);
      return item;
    }),
  );
});
document.querySelector('#local-search')?.replaceChildren(input, found);

const sidebar = document.querySelector('.VPSidebar');
document
  .querySelector('.VPLocalNav .menu')
  ?.addEventListener('click', () => sidebar?.classList.toggle('open'));
