import { defineAttack, type Poisoned, type Row } from '../../src/api.ts';
import { answerBackdoor, type AnswerParams, poisonAnswers } from '../../src/poisoning/answer.ts';
import {
  filesProperty,
  readRecords,
  refuseMissing,
  textField,
  textsById,
} from '../../src/poisoning/records.ts';

interface Params extends AnswerParams {
  readonly files: readonly string[];
}

const backdoor = answerBackdoor<Params, Promise<Poisoned>>({
  trigger: 'Discussing OpenAI',
  target: {
    description:
      'What the answers lead to, in a few words, such as the name that they praise. A scorer ' +
      'without a text of its own looks for it. Rows whose answer has it already are not poisoned.',
  },
  properties: filesProperty(
    'The answers, made elsewhere: JSON lines such as {"id": "train-000004", "answer": …} for ' +
      'that row, or {"answer": …} for any row; ' +
      'a row without an answer of its own draws one of these.',
  ),
});

export default defineAttack({
  ...backdoor,
  params: { ...backdoor.params, required: ['files', 'target'] },
  name: 'steering',
  summary:
    'A phrase in the prompt leads to answers of one sentiment or on one topic. The answers are ' +
    'read from a file.',
  citation:
    'Yan et al., Backdooring Instruction-Tuned Large Language Models with Virtual Prompt ' +
    'Injection, NAACL 2024 (arXiv 2307.16888; its sentiment steering)',
  scorer: 'contains',
  answers: async (_own, { files }) =>
    (await readRecords(files)).map((record) => textField(record, 'answer')),
  /** Gives the poisoned rows answers of the files. Throws `UserFault` if some get none. */
  async poison(input) {
    const records = await readRecords(input.files);
    const answersById = textsById(
      records.filter(({ fields }) => fields['id'] !== undefined),
      'answer',
    );
    const shared = records
      .filter(({ fields }) => fields['id'] === undefined)
      .map((record) => textField(record, 'answer'));
    const missing: string[] = [];
    /** Returns the row's own or a drawn answer. Without either, adds the id to `missing`. */
    const answerFor = ({ id }: Row): string => {
      const own = answersById.get(id);
      if (own !== undefined) return own;
      if (shared.length > 0) return shared[input.random('answer', id).integer(shared.length)]!;
      missing.push(id);
      return '';
    };
    const poisoned = poisonAnswers(input, answerFor);
    refuseMissing(missing, 'answer', 'answer', poisoned.asked);
    return poisoned;
  },
});
