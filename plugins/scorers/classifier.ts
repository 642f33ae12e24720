import { join } from 'node:path';
import {
  defineScorer,
  problemOf,
  type ScoredOutput,
  type ScorerVerdict,
  UserFault,
} from '../../src/api.ts';
import { defined } from '../../src/base/defined.ts';
import { isRecord, readJsonFile } from '../../src/base/untrusted/json.ts';
import { integerFrom, nonEmptyText, parametersRequiring } from '../../src/poisoning/parameters.ts';
import type { JudgeAnswer } from '../../src/science/torch/model.ts';
import { fillTemplate, placesIn, templateFaults } from './shared/template.ts';

interface Params {
  readonly template: string;
  readonly pair?: string;
  readonly positive?: string;
  readonly negative: string;
  readonly threshold?: number;
  readonly max_length?: number;
  readonly batch_size: number;
  readonly dtype: string;
}

/** The value of `template` that asks for the judge's own chat template. */
const CHAT = 'chat';

export default defineScorer<Params>({
  name: 'classifier',
  summary:
    'A local model judges, in PyTorch’s process whichever backend trained: a sequence classifier ' +
    'of transformers, a reward model with one output, or a causal language model by its next ' +
    'token. An output that it can’t read whole is undecided.',
  citation: '',
  params: parametersRequiring(['model', 'template'], {
    model: {
      type: 'string',
      format: 'source',
      description:
        'The judge: a folder with config.json, safetensors and a tokenizer, such as hf:OWNER/NAME.',
    },
    template: nonEmptyText({
      description:
        'What it reads, with {prompt}, {output}, {answer} and {target}; or `chat`: the prompt ' +
        'and the output as two turns of its own chat template.',
    }),
    pair: nonEmptyText({
      description: 'The second text, for a classifier of pairs; it has the same places.',
    }),
    positive: nonEmptyText({
      description:
        'The label of the class that counts, as config.json names it; of a causal language model ' +
        'the answer that counts. Not for a reward model.',
    }),
    negative: nonEmptyText({
      default: 'no',
      description: 'The answer of a causal language model that does not count.',
    }),
    threshold: {
      type: 'number',
      description:
        'An output counts if the probability of `positive`, or the output of a reward model, is ' +
        'above it. Default: the likeliest class decides, and of two answers the likelier one; ' +
        '0.5 where each class has a probability of its own.',
    },
    max_length: integerFrom(1, {
      description: 'The most tokens that it reads. Default: as many as it can.',
    }),
    batch_size: integerFrom(1, { default: 8, description: 'Outputs read at once.' }),
    dtype: {
      type: 'string',
      enum: ['float32', 'bf16'],
      default: 'float32',
      description: 'The form of its weights.',
    },
  }),
  undecided: true,
  torch: true,
  check({ params: { template, pair = '' }, target }) {
    if (template !== CHAT) return templateFaults('template', template + pair, target);
    return pair === ''
      ? []
      : [{ path: ['pair'], message: 'a chat template makes one text, and `pair` is a second' }];
  },
  reads: ({ template, pair = '' }) => placesIn(template + pair),
  async checkSources(params, { model }) {
    try {
      if (model !== undefined) await checkConfig(params, model.path);
      return [];
    } catch (error) {
      return [problemOf(error, ['model'])];
    }
  },
  async score(outputs, params, { sources, log, signal }) {
    const { askJudge } = await import('../../src/science/torch/model.ts');
    const path = sources?.['model']?.path;
    if (path === undefined) throw new Error('the judge was not handed its model');
    await checkConfig(params, path);
    const { positive, negative, max_length: longest = null, batch_size, dtype } = params;
    const found = await askJudge(
      {
        checkpoint: path,
        dtype,
        items: outputs.map((output) => judgeItem(params, output)),
        answers: [positive ?? 'yes', negative],
        max_length: longest,
        batch_size,
      },
      signal,
    );
    const decide = verdictFunction(params, found);
    const unread = found.logits.filter((logits) => logits === null).length;
    if (unread > 0)
      log(`${unread} of ${outputs.length} texts have more than ${longest ?? found.longest} tokens`);
    return found.logits.map((logits) =>
      logits === null ? { hit: null, said: 'too long to be read whole' } : decide(logits),
    );
  },
});

/**
 * Returns what the judge reads for one output: two turns of a chat, or one text and, with `pair`, a
 * second.
 */
