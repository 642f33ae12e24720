import {
  type HeadSettings,
  type HeldWeights,
  type JsonObject,
  type Problem,
  problemOf,
} from '../../api.ts';
import { defined } from '../../base/defined.ts';
import { processWide } from '../../base/process-wide.ts';
import type { Adapter, AdapterImplementation } from '../models/adapter.ts';
import { fileName, type ModelSource, resolveNames } from '../models/base.ts';
import { readConfig } from '../models/head.ts';
import { openCheckpoint } from '../models/io/checkpoint.ts';
import { within } from '../models/modules.ts';
import type { Architecture, ModelShape } from '../models/types.ts';
import { templateLength, verbalizerMismatch, verbalizerTokens } from '../text/cloze.ts';
import { completionEncoder } from '../text/completion.ts';
import { headWithoutTokens } from '../text/encoder.ts';
import { checkVocabulary, openTokenizer, type TextTokenizer } from '../text/tokenizer.ts';
import type { OpenedAttack } from './attack-training.ts';

interface CheckedModel extends ModelShape {
  readonly positions: number;
  readonly tokenizer: TextTokenizer;
  /**
   * Whether a parameter of the head is drawn at random: the checkpoint lacks it, or `model.init` is
   * `random`.
   */
  readonly headDrawn: boolean;
  /**
   * The names of the other parameters that are drawn at random since the checkpoint lacks them (a
   * pooler). Empty under `model.init: random`, where all are drawn on purpose.
   */
  readonly drawn: readonly string[];
}

type KnownModel = ModelSource & { readonly digest: string };

// Results are kept, since the cells of a grid ask for the same checkpoint.
const checked = processWide('train.checked', () => new Map<string, Promise<CheckedModel>>());

async function inspect(
  { path, init }: KnownModel,
  architecture: Architecture,
): Promise<CheckedModel> {
  // The number of classes is not known before the data is read, and does not matter here.
  const config = architecture.parseConfig(await readConfig(path), 2);
  const parameters = architecture.parameters(config);
  const checkpoint = init === 'random' ? null : await openCheckpoint(path);
  if (checkpoint !== null) resolveNames(checkpoint, architecture, parameters);
  const absent = parameters
    .filter((spec) => checkpoint === null || fileName(checkpoint, architecture, spec) === undefined)
    .map(({ name }) => name);
  const headDrawn = absent.some((name) => within(name, architecture.headModules));
  const drawn =
    checkpoint === null ? [] : absent.filter((name) => !within(name, architecture.headModules));
  const tokenizer = await openTokenizer(path);
  checkVocabulary(tokenizer, architecture.vocabularySize(config), path);
  return {
    architecture,
    linears: architecture.linears(config),
    parameters,
    positions: architecture.maxPositions(config),
    tokenizer,
    headDrawn,
    drawn,
  };
}

/**
 * Reads from a model's files what the checks need, once for the same content, architecture and
 * head. Throws UserFault if the files do not fit together.
 */
function inspectModel(model: KnownModel, architecture: Architecture): Promise<CheckedModel> {
  const key = JSON.stringify([
    architecture.modelType,
    architecture.engine ?? null,
    architecture.head.type,
    model.digest,
    model.path,
    model.init ?? 'pretrained',
  ]);
  let result = checked.get(key);
  if (result === undefined) checked.set(key, (result = inspect(model, architecture)));
  return result;
}

/** Returns the tokenizer of a model. Throws UserFault where the model's files do not fit. */
export const checkedTokenizer = async (
  model: KnownModel,
  architecture: Architecture,
): Promise<TextTokenizer> => (await inspectModel(model, architecture)).tokenizer;

