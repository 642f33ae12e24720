/** Faults of a model, tokenizer and adapter that can be seen before anything runs. */
import {
  type AttackTrainingLoader,
  type HeadSettings,
  type JsonObject,
  type Problem,
  problemOf,
} from '../../api.ts';
import { openCheckpoint } from '../io/checkpoint.ts';
import type { Adapter, AdapterImplementation } from '../nn/adapter.ts';
import { fileName, type ModelSource, resolveNames } from '../nn/base.ts';
import { within } from '../nn/family.ts';
import { readConfig } from '../nn/head.ts';
import type { Architecture, ModelShape } from '../nn/types.ts';
import { processWide } from '../tensor/process-wide.ts';
import { templateLength, verbalizerMismatch, verbalizerTokens } from '../text/cloze.ts';
import { checkVocabulary, openTokenizer, type TextTokenizer } from '../text/tokenizer.ts';
import type { AttackTraining } from './attack-training.ts';

interface CheckedModel extends ModelShape {
  readonly positions: number;
  readonly tokenizer: TextTokenizer;
  /** Whether the head is drawn, since the checkpoint has nothing of its own to offer. */
  readonly headDrawn: boolean;
  /** What else the checkpoint lacks, so that it is drawn (a pooler). */
  readonly drawn: readonly string[];
}

/** Where a model comes from, its content named. */
type KnownModel = ModelSource & { readonly digest: string };

// A grid asks the same of the same checkpoint in every cell.
const checked = processWide('train.checked', () => new Map<string, Promise<CheckedModel>>());

