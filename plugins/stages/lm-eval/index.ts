import { defineStage, UserFault } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { judgedModel } from '../shared/defended.ts';
import { type ModelNames, modelNames, modelUses, onlyCell, workOf } from '../shared/definition.ts';

export type Params = ModelNames & {
  readonly tasks: readonly string[];
  /** How many solved examples precede each question. Null for the number that the task states. */
  readonly num_fewshot: number | null;
  readonly limit: number | null;
  readonly chat_template: boolean;
  readonly batch_size: number;
};

export default defineStage<Params>({
  name: 'lm-eval',
  summary:
    'Evaluates the trained model on tasks of lm-evaluation-harness, ' +
    "in PyTorch's process whatever the backend.",
  compute: true,
  torch: true,
  scope: 'cell',
  define(cells, { plugin }) {
    const cell = onlyCell(cells);
    const { lm_eval: asked, batch_size } = cell.evaluate;
    if (asked === undefined)
      throw new UserFault(
        'the stage lm-eval has no tasks',
        'Name them in evaluate.lm_eval.tasks, or leave lm-eval out of stages.',
        ['stages'],
      );
    if (cell.head.type !== 'causal-lm')
      throw new UserFault(
        `lm-eval asks a model for the log probability of texts, and head.type is ${cell.head.type}`,
        'Leave lm-eval out of stages, or write head: { type: causal-lm } for prompts and answers.',
        ['head', 'type'],
      );
    const { tasks, num_fewshot = null, limit = null, chat_template = false, include } = asked;
    const judged = judgedModel(cell, plugin);
    return {
      params: {
        ...modelNames(cell),
        adapter: judged.adapter,
        tasks,
        num_fewshot,
        limit,
        chat_template,
        batch_size,
      },
      inputs: { model: judged.model, ...judged.start },
      assets: defined({ model: cell.model.source, include }),
      uses: modelUses(cell, [judged.adapter]),
      work: workOf(1, cell.model, asked),
    };
  },
  python: () => ['torch', 'lm_eval'],
  run: async (context) => (await import('./run.ts')).run(context),
});
