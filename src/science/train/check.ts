/** Faults of a model, tokenizer and adapter that can be seen before anything runs. */
import { problemOf, type JsonObject, type Problem } from '../../api.ts';
import type { AdapterImplementation } from '../nn/adapter.ts';
import { resolveNames } from '../nn/base.ts';
import type { Architecture, ModelShape } from '../nn/types.ts';
import { openCheckpoint } from '../io/checkpoint.ts';
import { processWide } from '../tensor/process-wide.ts';
import { checkVocabulary, openTokenizer } from '../text/tokenizer.ts';

interface CheckedModel extends ModelShape {
  readonly positions: number;
}

// A grid asks the same of the same checkpoint in every cell.
const checked = processWide('train.checked', () => new Map<string, Promise<CheckedModel>>());

async function inspect(dir: string, architecture: Architecture): Promise<CheckedModel> {
  const checkpoint = await openCheckpoint(dir);
  const config = architecture.parseConfig(checkpoint.config, 2); // how many classes there are, only the data says
  const parameters = architecture.parameters(config);
  resolveNames(checkpoint, architecture, parameters);
  checkVocabulary(await openTokenizer(dir), architecture.vocabularySize(config), dir);
  return { architecture, linears: architecture.linears(config), parameters, positions: architecture.maxPositions(config) };
}

/** Reads config, headers and tokenizer once a content. Throws UserFault with what is wrong of them. */
export function inspectModel(model: { readonly path: string; readonly digest: string }, architecture: Architecture): Promise<CheckedModel> {
  const key = JSON.stringify([architecture.modelType, model.digest, model.path]);
  let result = checked.get(key);
  if (result === undefined) checked.set(key, result = inspect(model.path, architecture));
  return result;
}

export interface CheckOptions {
  readonly model: { readonly path: string; readonly digest: string };
  readonly architecture: Architecture;
  /** The longest row asked for, and the field that says so; null where no row is read. */
  readonly maxLength: { readonly value: number; readonly path: Problem['path'] } | null;
  readonly adapter?: { readonly implementation: AdapterImplementation; readonly params: JsonObject; readonly initFrom?: string };
}

/** Every fault that the model, the adapter and the length have. */
export async function checkTraining({ model, architecture, maxLength, adapter }: CheckOptions): Promise<Problem[]> {
  let known: CheckedModel;
  try { known = await inspectModel(model, architecture); } catch (error) { return [problemOf(error, ['model', 'source'])]; }
  const problems: Problem[] = [];
  if (maxLength !== null && maxLength.value > known.positions) {
    problems.push({ path: maxLength.path, message: `rows of ${maxLength.value} tokens do not fit the model, which has ${known.positions} positions`, hint: `max_length can be ${known.positions} at most.` });
  }
  if (adapter !== undefined) {
    const { implementation, params, initFrom } = adapter;
    try {
      problems.push(...await implementation.check(params, { architecture, linears: known.linears, parameters: known.parameters, ...(initFrom === undefined ? {} : { initFrom }) }));
    } catch (error) { problems.push(problemOf(error, ['adapter', 'init_from'])); }
  }
  return problems;
}