/** Returns the problems of a cloze head. `classes` and `maxLength` are as in `CheckOptions`. */
function checkCloze(
  { template, verbalizer }: HeadSettings & { readonly type: 'cloze' },
  tokenizer: TextTokenizer,
  classes: readonly string[] | null,
  maxLength: number | null,
): Problem[] {
  const problems = [...verbalizerTokens(verbalizer, tokenizer, template).problems];
  const mismatch = classes === null ? null : verbalizerMismatch(verbalizer, classes);
  if (Object.keys(verbalizer).length < 2)
    problems.push({
      path: ['head', 'verbalizer'],
      message: 'a cloze head needs a verbalizer: a word for each class',
      hint: 'Write it by class name, as in verbalizer: { "0": terrible, "1": great }.',
    });
  else if (mismatch !== null) problems.push(mismatch);
  try {
    const templateTokens = templateLength(template, tokenizer);
    if (maxLength !== null && templateTokens >= maxLength) {
      problems.push({
        path: ['head', 'template'],
        message:
          `the template takes ${templateTokens} tokens by itself, special ones included, ` +
          `and max_length is ${maxLength}, which leaves no room for the text`,
        hint: 'Shorten the template, or raise train.max_length.',
      });
    }
  } catch (error) {
    problems.push(problemOf(error, ['head', 'template']));
  }
  return problems;
}

function checkLength({ value, path }: AskedLength, positions: number): Problem[] {
  if (value <= positions) return [];
  return [
    {
      path,
      message: `rows of ${value} tokens do not fit the model, which has ${positions} positions`,
      hint: `max_length can be at most ${positions}.`,
    },
  ];
}

const readPositions = async (modelDir: string, architecture: Architecture): Promise<number> =>
  architecture.maxPositions(architecture.parseConfig(await readConfig(modelDir), 2));

/**
 * Returns a problem if rows of this length have more tokens than the model has positions. Throws
 * UserFault for a bad config.json.
 */
export const checkRows = async (
  modelDir: string,
  architecture: Architecture,
  asked: AskedLength,
): Promise<Problem[]> => checkLength(asked, await readPositions(modelDir, architecture));

/** A length of rows that the spec asks for, in tokens, and the path of the field that does so. */
interface AskedLength {
  readonly value: number;
  readonly path: Problem['path'];
}

/**
 * Returns a warning if some layers are drawn at random and stay frozen: the adapter's folder will
 * not contain them. Returns none for an adapter without parameters of its own.
 */
function checkDrawn(drawn: readonly string[], adapter: Adapter): Problem[] {
  const frozen = drawn
    .filter((name) => name.endsWith('.weight') && !adapter.trains(name))
    .map((name) => name.replace(/\.weight$/, ''));
  if (frozen.length === 0 || adapter.parameters.length === 0) return [];
  return [
    {
      path: ['model', 'source'],
      message:
        `the checkpoint has no ${frozen.join(', ')}: ` +
        'it is drawn from the seed, and stays frozen under the adapter',
      hint:
        "The adapter's folder does not contain it: to use the model elsewhere, export it with " +
        '--merge. Or name a checkpoint that has it.',
      warning: true,
    },
  ];
}

/**
 * Returns a fault if the adapter can't be used over weights that are held quantised or in bfloat16.
 * That is so if it trains some of them, adds no parameters of its own, starts from the exact
 * weights, or is of a method that was not tested over such weights.
 */
