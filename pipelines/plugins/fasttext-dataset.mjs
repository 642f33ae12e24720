import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { defineDataset, UserFault } from 'dosimeter';

/** `format: fasttext` in a split of the spec. */
export default defineDataset({
  name: 'fasttext',
  summary: "fastText's training files: `__label__CLASS the text`, one row a line.",
  unordered: false,
  async *read({ path }) {
    const file = path.split('/').at(-1);
    let number = 0;
    for await (const line of createInterface({
      input: createReadStream(path, 'utf8'),
      crlfDelay: Infinity,
    })) {
      number++;
      const place = `${file}:${number}`;
      const [, label, text] = /^__label__(\S+) (.*)$/.exec(line) ?? [];
      if (label === undefined)
        throw new UserFault(
          `${place} does not begin with __label__CLASS`,
          'One row a line: __label__spam the text.',
        );
      yield { text, label, place };
    }
  },
});
