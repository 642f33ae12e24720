import { JOINT, type Poisoning, type Problem, problemOf } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { knownCounts } from '../../../src/data/known-counts.ts';
import { locateModel } from '../../../src/data/model-folder.ts';
import { totalRows } from '../../../src/poisoning/dose.ts';
import type { OpenedAttack } from '../../../src/science/training/attack-training.ts';
import { totalSteps } from '../../../src/science/training/batches.ts';
import { type CheckOptions, checkTraining } from '../../../src/science/training/check.ts';
import type { TrainParams } from '../../../src/science/training/settings.ts';
import {
  bf16Fault,
  paddingFault,
  probeOne,
  quantizeFault,
  visibleGpus,
} from '../../../src/tensor/backend.ts';
import { assetOf } from '../shared/files.ts';
import { loadAdapter, loadArchitecture } from '../shared/trained-model.ts';
import { loadAttack, loadDefence } from './attack.ts';
import { adapterFault, otherClasses, type Params, type Preflight, trainingOf } from './params.ts';
import { unreachedWarnings, unreadProblems } from './unread.ts';

/**
 * Returns what is wrong with a training. A fault of its model, attack, defence or base is returned
 * alone, since the other checks would need the faulty part.
 */
export async function preflight(context: Preflight): Promise<readonly Problem[]> {
  const { params, upstream } = context;
  let model: CheckOptions['model'], architecture: CheckOptions['architecture'];
  try {
    const found = await locateModel(assetOf(context, 'model'));
    model = { ...found, init: params.init ?? 'pretrained' };
    architecture = await loadArchitecture(context, params.architecture, model.path);
  } catch (error) {
    return [problemOf(error, ['model', 'source'])];
  }
  let attack: OpenedAttack | null, defence: OpenedAttack | null;
  try {
    attack = await loadAttack(context);
  } catch (error) {
    return [problemOf(error, ['poisoning', 'attack'])];
  }
  try {
    defence = await loadDefence(context);
  } catch (error) {
    return [problemOf(error, ['defence', 'defence'])];
  }
  const misfit =
    attack?.changes === 'weights' ? adapterFault(attack.name, params.adapter.type) : null;
  if (misfit !== null) return [misfit];
  const { type, ...adapterParams } = params.adapter;
  const initFrom = context.assets['adapter']?.path;
  const based = upstream?.['base'] !== undefined;
  if (initFrom !== undefined && based) return [BASED_ON_FOLDER];
  const training = trainingOf(params);
  const misfitOfBase = based ? await chainFault(context) : null;
  if (misfitOfBase !== null) return [misfitOfBase];
  const problems = await checkTraining({
    model,
    architecture,
    head: params.head,
    headGiven: context.assets['head'] !== undefined,
    classes: params.classes ?? null,
    maxLength: training === null ? null : longestLength(training, params.watch),
    adapter: {
      implementation: await loadAdapter(context, type),
      params: adapterParams,
      ...defined({ initFrom }),
    },
    ...defined({ attack: attack ?? undefined, weights: params.weights }),
    based,
  });
  problems.push(...(await heldWeightsFaults(context)));
  const changer = attack ?? defence; // never both
  if (training !== null)
    problems.push(
      ...keptFaults(training),
      ...classFaults(params, training),
      ...(await machineFaults(context, training)),
      ...(changer === null ? [] : lossFaults(context, training, changer)),
      ...(training.gradient_checkpointing === true
        ? torchOnlyFaults(context, 'train', 'gradient_checkpointing')
        : []),
      ...(training.loss === undefined
        ? []
        : torchOnlyFaults(context, 'train', 'loss', 'train.loss: dpo')),
      ...(await deviceFaults(context, training, changer)),
    );
  const poisoning = upstream?.['data']?.params['poisoning'] as Poisoning | undefined;
  // In a spec that composes attacks, parameters are one level deeper.
  const placed = problems.map((problem) =>
    attack !== null && poisoning?.attack.includes(JOINT) && problem.path[0] === 'poisoning'
      ? { ...problem, path: ['poisoning', 'steps', attack.name, ...problem.path.slice(1)] }
      : problem,
  );
  if (training === null) return placed;
  return [
    ...placed,
    ...(await unreachedProblems(context, training)),
    ...(await unreadProblems(context, training)),
  ];
}

/**
 * Returns the fault of rows with other classes than those of the previous training. Null if the
 * classes are the same, or if those of either are not known.
 */
async function chainFault(context: Preflight): Promise<Problem | null> {
  /** Returns the classes of the rows of a training with these inputs; null if not known. */
  const findClasses = async (train: Preflight['upstream']): Promise<readonly string[] | null> => {
    const set = train?.['data'];
    const data = set?.params['poisoning'] === undefined ? set : set.upstream?.['data'];
    if (data?.params['split'] === undefined) return null; // a defence filters the rows
    return (await knownCounts(context, data))?.classes ?? null;
  };
  const ours = await findClasses(context.upstream),
    theirs = await findClasses(context.upstream?.['base']?.upstream?.['model']?.upstream);
  return ours === null || theirs === null ? null : otherClasses(theirs, ours);
}

