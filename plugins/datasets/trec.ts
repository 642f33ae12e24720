import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { createInterface } from 'node:readline';
import { type Asset, type RawRow, type ResolvedSplit, UserFault } from '../../src/api.ts';
import files from './files.ts';
import { namedDataset, numberedLabels } from './shared/named.ts';

/**
 * The classes in the order in which `trec.py` 1.1.0 of the Hugging Face `datasets` library numbered
 * them. It called its columns `label-coarse` and `label-fine`. Version 2.0.0 renamed the columns
 * and sorted the classes.
 */
const FIRST_ORDER = ['DESC', 'ENTY', 'ABBR', 'HUM', 'NUM', 'LOC'];

const ENDING = '.label';

const read = (asset: Asset, split: ResolvedSplit): ReturnType<typeof files.read> =>
  asset.path.toLowerCase().endsWith(ENDING) ? readPublished(asset) : files.read(asset, split);

/**
 * Reads `train_5500.label` or `TREC_10.label` of Li and Roth: `CLASS:subclass question` on each
 * line. One byte of the training file, 0xF0, is no text; it becomes a space, as in the hub's files.
 */
async function* readPublished(asset: Asset): AsyncGenerator<RawRow, void> {
  const lines = createInterface({
    input: createReadStream(asset.path, 'latin1'),
    crlfDelay: Infinity,
  }) as AsyncIterable<string>;
  let number = 0;
  for await (const line of lines) {
    const place = `${basename(asset.path)}:${++number}`;
    const [, label, text] = /^([A-Z]+):\S+ (.*)$/.exec(line.replaceAll('\xf0', ' ').trim()) ?? [];
    if (label === undefined || text === undefined)
      throw new UserFault(
        `${place} is not a question of TREC after its class.`,
        'A line of its files is such as "HUM:ind Who wrote Hamlet ?".',
      );
    yield { text, label, place };
  }
}

export default namedDataset({
  name: 'trec',
  summary: 'TREC: what a question asks for, in six coarse classes (Li and Roth 2002).',
  columns: { text: 'text', label: 'label' },
  classes: ['ABBR', 'ENTY', 'DESC', 'HUM', 'LOC', 'NUM'],
  metrics: ['accuracy'],
  layouts: [
    { columns: { text: 'text', label: 'coarse_label' } },
    { columns: { text: 'text', label: 'label-coarse' }, labels: numberedLabels(FIRST_ORDER) },
  ],
  files: { read },
});