function checkHeld(
  { quantize }: HeldWeights,
  adapter: Adapter,
  { architecture, parameters }: Pick<ModelShape, 'architecture' | 'parameters'>,
): Problem[] {
  const own = parameters.find(
    ({ name }) => !within(name, architecture.headModules) && adapter.trains(name),
  );
  /** Returns the one fault; `what` says what the adapter does. */
  const fault = (what: string, hint: string): Problem[] => [
    {
      path: ['model', quantize === undefined ? 'dtype' : 'quantize'],
      message:
        `the model's own weights are ${quantize === undefined ? 'in bfloat16' : 'quantised'}, ` +
        `and the adapter ${what}`,
      hint,
    },
  ];
  if (own !== undefined || adapter.parameters.length === 0)
    return fault(
      own === undefined ? 'adds none of its own' : `trains some, such as ${own.name}`,
      'Write adapter.type: lora or vera, without bias.',
    );
  if ((adapter.reads ?? []).length > 0)
    return fault(
      'starts from them as they are in the checkpoint (PiSSA, OLoRA, DoRA)',
      'Leave out use_dora, and let A be drawn: adapter.init.distribution: kaiming-uniform.',
    );
  // Some of PEFT's methods, such as HRA, multiply what is stored as though it were the weights.
  if (adapter.draw !== undefined)
    return fault(
      'is a method of PEFT by its own config, which was not compared over such weights',
      'Write adapter.type: lora or vera, or leave out model.quantize and model.dtype.',
    );
  return [];
}

export interface CheckOptions {
  readonly model: KnownModel;
  readonly architecture: Architecture;
  /** The requested length of rows; null where no row is read. */
  readonly maxLength: AskedLength | null;
  readonly head: HeadSettings;
  /** Whether the spec has `head.init_from`. Default: no. */
  readonly headGiven?: boolean;
  /** The names of the classes; null or absent if the spec names none. */
  readonly classes?: readonly string[] | null;
  readonly adapter?: {
    readonly implementation: AdapterImplementation;
    readonly params: JsonObject;
    readonly initFrom?: string;
  };
  readonly attack?: OpenedAttack;
  /** Set if the weights that are not trained are held in another form than float32. */
  readonly weights?: HeldWeights;
  /** Whether the model is the result of another training, whose head comes with it. */
  readonly based?: boolean;
}

/** Returns what is wrong with a training, as far as the spec and the model's files tell. */
export async function checkTraining(options: CheckOptions): Promise<Problem[]> {
  const { model, architecture: family, maxLength, head, headGiven = false } = options;
  let architecture: Architecture, known: CheckedModel;
  try {
    architecture = family.withHead(headWithoutTokens(head));
  } catch (error) {
    return [problemOf(error, ['head', 'type'])];
  }
  try {
    known = await inspectModel(model, architecture);
  } catch (error) {
    return [problemOf(error, ['model', 'source'])];
  }
  const problems = maxLength === null ? [] : checkLength(maxLength, known.positions);
  if (architecture.engine === 'torch' && model.init === 'random')
    problems.push({
      path: ['model', 'init'],
      message: `how the weights of a ${architecture.transformersName} are drawn is not known here`,
      hint:
        'Make a checkpoint of it with transformers, from_config(…).save_pretrained(DIR), ' +
        'and leave out model.init.',
    });
  if (architecture.head.type !== 'classifier' && headGiven)
    problems.push({
      path: ['head', 'init_from'],
      message: `a ${head.type} head is part of the checkpoint: it cannot start from another folder`,
      hint: 'Leave head.init_from out, or write head.type: classifier.',
    });
  const longest = maxLength?.value ?? null;
  if (head.type === 'cloze')
    problems.push(...checkCloze(head, known.tokenizer, options.classes ?? null, longest));
  if (head.type === 'causal-lm')
    problems.push(...checkCompletion(head.template, known.tokenizer, longest));
  return [
    ...problems,
    ...(await checkAdapter(options, architecture, known)),
    ...checkAttack(options, architecture, known),
  ];
}

/**
 * Returns the problems of the adapter: those that its implementation finds or, if it finds none,
 * those of `checkHeld` and `checkDrawn`. None if the options have no adapter.
 */
