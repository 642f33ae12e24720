import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import spamAssassin from '../../../plugins/datasets/spam-assassin/index.ts';
import { readFiles, readingFault } from './reading.ts';

const test = suite('spam-assassin');
const mail = (subject: string, body: string): string =>
  `From: x@y.z\nX-Spam-Flag: YES\nSubject: ${subject}\n\n${body}\n`;
const corpus = {
  'data/easy-ham-1/00002.b.txt': mail('Re: lunch', 'at noon'),
  'data/easy-ham-1/00001.a.txt': mail('kernel', 'a patch'),
  'data/easy-ham-1/00001.a.json': '{}',
  'data/easy-ham-2/00001.c.txt': mail('Re: lunch', 'at noon'),
  'data/hard-ham-1/00001.d.txt': mail('News', '<html><body>of <b>today</b></body></html>'),
  'data/spam-1/00001.e.txt': mail('Toner 371812', 'cheap cartridges for you, and much more of it'),
  'data/spam-1/00002.f.txt': mail('***', '---'),
  'data/spam-2/00001.g.txt': mail('Toner 9999!', 'cheap cartridges for you, and much more of it'),
  'data/spam-2/00002.h.txt': mail('Toner', 'cheap cartridges for him'),
};

test('mails are labelled by folder; empty and repeated ones are left out and counted', async () => {
  const { rows, facts } = await readFiles(spamAssassin, corpus, {}, '.');
  assert.equal(rows, [
    { text: 'kernel a patch', label: 'ham', place: 'easy-ham-1/00001.a.txt' },
    { text: 'Re: lunch at noon', label: 'ham', place: 'easy-ham-1/00002.b.txt' },
    { text: 'News of today', label: 'ham', place: 'hard-ham-1/00001.d.txt' },
    {
      text: 'Toner 371812 cheap cartridges for you, and much more of it',
      label: 'spam',
      place: 'spam-1/00001.e.txt',
    },
    { text: 'Toner cheap cartridges for him', label: 'spam', place: 'spam-2/00002.h.txt' },
  ]);
  assert.equal(facts, { mails: 8, unreadable: 1, duplicates: 2 });
});

test('mails that are equal after they are cut are duplicates', async () => {
  const { facts } = await readFiles(
    spamAssassin,
    { ...corpus, 'data/spam-2/00003.i.txt': mail('Toner 5', 'cheap cartridges for everyone') },
    { max_words: 4 },
    '.',
  );
  assert.equal(facts, { mails: 9, unreadable: 1, duplicates: 3 });
});

test('a package that is not the corpus is reported', async () => {
  const fault = await readingFault(spamAssassin, { 'index.js': '' }, {}, '.');
  assert.match(fault.message, 'does not hold the mail folder data/easy-ham-1');
});

test.run();
