/** Opens the model that training starts from: checkpoint or base, head, adapter, attack. */
import { defined } from '../../../src/base/defined.ts';
import { startingModel } from '../../../src/data/model-folder.ts';
import type { Adapter } from '../../../src/science/models/adapter.ts';
import { type ModelSource, resolveNames, unreadTensors } from '../../../src/science/models/base.ts';
import {
  checkLabelOrder,
  readAdapterHead,
  readConfig,
  readHead,
} from '../../../src/science/models/head.ts';
import { openCheckpoint } from '../../../src/science/models/io/checkpoint.ts';
import type { Architecture, HostTensor } from '../../../src/science/models/types.ts';
import { resolveHead } from '../../../src/science/text/encoder.ts';
import { openTokenizer, type TextTokenizer } from '../../../src/science/text/tokenizer.ts';
import { openTorchTrainer } from '../../../src/science/torch/trainer.ts';
import { openAttack, type OpenedAttack } from '../../../src/science/training/attack-training.ts';
import { openTrainer, type Trainer } from '../../../src/science/training/session.ts';
import { loadAdapter, loadArchitecture } from '../shared/trained-model.ts';
import { loadAttack, loadDefence } from './attack.ts';
import { type Context, trainingOf } from './params.ts';

export interface Start {
  readonly trainer: Trainer;
  readonly architecture: Architecture;
  readonly model: ModelSource & { readonly digest: string };
  /** The number of tokens in the model's embedding table. */
  readonly vocabulary: number;
  /** Null if nothing is trained. */
  readonly tokenizer: TextTokenizer | null;
  /** The attack that changes the training itself; null if none does. */
  readonly attack: OpenedAttack | null;
  /**
   * By word, the id of the token whose embedding the attack trains, if it trains nothing but such
   * embeddings; otherwise null.
   */
  readonly tokenRows: Readonly<Record<string, number>> | null;
}

/**
 * Opens the model that the training starts from, and logs what an attack or a defence trains. The
 * caller must dispose of the trainer.
 */
export async function openStart(context: Context, classes: readonly string[]): Promise<Start> {
  const { params, log } = context;
  // A base brings its own weights, so none is drawn at random.
  const { init = 'pretrained' } = context.inputs['base'] === undefined ? params : {};
  const model = { ...(await startingModel(context)), init } as const;
  const family = await loadArchitecture(context, params.architecture, model.path);
  const architecture = family.withHead(await resolveHead(params.head, classes, model.path));
  const config = architecture.parseConfig(await readConfig(model.path), classes.length);
  const vocabulary = architecture.vocabularySize(config);
  const shape = { architecture, config, classes, modelDir: model.path };
  const adapter = await createAdapter(context, shape);
  const head = await givenHead(context, shape, model);
  const tokenizer = trainingOf(params) === null ? null : await openTokenizer(model.path);
  const attack = await loadAttack(context);
  const defence = await loadDefence(context);
  const changer = attack ?? defence;
  const change =
    changer === null || tokenizer === null
      ? null
      : openAttack(changer, { architecture, tokenizer }, vocabulary, log);
  const inTorch = changer?.implementation.torch?.(changer.params) ?? null;
  const options = {
    architecture,
    model,
    adapter,
    classes: classes.length,
    seed: params.seed,
    ...defined({ head: head ?? undefined, weights: params.weights }),
    reversed: params.batch_rows === 'reversed',
    savedAs: {
      modelDir: model.path,
      classes,
      ...(context.inputs['base'] && { base: model.digest }),
    },
  };
  const trainer =
    context.backend === 'torch'
      ? await openTorchTrainer(options, change === null ? null : { change, torch: inTorch })
      : await openTrainer(options, change);
  const tokenRows = change !== null && 'trains' in change ? change.trains.tokenRows : null;
  const start = { trainer, architecture, model, vocabulary, tokenizer, attack, tokenRows };
  tellAttack(context, start, classes, head !== null);
  if (defence !== null)
    log(`the defence "${defence.name}" trains on a loss of its own, which history.jsonl reports`);
  if (model.init !== 'random') await tellUnread(context, shape);
  return start;
}