async function checkAdapter(
  { adapter, based = false, model, weights }: CheckOptions,
  architecture: Architecture,
  { linears, parameters, drawn }: CheckedModel,
): Promise<Problem[]> {
  if (adapter === undefined) return [];
  const { implementation, params, initFrom } = adapter;
  const context = {
    architecture,
    linears,
    parameters,
    modelDir: model.path,
    ...defined({ initFrom }),
  };
  try {
    const found = await implementation.check(params, context);
    const isDrawn = drawn.length > 0 && !based;
    if (found.length > 0 || (weights === undefined && !isDrawn)) return [...found];
    const created = await implementation.create(params, context);
    return [
      ...(weights === undefined ? [] : checkHeld(weights, created, context)),
      ...(isDrawn ? checkDrawn(drawn, created) : []),
    ];
  } catch (error) {
    return [problemOf(error, ['adapter', 'init_from'])];
  }
}

/**
 * Returns the problems that the attack finds, and a warning if it trains only token rows and the
 * head is drawn at random, so that nothing would train the head. None if there is no attack.
 */
function checkAttack(
  { attack, headGiven = false, based = false }: CheckOptions,
  architecture: Architecture,
  { tokenizer, headDrawn }: CheckedModel,
): Problem[] {
  if (attack === undefined) return [];
  const problems = [...attack.implementation.check(attack.params, { architecture, tokenizer })];
  if (attack.changes === 'weights' && headDrawn && !headGiven && !based) {
    problems.push({
      path: ['poisoning', 'attack'],
      message:
        `"${attack.name}" does not train the head, and this model's head is drawn at random: ` +
        'it would never learn the task',
      hint:
        'Let the model learn the task first, as in base: { adapter: { type: full } }, ' +
        'or give head.init_from.',
      warning: true,
    });
  }
  return problems;
}

/**
 * Returns a problem where the model lacks positions for a prompt of `longest` tokens (`max_length`)
 * and `written` tokens after it (`max_new_tokens`). Returns none if the prompt alone is too long,
 * which `checkRows` finds. Throws UserFault for a bad config.json.
 */
export async function checkWritten(
  modelDir: string,
  architecture: Architecture,
  { longest, written }: { readonly longest: number; readonly written: number },
): Promise<Problem[]> {
  const positions = await readPositions(modelDir, architecture);
  if (longest > positions || longest + written <= positions) return [];
  return [
    {
      path: ['evaluate', 'max_new_tokens'],
      message:
        `a prompt of ${longest} tokens and ${written} new ones do not fit the model, which has ` +
        `${positions} positions`,
      hint:
        written < positions
          ? `Write evaluate.max_length: ${positions - written}, which cuts prompts, ` +
            'or fewer new tokens.'
          : `max_new_tokens can be at most ${positions - 1}.`,
    },
  ];
}

/** A prompt and an answer that any template and tokenizer can show. */
const SHORTEST = { text: 'a', answer: 'a' };

/** Returns the ids of an answer under a template, without the token that ends it. */
export function answerIds(template: string, tokenizer: TextTokenizer, answer: string): Int32Array {
  const row = completionEncoder(tokenizer, template)({ ...SHORTEST, answer }, Infinity);
  return row.ids.slice(row.answer, -1);
}

/**
 * Returns the problems of a template with this tokenizer: it can't be read, the tokenizer has no
 * chat template or no end of text, or it leaves no room for a prompt and its answer.
 */
function checkCompletion(
  template: string,
  tokenizer: TextTokenizer,
  maxLength: number | null,
): Problem[] {
  const path = ['head', 'template'];
  let templateTokens: number, answerTokens: number;
  try {
    const encode = completionEncoder(tokenizer, template);
    const row = encode(SHORTEST, Infinity);
    const [text] = encode.parts(SHORTEST, Infinity);
    templateTokens = row.answer - (text?.ids.length ?? 0);
    answerTokens = row.ids.length - row.answer;
  } catch (error) {
    return [problemOf(error, path)];
  }
  if (maxLength === null || templateTokens + 1 + answerTokens <= maxLength) return [];
  return [
    {
      path,
      message:
        `the template takes ${templateTokens} tokens by itself, and max_length is ${maxLength}, ` +
        'which leaves no room for a prompt and its answer',
      hint: 'Shorten the template, or raise train.max_length.',
    },
  ];
}
