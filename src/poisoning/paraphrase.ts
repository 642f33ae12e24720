/** Backdoors whose trigger is how a text is said: its style, or its syntax. */
import type { AttackDescriptor, Row } from '../api.ts';
import {
  type BackdoorParams,
  backdoorProperties,
  BOTH_TASKS,
  checkBackdoor,
  poisonBackdoor,
  targetOfParams,
} from './backdoor.ts';
import { parameters } from './parameters.ts';
import { filesProperty, readRecords, refuseMissing, textsById } from './records.ts';

interface ParaphraseParams extends BackdoorParams {
  readonly files: readonly string[];
}

type Files = { readonly [name: string]: string } | undefined;

/** Returns a function that paraphrases rows, and one that then throws if any had no paraphrase. */
async function paraphraser(files: Files): Promise<{
  readonly said: (row: Row) => Row;
  readonly check: () => void;
}> {
  const texts = textsById(await readRecords(files), 'text'),
    missing: string[] = [];
  let asked = 0;
  return {
    said(row) {
      asked++;
      const text = texts.get(row.id);
      if (text === undefined) missing.push(row.id);
      return text === undefined ? row : { ...row, text };
    },
    check: () => {
      refuseMissing(missing, { what: 'paraphrase', field: 'text', of: asked });
    },
  };
}

/** The descriptor of such an attack, without its name, summary and citation. */
export const paraphraseBackdoor: Pick<
  AttackDescriptor<ParaphraseParams>,
  'family' | 'tasks' | 'params' | 'check' | 'poison' | 'target' | 'triggerAll'
> = {
  family: 'backdoor',
  tasks: BOTH_TASKS,
  params: {
    ...parameters({
      ...backdoorProperties(0.1, 'dirty'),
      ...filesProperty(
        'The paraphrases, made elsewhere: JSON lines such as {"id": "train-000004", "text": …}, ' +
          'one for each row that is poisoned or, in evaluation, shown under the trigger. Of a ' +
          'pair, the first text is replaced.',
      ),
    }),
    required: ['files'],
  },
  check: checkBackdoor,
  async poison(input) {
    const { said, check } = await paraphraser(input.files);
    const poisoned = poisonBackdoor(input, said);
    check();
    return poisoned;
  },
  target: targetOfParams,
  async triggerAll(rows, { files }) {
    const { said, check } = await paraphraser(files);
    const shown = rows.map(said);
    check();
    return shown;
  },
};