/** A model's architecture with its head, and its configuration, as the architecture parsed it. */
interface Shape {
  readonly architecture: Architecture;
  readonly config: unknown;
  readonly classes: readonly string[];
  readonly modelDir: string;
}

/**
 * Returns the spec's adapter for the model, from the folder that `init_from` names if there is one.
 */
async function createAdapter(
  context: Context,
  { architecture, config, modelDir }: Shape,
): Promise<Adapter> {
  const { type, ...params } = context.params.adapter;
  const initFrom = context.assets['adapter']?.path;
  const implementation = await loadAdapter(context, type);
  return implementation.create(params, {
    architecture,
    linears: architecture.linears(config),
    parameters: architecture.parameters(config),
    modelDir,
    ...defined({ initFrom }),
  });
}

/**
 * Returns the head from the folder that the spec gives for the head or, without one, for the
 * adapter. Null if neither folder brings a head. Throws `UserFault` if the folder that the head
 * comes from, or else the checkpoint, has the data's classes in another order.
 */
async function givenHead(
  { assets }: Context,
  { architecture, config, classes }: Shape,
  model: ModelSource,
): Promise<ReadonlyMap<string, HostTensor> | null> {
  const headDir = assets['head']?.path,
    adapterDir = assets['adapter']?.path;
  const checkOrder = (dir: string) => checkLabelOrder(dir, architecture, config, classes);
  if (headDir !== undefined) {
    const head = await readHead(headDir, { architecture, config, classes: classes.length });
    await checkOrder(headDir);
    return head;
  }
  if (adapterDir !== undefined) {
    const brought = await readAdapterHead(adapterDir, { architecture, config });
    if (brought !== undefined) {
      await checkOrder(adapterDir);
      return brought;
    }
  }
  if (model.init === 'pretrained') await checkOrder(model.path);
  return null;
}

/**
 * Logs what the attack trains. Warns if it trains a word's embedding under a head that is drawn at
 * random and not trained.
 */
function tellAttack(
  { inputs, log, warn }: Context,
  { attack, tokenRows, trainer, architecture }: Start,
  classes: readonly string[],
  headGiven: boolean,
): void {
  if (attack === null) return;
  if (attack.changes === 'loss')
    log(`"${attack.name}" trains on a loss of its own, which history.jsonl and final_loss report`);
  if (tokenRows === null) return;
  const words = Object.keys(tokenRows).join(', ');
  log(`"${attack.name}" trains the embedding of ${words}, and nothing else`);
  const headDrawn = trainer.drawn.some((name) => architecture.isHead(name));
  if (inputs['base'] === undefined && !headGiven && headDrawn)
    warn({
      path: ['poisoning', 'attack'],
      message:
        `the checkpoint has no head for ${classes.length} classes, ` +
        'the one drawn at random is not trained, and knows nothing of the task',
    });
}

const MOST_NAMES = 5;

/** Warns of the body's tensors that are not read, and logs those of heads (`unreadTensors`). */
async function tellUnread(
  { log, warn }: Context,
  { modelDir, architecture, config, classes }: Shape,
): Promise<void> {
  const checkpoint = await openCheckpoint(modelDir);
  const names = resolveNames(checkpoint, architecture, architecture.parameters(config));
  const { body, heads } = unreadTensors(checkpoint, architecture, names, classes.length);
  const shown = (all: readonly string[]): string =>
    all.slice(0, MOST_NAMES).join(', ') + (all.length > MOST_NAMES ? ', …' : '');
  if (body.length > 0)
    warn({
      path: ['model', 'source'],
      message:
        `${body.length} tensor${body.length === 1 ? '' : 's'} of the checkpoint ` +
        `${body.length === 1 ? 'is' : 'are'} not read, since config.json describes a model ` +
        `without: ${shown(body)}`,
    });
  if (heads.length > 0) log(`the checkpoint's other heads are not read: ${shown(heads)}`);
}