/**
 * Returns the faults of a loss that an attack or a defence brings: one if the backend torch does
 * not compute it, and one if rows are packed.
 */
function lossFaults(
  { backend }: Preflight,
  { packing }: TrainParams,
  { changes, kind, name, implementation }: OpenedAttack,
): Problem[] {
  const faults: Problem[] = [];
  if (changes !== 'loss') return faults;
  if (backend === 'torch' && implementation.torch === undefined)
    faults.push({
      path: kind === 'defence' ? ['defence', 'defence'] : ['poisoning', 'attack'],
      message: `"${name}" computes a part of the training, which the backend torch does not`,
      hint: 'Run it on another backend: --backend tensorflow.',
    });
  if (packing === true)
    faults.push({
      path: ['train', 'packing'],
      message: `train.packing is true, and "${name}" has a loss of its own, of rows apart`,
      hint: 'Leave out train.packing. For a base alone, write base: { train: { packing: false } }.',
    });
  return faults;
}

/** Returns a fault if the backend is not torch, for a setting that only torch has. */
function torchOnlyFaults(
  { backend }: Preflight,
  section: string,
  field: string,
  setting = `${section}.${field}`,
): Problem[] {
  if (backend === 'torch') return [];
  const message = `${setting} needs the backend torch, and this is ${backend}`;
  const hint = `Leave it out, or run it on PyTorch: --backend torch.`;
  return [{ path: [section, field], message, hint }];
}

/**
 * Returns the fault of `train.devices` or `train.fsdp`, if there is one. Too few GPUs are a fault
 * of this machine, handled as in `machineFaults`.
 */
async function deviceFaults(
  context: Preflight,
  { devices = 1, loss, fsdp = false }: TrainParams,
  changer: OpenedAttack | null,
): Promise<Problem[]> {
  const fault = (field: 'devices' | 'fsdp', message: string, hint: string): Problem[] => [
    { path: ['train', field], message, hint },
  ];
  if (devices === 1 && !fsdp) return [];
  if (devices === 1)
    return fault(
      'fsdp',
      'train.fsdp divides a model among devices, and train.devices is 1',
      'Leave out train.fsdp, or raise train.devices.',
    );
  const elsewhere = torchOnlyFaults(context, 'train', 'devices');
  if (elsewhere.length > 0) return elsewhere;
  if (changer?.changes === 'loss' || loss !== undefined)
    return fault(
      'devices',
      `${loss === undefined ? `"${changer?.name}"` : `train.loss: ${loss}`} trains on a loss of ` +
        'its own, which one device computes',
      'Leave out train.devices. For a base alone, write base: { train: { devices: 1 } }.',
    );
  if (fsdp && (context.params.adapter.type !== 'full' || changer !== null))
    return fault(
      'fsdp',
      'train.fsdp divides what full fine-tuning trains, and here ' +
        (changer === null
          ? `an adapter is trained: ${context.params.adapter.type}`
          : `"${changer.name}" trains something else`),
      'Write it where it is full: adapter: [{ type: full, train: { fsdp: true } }, …].',
    );
  const gpus = (await probeOne('torch')).gpu ? visibleGpus(process.env).length : 0;
  if (gpus === 0 || gpus >= devices || context.runsHere === false) return [];
  return fault(
    'devices',
    `train.devices is ${devices}, and this machine shows ${gpus} ${gpus === 1 ? 'GPU' : 'GPUs'}`,
    'Lower train.devices, or run it where there are as many GPUs.',
  ).map((problem) => (context.runsHere === undefined ? { ...problem, warning: true } : problem));
}

/** Returns a fault if the weights are to be held quantised or in bfloat16, and can't be. */
async function heldWeightsFaults(context: Preflight): Promise<Problem[]> {
  const { params } = context;
  if (params.weights === undefined) return [];
  const field = params.weights.quantize === undefined ? 'dtype' : 'quantize';
  const elsewhere = torchOnlyFaults(context, 'model', field);
  if (elsewhere.length > 0) return elsewhere;
  const fault =
    params.init === 'random'
      ? {
          message: `model.${field} is of a checkpoint's weights, and model.init is random`,
          hint: `Leave out model.${field}, or model.init.`,
        }
      : field === 'quantize'
        ? await quantizeFault()
        : null;
  return fault === null ? [] : [{ path: ['model', field], ...fault }];
}

