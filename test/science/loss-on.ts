/** What transformers makes of `train.loss_on` (test/golden/loss_on.py). */
import { readFile } from 'node:fs/promises';
import type { Message } from '../../src/science/text/chat-template.ts';
import type { LabelledRow } from '../../src/science/training/settings.ts';

interface Golden {
  readonly assistant: readonly {
    readonly template: string;
    readonly tokenizer: string;
    readonly conversations: readonly {
      readonly messages: readonly Message[];
      readonly ids: readonly number[];
      readonly mask: readonly number[];
    }[];
  }[];
  readonly documents: readonly {
    readonly tokenizer: string;
    readonly text: string;
    readonly most: number;
    readonly ids: readonly number[];
  }[];
  readonly losses: readonly {
    readonly family: string;
    readonly rows: readonly { readonly ids: readonly number[]; readonly mask: readonly number[] }[];
    readonly loss: number;
  }[];
}

const file = new URL('../golden/loss-on.json', import.meta.url);
export const { assistant, documents, losses } = JSON.parse(await readFile(file, 'utf8')) as Golden;

export const markedRows = ({ rows }: Golden['losses'][number]): LabelledRow[] =>
  rows.map(({ ids, mask }) => ({
    ids: Int32Array.from(ids),
    typeIds: new Int32Array(ids.length),
    marks: Int32Array.from(mask),
    answer: ids.length - 1,
    label: 0,
  }));
