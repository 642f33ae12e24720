/** How a search ranks the sections of pages: MiniSearch's options, in the site and from disk. */
export const options = { fields: ['title', 'titles', 'text'], storeFields: ['title', 'titles'] };

export const searchOptions = {
  fuzzy: 0.2,
  prefix: true,
  combineWith: 'AND',
  boost: { title: 4, text: 2, titles: 1 },
  // A guide or the spec explains what a page of the API, being short, would come before.
  boostDocument: (/** @type {string} */ id) => {
    if (id.includes('/reference/api/')) return 0.05;
    if (/\/(decisions|CHANGELOG)/.test(id)) return 0.3;
    return id.includes('/reference/spec') ? 2 : id.includes('/guides/') ? 1.5 : 1;
  },
};