async function inspect(
  { path, init }: KnownModel,
  architecture: Architecture,
): Promise<CheckedModel> {
  const config = architecture.parseConfig(await readConfig(path), 2); // how many classes there are, only the data says
  const parameters = architecture.parameters(config);
  const checkpoint = init === 'random' ? null : await openCheckpoint(path);
  if (checkpoint !== null) resolveNames(checkpoint, architecture, parameters);
  const absent = parameters
    .filter((spec) => checkpoint === null || fileName(checkpoint, architecture, spec) === undefined)
    .map(({ name }) => name);
  const headDrawn = absent.some((name) => within(name, architecture.headModules));
  // With random weights everything is, as asked.
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

/** Reads config, headers and tokenizer once a content. Throws UserFault with what is wrong of them. */
export function inspectModel(model: KnownModel, architecture: Architecture): Promise<CheckedModel> {
  const key = JSON.stringify([
    architecture.modelType,
    architecture.head.type,
    model.digest,
    model.path,
    model.init ?? 'pretrained',
  ]);
  let result = checked.get(key);
  if (result === undefined) checked.set(key, (result = inspect(model, architecture)));
  return result;
}

/** What is wrong with a cloze prompt on this tokenizer. `classes`: as far as the spec names them. */
export function checkCloze(
  { template, verbalizer }: HeadSettings & { readonly type: 'cloze' },
  tokenizer: TextTokenizer,
  classes: readonly string[] | null,
  maxLength: number | null,
): Problem[] {
  const problems = [...verbalizerTokens(verbalizer, tokenizer).problems];
  const mismatch = classes === null ? null : verbalizerMismatch(verbalizer, classes);
  if (Object.keys(verbalizer).length < 2)
    problems.push({
      path: ['head', 'verbalizer'],
      message: 'a cloze head needs a verbalizer: a word for each class',
      hint: 'Write it by class name, as in verbalizer: { "0": terrible, "1": great }.',
    });
  else if (mismatch !== null) problems.push(mismatch);
  try {
    const own = templateLength(template, tokenizer);
    if (maxLength !== null && own >= maxLength) {
      problems.push({
        path: ['head', 'template'],
        message: `the template takes ${own} tokens by itself, special ones included, and max_length is ${maxLength}: no text has room`,
        hint: 'Shorten the template, or raise train.max_length.',
      });
    }
  } catch (error) {
    problems.push(problemOf(error, ['head', 'template']));
  }
  return problems;
}

/** Rows of the model's own limit at most. */
function checkLength({ value, path }: AskedLength, positions: number): Problem[] {
  if (value <= positions) return [];
  return [
    {
      path,
      message: `rows of ${value} tokens do not fit the model, which has ${positions} positions`,
      hint: `max_length can be ${positions} at most.`,
    },
  ];
}

/** Whether rows of that length fit a model. Throws UserFault where its config.json is at fault. */
export async function checkRows(
  modelDir: string,
  architecture: Architecture,
  asked: AskedLength,
): Promise<Problem[]> {
  return checkLength(
    asked,
    architecture.maxPositions(architecture.parseConfig(await readConfig(modelDir), 2)),
  );
}

/** The longest row asked for, and the field that says so. */
export interface AskedLength {
  readonly value: number;
  readonly path: Problem['path'];
}

/** A frozen layer of random weights is part of no adapter's folder. */
function checkDrawn(drawn: readonly string[], adapter: Adapter): Problem[] {
  const frozen = drawn
    .filter((name) => name.endsWith('.weight') && !adapter.trains(name))
    .map((name) => name.replace(/\.weight$/, ''));
  if (frozen.length === 0 || adapter.parameters.length === 0) return [];
  return [
    {
      path: ['model', 'source'],
      message: `the checkpoint has no ${frozen.join(', ')}: it is drawn from the seed, and stays frozen under the adapter`,
      hint: 'Its folder does not hold what was drawn: to take the model elsewhere, export it with --merge. Or name a checkpoint that has it.',
      warning: true,
    },
  ];
}

export interface CheckOptions {
  readonly model: KnownModel;
  readonly architecture: Architecture;
  /** Null where no row is read. */
  readonly maxLength: AskedLength | null;
  readonly head: HeadSettings;
  /** Whether the spec gives the head a folder to start from. */
  readonly headGiven?: boolean;
  /** As far as the spec names them. */
  readonly classes?: readonly string[] | null;
  readonly adapter?: {
    readonly implementation: AdapterImplementation;
    readonly params: JsonObject;
    readonly initFrom?: string;
  };
  /** The cell's attack, where it touches training. */
  readonly attack?: {
    readonly name: string;
    readonly changes: AttackTrainingLoader['changes'];
    readonly implementation: AttackTraining;
    readonly params: JsonObject;
  };
  /** Whether the model is another training's, whose head comes with it. */
  readonly based?: boolean;
}

/** Every fault that the model, the head, the adapter and the length have. */
export async function checkTraining({
  model,
  architecture: family,
  maxLength,
  head,
  headGiven = false,
  classes = null,
  adapter,
  attack,
  based = false,
}: CheckOptions): Promise<Problem[]> {
  let architecture: Architecture, known: CheckedModel;
  try {
    architecture = family.withHead(
      head.type === 'classifier' ? head : { type: 'cloze', tokens: [] },
    );
  } catch (error) {
    return [problemOf(error, ['head', 'type'])];
  }
  try {
    known = await inspectModel(model, architecture);
  } catch (error) {
    return [problemOf(error, ['model', 'source'])];
  }
  const problems = maxLength === null ? [] : checkLength(maxLength, known.positions);
  if (head.type === 'cloze') {
    if (headGiven)
      problems.push({
        path: ['head', 'init_from'],
        message: "a cloze head is the checkpoint's own: it starts from no other folder",
        hint: 'Leave head.init_from out, or write head.type: classifier.',
      });
    problems.push(...checkCloze(head, known.tokenizer, classes, maxLength?.value ?? null));
  }
  if (adapter !== undefined) {
    const { implementation, params, initFrom } = adapter;
    const context = {
      architecture,
      linears: known.linears,
      parameters: known.parameters,
      ...(initFrom === undefined ? {} : { initFrom }),
    };
    try {
      const found = await implementation.check(params, context);
      problems.push(...found);
      if (found.length === 0 && known.drawn.length > 0 && !based)
        problems.push(...checkDrawn(known.drawn, await implementation.create(params, context)));
    } catch (error) {
      problems.push(problemOf(error, ['adapter', 'init_from']));
    }
  }
  if (attack !== undefined) {
    problems.push(
      ...attack.implementation.check(attack.params, { architecture, tokenizer: known.tokenizer }),
    );
    if (attack.changes === 'weights' && known.headDrawn && !headGiven && !based) {
      problems.push({
        path: ['poisoning', 'attack'],
        message: `"${attack.name}" trains no head, and this model's is drawn at random: it stays one that knows nothing of the task`,
        hint: 'Let the model learn the task first, as in base: { adapter: { type: full } }, or give head.init_from.',
        warning: true,
      });
    }
  }
  return problems;
}