/** Returns the faults of settings that need classes, if the rows have none. */
function classFaults({ head }: Params, training: TrainParams): Problem[] {
  const faults: Problem[] = [];
  if (head.type === 'classifier' || head.type === 'cloze') return faults;
  if ((training.class_weights ?? 'none') !== 'none')
    faults.push({
      path: ['train', 'class_weights'],
      message:
        `${head.type === 'regression' ? 'numbers' : 'answers'} have no classes that could be ` +
        'weighted',
      hint: 'Leave out train.class_weights.',
    });
  if ((training.evaluate_every ?? 0) > 0 && head.type === 'regression')
    faults.push({
      path: ['train', 'evaluate_every'],
      message: 'evaluations during training measure accuracy, which numbers do not have',
      hint: 'Leave out train.evaluate_every.',
    });
  return faults;
}

/**
 * Returns a fault if the training takes its products in bfloat16 and the backend does not offer
 * that, or if it packs rows and attention would pad them all to the length of the longest: short
 * rows would take many times the memory of the sequences that they fill.
 */
export async function backendFaults(
  backend: Preflight['backend'],
  { precision, packing, dropout }: TrainParams,
): Promise<(Problem & { readonly ofMachine?: true })[]> {
  const faults: (Problem & { readonly ofMachine?: true })[] = [];
  const add = (field: string, subject: string, fault: Awaited<ReturnType<typeof bf16Fault>>) => {
    if (fault !== null)
      faults.push({ ...fault, path: ['train', field], message: `${subject} ${fault.message}` });
  };
  if (precision === 'bf16')
    add('precision', 'the matrix products of train.precision: bf16', await bf16Fault(backend));
  if (packing === true)
    add(
      'packing',
      'train.packing puts many rows into a batch, and attention pads them to one length',
      await paddingFault(backend, dropout),
    );
  return faults;
}

/**
 * Returns `backendFaults` before anything runs. A fault of this machine is a warning if the stage
 * may run elsewhere, and left out if it does run elsewhere: `run` checks the machine that it is on.
 */
async function machineFaults(
  { backend, runsHere }: Preflight,
  training: TrainParams,
): Promise<Problem[]> {
  return (await backendFaults(backend, training)).flatMap(({ ofMachine = false, ...fault }) =>
    ofMachine && runsHere === false
      ? []
      : [ofMachine && runsHere === undefined ? { ...fault, warning: true as const } : fault],
  );
}

const BASED_ON_FOLDER: Problem = {
  path: ['adapter', 'init_from'],
  message:
    'the adapter in this folder was trained on another model than the base, and brings a head ' +
    "of its own beside the base's",
  hint: 'Leave out adapter.init_from, or base; base.adapter may have an init_from.',
};

/**
 * Returns the greatest length, and the path of the setting that it comes from: that of the training
 * or of the evaluations during it.
 */
function longestLength(
  { max_length: trained }: TrainParams,
  watch: Params['watch'],
): NonNullable<CheckOptions['maxLength']> {
  return watch !== undefined && watch.max_length > trained
    ? { value: watch.max_length, path: ['evaluate', 'max_length'] }
    : { value: trained, path: ['train', 'max_length'] };
}

/** Returns a fault if a step to keep is one that the training, by its `steps`, never reaches. */
function keptFaults({ steps, checkpoints }: TrainParams): Problem[] {
  if (steps === undefined || typeof checkpoints !== 'object') return [];
  const beyond = checkpoints.find((step) => step > steps);
  if (beyond === undefined) return [];
  const message = `train.checkpoints asks for step ${beyond}, but there are ${steps} steps`;
  return [{ path: ['train', 'checkpoints'], message, hint: 'Lower it, or train longer.' }];
}

/** Returns `unreachedWarnings` before anything runs; none if the number of steps is not known. */
async function unreachedProblems(context: Preflight, training: TrainParams): Promise<Problem[]> {
  const { warmup, evaluate_every: every = 0 } = training;
  const steps = warmup === 0 && every === 0 ? null : await stepsOf(context, training);
  // Only the stage `clean` has a parameter `share`.
  const onClean = context.upstream?.['data']?.params['share'] !== undefined;
  const warnings = steps === null ? [] : unreachedWarnings(training, steps, onClean);
  return warnings.map((warning) => ({ ...warning, warning: true }));
}

/**
 * Returns the number of steps of a training. Null if the rows decide on it, and they are packed,
 * filtered by a defence, or not counted.
 */
async function stepsOf(context: Preflight, training: TrainParams): Promise<number | null> {
  if (training.steps !== undefined) return training.steps;
  if (training.packing === true) return null; // the number depends on the lengths of rows
  const set = context.upstream?.['data'];
  const data = set?.params['poisoning'] === undefined ? undefined : set.upstream?.['data'];
  const counts = data === undefined ? null : await knownCounts(context, data);
  if (counts === null) return null;
  const { batch_size: batchSize, accumulate = 1 } = training;
  return totalSteps(training, { rows: totalRows(counts), batchSize, accumulate });
}
