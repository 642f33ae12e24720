import type { AskedModel, DefenceContext, JsonObject } from '../../../src/api.ts';
import { randomStream } from '../../../src/base/random.ts';

/** Returns what a defender without clean rows is given, with the random streams of seed 1. */
export const contextOf = <Model = AskedModel>(
  params: JsonObject,
  more: Partial<DefenceContext<JsonObject, Model>> = {},
): DefenceContext<JsonObject, Model> => ({
  params,
  backend: 'cpu',
  classes: ['bad', 'good'],
  clean: [],
  assets: {},
  plugin: (kind, name) => {
    throw new Error(`no ${kind} ${name}`);
  },
  random: (purpose, name) => randomStream(1, purpose, name),
  log: () => undefined,
  warn: () => undefined,
  progress: () => undefined,
  signal: new AbortController().signal,
  ...more,
});
