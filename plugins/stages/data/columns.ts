/** Which of the columns that a spec may name are those of labelled texts, and which of prompts. */
import {
  type CellSplit,
  type ClassColumns,
  type CompletionColumns,
  UserFault,
} from '../../../src/api.ts';
import type { SplitName } from '../../../src/data/load-split.ts';

type Name = keyof CellSplit['columns'];

/** The forms that columns may take: those that a form needs, and those that it may have. */
const FORMS: readonly { readonly needs: readonly Name[]; readonly may: readonly Name[] }[] = [
  { needs: ['prompt', 'answer'], may: [] },
  { needs: ['messages'], may: [] },
  { needs: ['instruction', 'output'], may: ['input'] },
  { needs: ['text', 'label'], may: ['text_pair'] },
];

/** The columns of a completion task, for hints. */
export const COMPLETION_FORMS =
  'columns: { prompt: …, answer: … }, { messages: … } or { instruction: …, input: …, output: … }';

/**
 * Returns the columns that are read. Throws `UserFault` if the spec names columns of two forms, or
 * not all columns of one.
 */
export function resolvedColumns(
  columns: CellSplit['columns'],
  name: SplitName,
): ClassColumns | CompletionColumns {
  const path = ['data', name, 'columns'];
  const written = (Object.keys(columns) as Name[]).filter((key) => columns[key] !== undefined);
  const form = FORMS.find(({ needs: [lead] }) => lead !== undefined && written.includes(lead));
  if (form === undefined) throw new Error('columns have defaults, so that they have a form');
  const { needs, may } = form;
  const odd = written.find((key) => !needs.includes(key) && !may.includes(key));
  if (odd !== undefined)
    throw new UserFault(
      `data.${name}.columns has ${needs[0] ?? ''} and ${odd}, which do not belong together`,
      `Labelled texts have columns: { text: …, label: … }, prompts and answers ${COMPLETION_FORMS}.`,
      [...path, odd],
    );
  const missing = needs.find((key) => !written.includes(key));
  if (missing !== undefined)
    throw new UserFault(
      `data.${name}.columns has ${needs[0] ?? ''} without ${missing}`,
      `Name the column of the ${missing} too: columns.${missing}.`,
      path,
    );
  const named = [...needs, ...may].filter((key) => written.includes(key));
  return Object.fromEntries(named.map((key) => [key, columns[key]])) as
    ClassColumns | CompletionColumns;
}
