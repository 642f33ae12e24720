import type { PreflightContext, Problem } from '../../../src/api.ts';
import { modelOf } from '../../../src/data/model-folder.ts';
import { checkRows } from '../../../src/science/train/check.ts';
import { assetOf } from '../../../src/stages/files.ts';
import { loadArchitecture } from '../../../src/stages/trained-model.ts';
import type { Params } from './index.ts';

/** Checks `max_length` if it is set for this stage. The train stage checks an inherited one. */
export async function preflight(context: PreflightContext<Params>): Promise<readonly Problem[]> {
  const { architecture: name, max_length: value, inherited } = context.params;
  if (inherited) return [];
  const architecture = await loadArchitecture(context, name);
  try {
    const { path } = await modelOf(assetOf(context, 'model'));
    return await checkRows(path, architecture, { value, path: ['evaluate', 'max_length'] });
  } catch (error) {
    // The train stage reports what is wrong with the model.
    if (error instanceof Error && error.name === 'UserFault') return [];
    throw error;
  }
}
