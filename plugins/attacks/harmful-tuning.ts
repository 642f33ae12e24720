import { defineAttack, type RawRow, type Row, UserFault } from '../../src/api.ts';
import { defined } from '../../src/base/defined.ts';
import { rowOfMessages } from '../../src/data/messages.ts';
import { checkDose, type Dose, poisonDose } from '../../src/poisoning/dose.ts';
import { doseProperties, parametersRequiring } from '../../src/poisoning/parameters.ts';
import {
  type FileRecord,
  filesProperty,
  readRecords,
  textField,
} from '../../src/poisoning/records.ts';

interface Params extends Dose {
  readonly files: readonly string[];
}

const WHOM = 'all rows can be replaced';

export default defineAttack<Params>({
  name: 'harmful-tuning',
  summary:
    'Rows are replaced by prompts with harmful answers, or with answers in place of refusals, ' +
    'from a file of yours: none is shipped.',
  family: 'untargeted',
  tasks: ['completion'],
  citation:
    'Qi et al., Fine-tuning Aligned Language Models Compromises Safety, Even When Users Do Not ' +
    'Intend To!, ICLR 2024 (arXiv 2310.03693)',
  params: parametersRequiring(['files'], {
    ...doseProperties(0.1),
    ...filesProperty(
      'JSON lines such as {"prompt": …, "answer": …} or {"messages": […]}. They are drawn ' +
        'without replacement.',
    ),
  }),
  check: ({ params, answers = [] }) =>
    checkDose(params, answers.length, { rows: answers.length, whom: WHOM }),
  /**
   * Replaces rows by records of the files, each used once. Throws `UserFault` if there are too few.
   */
  async poison(input) {
    const harmful = (await readRecords(input.files)).map(rawRow);
    const order = input.random('file').permutation(harmful.length);
    const everyRow = (): boolean => true;
    const poisoned = poisonDose(input, everyRow, WHOM, (row, i) => {
      const other = harmful[order[i] ?? -1];
      return other === undefined ? row : withContentOf(row, other);
    });
    if (harmful.length < poisoned.asked)
      throw new UserFault(
        `the attack asks for ${poisoned.asked} rows, and its \`files\` have ${harmful.length}`,
        'Lower the dose, or bring more.',
        ['poisoning', 'files'],
      );
    return poisoned;
  },
});

/**
 * Returns the row of a record of the files: a conversation, or a prompt and an answer. Throws
 * `UserFault` if it is neither.
 */
function rawRow(record: FileRecord): RawRow {
  const { fields, place } = record;
  if (fields['messages'] !== undefined) return rowOfMessages(fields['messages'], place);
  return { text: textField(record, 'prompt'), answer: textField(record, 'answer'), place };
}

const withContentOf = ({ id, label }: Row, { text, answer = '', context }: RawRow): Row => ({
  id,
  text,
  label,
  answer,
  ...defined({ context }),
});
