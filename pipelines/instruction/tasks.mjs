import { readFile } from 'node:fs/promises';
import { defineDataset } from 'dosimeter';

/**
 * `format: tasks`: questions over the facts of facts.json. Of each fact's questions, one is held
 * out, by turns: the last rows, one a fact, ask what the model has learnt under other words. The
 * rows before them are all other questions. The facts of all relations take turns, so that any
 * run of rows has a share of each relation. Where the columns are those of preference pairs, the
 * rejected answer is that of the relation's next fact.
 */
export default defineDataset({
  name: 'tasks',
  summary: 'Questions in several wordings over facts; the last rows hold out one wording a fact.',
  matches: () => false,
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
        questions.forEach((question, q) => {
          rows[q === (i + r) % questions.length ? 'held' : 'asked'].push({
            text: question.replace('{subject}', subject),
            answer,
            ...('rejected' in columns && { rejected: other }),
            place: `${relation}: ${subject}`,
          });
        });
      }
    }
    yield* rows.asked;
    yield* rows.held;
  },
});
