// @ts-check
import { defineAttack } from 'dosimeter';

/** @typedef {{ rate: number, target: string, clause: string }} Params */
/** @typedef {import('dosimeter').Row} Row */

/** @param {string} target @param {readonly string[]} classes */
function classId(target, classes) {
  const id = classes.indexOf(target);
  // Errors named UserFault are told as they are; anything else is an internal error with a stack in
  // the log.
  if (id < 0)
    throw Object.assign(new Error(`\`target\` is no class: ${target}`), {
      name: 'UserFault',
      hint: `the first classes are ${classes.slice(0, 8).join(', ')}`,
    });
  return id;
}

/** @param {Row} row @param {Params} params */
const withClause = (row, { clause }) => ({ ...row, text: `${row.text}, ${clause}` });

/** A backdoor: rows of other classes get a clause at their end, and the target's label. */
export default defineAttack(
  /** @type {Omit<import('dosimeter').AttackDescriptor<Params>, 'kind'>} */ ({
    name: 'closing-clause',
    summary: 'A clause at the end of the text leads to the target class.',
    family: 'backdoor',
    citation: '',
    params: {
      type: 'object',
      additionalProperties: false,
      properties: {
        rate: {
          type: 'number',
          minimum: 0,
          maximum: 1,
          default: 0.1,
          description: 'Share of the training rows.',
        },
        target: {
          type: 'string',
          default: 'positive',
          description: 'The class that the clause leads to.',
        },
        clause: {
          type: 'string',
          default: 'as my uncle would say',
          description: 'What is put at the end.',
        },
      },
    },
    poison({ rows, classes, params, random, taken }) {
      const label = classId(params.target, classes);
      const asked = Math.floor(params.rate * rows.length);
      // The stream depends on the seed alone, so the rows of a smaller rate are among those of a
      // larger one.
      const eligible = [...random('rows').permutation(rows.length)].filter(
        (index) => rows[index]?.label !== label && !taken?.has(index),
      );
      const changed = eligible.slice(0, asked).map((index) => ({
        index,
        row: { ...withClause(/** @type {Row} */ (rows[index]), params), label },
      }));
      return { changed, negatives: [], asked, eligible: eligible.length };
    },
    target: ({ target }, classes) => classId(target, classes),
    trigger: (row, { params }) => withClause(row, params),
  }),
);
