/** Reads a classification head from a PEFT adapter's folder or from a checkpoint. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { UserFault } from '../../api.ts';
import { named } from '../../base/lookup.ts';
import { isRecord } from '../../base/untrusted/json.ts';
import { fileName, readParameters, resolveNames } from './base.ts';
import { openCheckpoint, readJson } from './io/checkpoint.ts';
import { isPeftFolder, readPeftHead } from './io/peft-files.ts';
import { checkShape } from './io/stored.ts';
import { within } from './modules.ts';
import type { Network } from './network.ts';
import type { Architecture, HostTensor, ParameterSpec } from './types.ts';

const CONFIG = 'config.json';

export const readConfig = (dir: string): Promise<unknown> => readJson(join(dir, CONFIG));

/** Returns the parameters of `headModules`; none for a pretrained head. */
const headSpecs = (architecture: Architecture, config: unknown): ParameterSpec[] =>
  architecture.parameters(config).filter(({ name }) => within(name, architecture.headModules));

/**
 * Reads the parameters of `headModules`, by canonical name. The map is empty for a pretrained head
 * (cloze), which has none. Throws UserFault where the folder has no head for this number of classes
 * and this width.
 */
export async function readHead(
  dir: string,
  { architecture, config, classes }: Pick<Network, 'architecture' | 'config' | 'classes'>,
): Promise<Map<string, HostTensor>> {
  const specs = headSpecs(architecture, config);
  if (isPeftFolder(dir)) {
    const saved = await readPeftHead(dir, architecture, specs);
    return new Map(
      specs.map(({ name }) => [name, saved.get(name) ?? throwNoHead(dir, name, classes)]),
    );
  }
  const checkpoint = await openCheckpoint(dir);
  const names = new Map<string, string>();
  for (const spec of specs) {
    const name = fileName(checkpoint, architecture, spec) ?? throwNoHead(dir, spec.name, classes);
    const { file, shape } = named(checkpoint.tensors, name);
    const hint =
      shape[0] === spec.shape[0]
        ? 'It is the head of a model of another width.'
        : `It is the head for another number of classes: the data has ${classes}.`;
    checkShape(file, name, shape, spec.shape, hint);
    names.set(spec.name, name);
  }
  return readParameters(checkpoint, names, specs);
}

/**
 * Throws UserFault where a classifier's id2label names the data's classes in another order, so that
 * its logits would be taken for those of other classes. Upper and lower case count as the same.
 * Does not throw where the order is not known: if id2label lacks one of the data's classes, or if a
 * PEFT folder has no config.json (PEFT writes none, `dosimeter export` does). Nor does it throw if
 * the checkpoint has no classifier, or one for another number of classes.
 */
export async function checkLabelOrder(
  dir: string,
  architecture: Architecture,
  config: unknown,
  classes: readonly string[],
): Promise<void> {
  const specs = headSpecs(architecture, config);
  if (specs.length === 0) return;
  let read: unknown;
  if (isPeftFolder(dir)) read = existsSync(join(dir, CONFIG)) ? await readConfig(dir) : null;
  else {
    const checkpoint = await openCheckpoint(dir),
      names = resolveNames(checkpoint, architecture, specs);
    // The checkpoint has no classifier, or one for another number of classes.
    if (specs.some(({ name }) => !names.has(name))) return;
    read = checkpoint.config;
  }
  const labels = isRecord(read) ? read['id2label'] : undefined;
  if (!isRecord(labels) && !Array.isArray(labels)) return;
  const held = classes.map((_, id) => String((labels as ArrayLike<unknown>)[id])),
    plain = (list: readonly string[]): string[] => list.map((name) => name.toLowerCase());
  const [theirs, ours] = [plain(held), plain(classes)];
  if (theirs.every((name, id) => name === ours[id]) || ours.some((name) => !theirs.includes(name)))
    return;
  const inTheirOrder = theirs.map((name) => classes[ours.indexOf(name)]);
  throw new UserFault(
    `${join(dir, CONFIG)}: the classifier's classes are ${held.join(', ')} in this order, ` +
      `the data's ${classes.join(', ')}`,
    `Write data.classes: [${inTheirOrder.join(', ')}], so that a label id means the same to both.`,
  );
}

/**
 * Reads the parameters of `headModules` from a PEFT folder. Returns undefined if the architecture
 * has none, `dir` is no PEFT folder, or it holds no head for this number of classes.
 */
export async function readAdapterHead(
  dir: string,
  { architecture, config }: Pick<Network, 'architecture' | 'config'>,
): Promise<Map<string, HostTensor> | undefined> {
  const specs = headSpecs(architecture, config);
  if (specs.length === 0 || !isPeftFolder(dir)) return undefined;
  const saved = await readPeftHead(dir, architecture, specs, 'fitting');
  return specs.every(({ name }) => saved.has(name)) ? saved : undefined;
}

/** Throws the UserFault for a folder without `name`, a head's parameter for `classes` classes. */
function throwNoHead(dir: string, name: string, classes: number): never {
  throw new UserFault(
    `${dir} has no "${name}" for ${classes} classes`,
    'Name a PEFT folder that was saved with modules_to_save, or the checkpoint of a classifier.',
  );
}
