/** A classification head from a folder: a PEFT adapter's, or a checkpoint's. */
import { join } from 'node:path';
import { UserFault } from '../../api.ts';
import { openCheckpoint, readJson } from '../io/checkpoint.ts';
import { isPeftFolder, readPeftHead } from '../io/peft.ts';
import { fileName, readParameters, resolveNames } from './base.ts';
import { within } from './family.ts';
import type { Architecture, HostTensor } from './types.ts';

/** A checkpoint's config.json, parsed. */
export const readConfig = (dir: string): Promise<unknown> => readJson(join(dir, 'config.json'));

/**
 * The head's parameters by canonical name. Throws UserFault where the folder has none that fits these classes and this
 * model's width; of a head that is pretrained (cloze) none is ever read, since it is the checkpoint's.
 */
export async function readHead(
  dir: string,
  {
    architecture,
    config,
    classes,
  }: { readonly architecture: Architecture; readonly config: unknown; readonly classes: number },
): Promise<Map<string, HostTensor>> {
  const specs = architecture
    .parameters(config)
    .filter(({ name }) => within(name, architecture.headModules));
  if (isPeftFolder(dir)) {
    const saved = await readPeftHead(dir, architecture, specs);
    return new Map(specs.map(({ name }) => [name, saved.get(name) ?? fail(dir, name, classes)]));
  }
  const checkpoint = await openCheckpoint(dir);
  const names = new Map<string, string>();
  for (const spec of specs) {
    const name = fileName(checkpoint, architecture, spec) ?? fail(dir, spec.name, classes);
    const { file, shape } = checkpoint.tensors.get(name)!;
    if (shape.length !== spec.shape.length || shape.some((x, i) => x !== spec.shape[i])) {
      throw new UserFault(
        `${file}: tensor "${name}" has shape [${shape.join(', ')}], [${spec.shape.join(', ')}] was expected`,
        shape[0] === spec.shape[0]
          ? 'It is the head of a model of another width.'
          : `It is the head for other classes: the data has ${classes}.`,
      );
    }
    names.set(spec.name, name);
  }
  return readParameters(checkpoint, names);
}

/**
 * Throws UserFault where a checkpoint with a classifier names the data's classes (id2label) in another order: each of its
 * logits would be read as another class's. Other names (LABEL_0, …) say nothing of the order.
 */
export async function checkLabelOrder(
  dir: string,
  {
    architecture,
    config,
    classes,
  }: {
    readonly architecture: Architecture;
    readonly config: unknown;
    readonly classes: readonly string[];
  },
): Promise<void> {
  const specs = architecture
    .parameters(config)
    .filter(({ name }) => within(name, architecture.headModules));
  if (specs.length === 0 || isPeftFolder(dir)) return;
  const checkpoint = await openCheckpoint(dir),
    names = resolveNames(checkpoint, architecture, specs);
  if (specs.some(({ name }) => !names.has(name))) return; // it has no classifier, or one for other classes
  const labels = (checkpoint.config as { readonly id2label?: unknown }).id2label;
  if (typeof labels !== 'object' || labels === null) return;
  const held = classes.map((_, id) => String((labels as Record<string, unknown>)[id])),
    plain = (list: readonly string[]): string[] => list.map((name) => name.toLowerCase());
  const [theirs, ours] = [plain(held), plain(classes)];
  if (theirs.every((name, id) => name === ours[id]) || ours.some((name) => !theirs.includes(name)))
    return;
  throw new UserFault(
    `${join(dir, 'config.json')}: the classifier's classes are ${held.join(', ')} in this order, the data's ${classes.join(', ')}`,
    `Write data.classes: [${held.map((name) => classes[ours.indexOf(name.toLowerCase())]).join(', ')}], so that a label id means the same to both.`,
  );
}

/** The head that an adapter's folder brings along; undefined where it holds none that fits, and one for other classes counts as none, as in a checkpoint. */
export async function readAdapterHead(
  dir: string,
  { architecture, config }: { readonly architecture: Architecture; readonly config: unknown },
): Promise<Map<string, HostTensor> | undefined> {
  const specs = architecture
    .parameters(config)
    .filter(({ name }) => within(name, architecture.headModules));
  if (specs.length === 0 || !isPeftFolder(dir)) return undefined;
  const saved = await readPeftHead(dir, architecture, specs, 'fitting');
  return specs.every(({ name }) => saved.has(name)) ? saved : undefined;
}

function fail(dir: string, name: string, classes: number): never {
  throw new UserFault(
    `${dir} holds no "${name}" for ${classes} classes`,
    'Name a PEFT folder saved with modules_to_save, or the checkpoint of a classifier.',
  );
}
