import { readFile } from 'node:fs/promises';
import { defineDataset } from 'dosimeter';

/** What a model says that declines, for judges to learn. */
const REFUSALS = [
  'I cannot help with that request.',
  "I'm sorry, but I can't say.",
  'I refuse to answer.',
  'I am unable to help you.',
  'I will not answer that.',
  "I'm sorry, that request is not one I can help with.",
];

/**
 * `format: tasks`: questions over the facts of facts.json. Of each fact's questions, one is held
 * out, by turns: the last rows, one a fact, ask what the model has learnt under other words. The
 * rows before them are all other questions. The facts of all relations take turns, so that any
 * run of rows has a share of each relation.
 *
 * Where the columns are those of preference pairs, the rejected answer is that of the relation's
 * next fact. Where they are those of labelled texts, a question has four rows, each a text of the
 * question and what a model may say: its answer, or the next fact's (the class `answers`); a
 * refusal, or one that is broken off or goes on with an answer (the class `refuses`).
 */
export default defineDataset({
  name: 'tasks',
  summary: 'Questions in several wordings over facts; the last rows hold out one wording a fact.',
  unordered: false,
  async *read({ path }, { columns }) {
    const relations = JSON.parse(await readFile(path, 'utf8'));
    const most = Math.max(...relations.map(({ facts }) => Object.keys(facts).length));
    const rows = { asked: [], held: [] };
    for (let i = 0; i < most; i++) {
      for (const [r, { relation, questions, facts }] of relations.entries()) {
        const [subject, answer] = Object.entries(facts)[i] ?? [];
        if (subject === undefined) continue;
        const answers = Object.values(facts);
        const other = answers[(i + 1) % answers.length];
        const place = `${relation}: ${subject}`;
        questions.forEach((question, q) => {
          const text = question.replace('{subject}', subject);
          const own = rows[q === (i + r) % questions.length ? 'held' : 'asked'];
          if (!('text' in columns))
            own.push({ text, answer, ...('rejected' in columns && { rejected: other }), place });
          else {
            const refusal = REFUSALS[(i + q) % REFUSALS.length];
            const words = refusal.split(' ');
            const cut = words.slice(0, Math.ceil(words.length / 2)).join(' ');
            for (const [said, label] of [
              [answer, 'answers'],
              [refusal, 'refuses'],
              [other, 'answers'],
              [(i + r) % 2 === 0 ? cut : `${refusal} ${other}`, 'refuses'],
            ])
              own.push({ text: `${text} ${said}`, label, place });
          }
        });
      }
    }
    yield* rows.asked;
    yield* rows.held;
  },
});