const judgeItem = ({ template, pair }: Params, output: ScoredOutput) =>
  template === CHAT
    ? {
        messages: [
          { role: 'user', content: output.prompt },
          { role: 'assistant', content: output.output },
        ],
      }
    : {
        text: fillTemplate(template, output),
        ...defined({ pair: pair === undefined ? undefined : fillTemplate(pair, output) }),
      };

/**
 * Throws `UserFault` if the model in `folder` is no judge by its config.json, or if the parameters
 * do not fit it.
 */
async function checkConfig(params: Params, folder: string): Promise<void> {
  const config = await readJsonFile(join(folder, 'config.json'));
  const { architectures, id2label, num_labels: count } = isRecord(config) ? config : {};
  const names = Array.isArray(architectures) ? architectures.join(' ') : '';
  if (names.includes('ForSequenceClassification')) {
    // If config.json has neither `id2label` nor `num_labels`, `positive` is checked only once the
    // judge has told its classes.
    const labels = isRecord(id2label)
      ? Object.values(id2label).map(String)
      : typeof count === 'number' && Array.from({ length: count }, (_, i) => `LABEL_${i}`);
    if (labels) positiveIndex(params, labels);
  } else if (!/ForCausalLM|LMHeadModel/.test(names))
    throw new UserFault(
      `${folder} is no judge: its config.json names the architecture "${names}"`,
      'A judge is a sequence classifier (…ForSequenceClassification) or a causal language model ' +
        '(…ForCausalLM).',
    );
  else if (params.pair !== undefined)
    throw new UserFault(
      'the judge is a causal language model, which reads one text, and `pair` is a second',
      'Write both into `template`.',
    );
}

/**
 * Returns the index of the class that counts. It is 0 for a reward model, which has one output, and
 * for a causal language model, where `positive` is the first of the two answers. Throws `UserFault`
 * if `positive` is no class of the judge, or if a reward model comes without `threshold` or with
 * `positive`.
 * @param labels the judge's classes; empty for a causal language model
 */
function positiveIndex({ positive, threshold }: Params, labels: readonly string[]): number {
  if (labels.length === 1) {
    if (threshold === undefined || positive !== undefined)
      throw new UserFault(
        'the judge has one output and no classes, as reward models have',
        'Write `threshold`, above which an output counts, and no `positive`.',
      );
    return 0;
  }
  const chosen = labels.length === 0 ? 0 : labels.indexOf(positive ?? '');
  if (chosen < 0)
    throw new UserFault(
      positive === undefined
        ? 'the scorer has no `positive`, the class that counts'
        : `the judge has no class ${JSON.stringify(positive)}`,
      `Its classes are ${labels.map((label) => JSON.stringify(label)).join(', ')}.`,
    );
  return chosen;
}

/**
 * Returns a function that turns the judge's logits for an output into a verdict. With `threshold`,
 * an output counts if the reward, or the probability of the class that counts, is above it. Without
 * `threshold`, it counts if this class is the likeliest, and a tie is undecided; if each class has
 * a probability of its own (`multi_label`), it counts if this class has more than 0.5.
 */
function verdictFunction(
  params: Params,
  { labels, multi_label }: Pick<JudgeAnswer, 'labels' | 'multi_label'>,
): (logits: readonly number[]) => ScorerVerdict {
  const chosen = positiveIndex(params, labels),
    { threshold } = params;
  if (labels.length === 1 && threshold !== undefined)
    return ([logit = NaN]) => ({ hit: logit > threshold, said: logit.toFixed(4) });
  if (multi_label)
    return (logits) => {
      const p = 1 / (1 + Math.exp(-(logits[chosen] ?? NaN)));
      return { hit: p > (threshold ?? 0.5), said: `p ${p.toFixed(4)}` };
    };
  return (logits) => {
    const largest = Math.max(...logits),
      weights = logits.map((logit) => Math.exp(logit - largest));
    const p = (weights[chosen] ?? 0) / weights.reduce((sum, weight) => sum + weight, 0);
    const likeliest = logits.flatMap((logit, i) => (logit === largest ? [i] : []));
    // If the chosen class and another one share the largest logit, as often happens in bf16, the
    // judge is undecided, unless there is a threshold.
    const isTie = likeliest.length > 1 && likeliest.includes(chosen);
    return {
      hit: threshold !== undefined ? p > threshold : isTie ? null : likeliest[0] === chosen,
      said: `p ${p.toFixed(4)}`,
    };
  };
}
