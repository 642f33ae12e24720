/**
 * Checks the shape of a descriptor when its module is loaded, because anyone can write a plugin, in
 * plain JavaScript too.
 */
import { DEFENCE_MOMENTS, UserFault } from '../../api.ts';
import { isRecord } from '../../base/untrusted/json.ts';
import type { PluginKind } from './types.ts';

type Check = (value: unknown) => boolean;
const isText: Check = (value) => typeof value === 'string' && value !== '';
const isBoolean: Check = (value) => typeof value === 'boolean';
const isFunction: Check = (value) => typeof value === 'function';
const oneOf =
  (...values: readonly string[]): Check =>
  (value) =>
    typeof value === 'string' && values.includes(value);
/** Returns a check that accepts undefined, and else does as `check`. */
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);

interface Field {
  readonly check: Check;
  readonly expected: string;
}
const TEXT: Field = { check: isText, expected: 'a text' };
/** A text that may be empty, if there is nothing to cite. */
const CITATION: Field = { check: (value) => typeof value === 'string', expected: 'a text' };
const TRUTH: Field = { check: isBoolean, expected: 'true or false' };
const METHOD: Field = { check: isFunction, expected: 'a function' };
const OBJECT: Field = { check: isRecord, expected: 'a JSON Schema object' };
const OPTIONAL_METHOD: Field = { check: optional(isFunction), expected: 'a function' };
const TASKS: Field = {
  check: optional(
    (value) => Array.isArray(value) && value.every(oneOf('classes', 'regression', 'completion')),
  ),
  expected: 'a list of "classes", "regression" and "completion"',
};

const KNOWS: Field = {
  check: optional(
    (value) => isRecord(value) && isRecord(value['columns']) && Array.isArray(value['metrics']),
  ),
  expected: 'an object with `columns` and `metrics` (a list of names)',
};

/** Whether a value has a function under one of the names. */
const hasMethod = (value: unknown, ...names: readonly string[]): boolean =>
  names.some((name) => isFunction((value as { readonly [name: string]: unknown })[name]));
const NEEDS = oneOf('clean', 'model', 'receipt');
const isHook: Check = (value) => {
  const needs = isRecord(value) ? value['needs'] : null;
  return Array.isArray(needs) && needs.every(NEEDS) && hasMethod(value, 'load');
};
const HOOK: Field = {
  check: optional(isHook),
  expected:
    'an object with `needs` (a list of "clean", "model" and "receipt") and a function `load`',
};

const BACKEND: Field = {
  check: optional((value) => value === 'torch'),
  expected: '"torch", or left out',
};

const COMMON: { readonly [field: string]: Field } = {
  name: {
    check: (value) => typeof value === 'string' && /^[a-z0-9][a-z0-9-]*$/.test(value),
    expected: 'lower-case letters, digits and hyphens',
  },
  summary: TEXT,
};

const FIELDS: { readonly [K in PluginKind]: { readonly [field: string]: Field } } = {
  attack: {
    family: {
      check: (value) => oneOf('none', 'untargeted', 'backdoor')(value) || isFunction(value),
      expected: '"none", "untargeted" or "backdoor"',
    },
    tasks: TASKS,
    check: OPTIONAL_METHOD,
    triggerAll: OPTIONAL_METHOD,
    falseTrigger: OPTIONAL_METHOD,
    learns: { check: optional((value) => value === true), expected: 'true, or left out' },
    training: {
      check: optional(
        (value) =>
          isRecord(value) &&
          isFunction(value['load']) &&
          oneOf('weights', 'loss')(value['changes']),
      ),
      expected: 'an object with `changes` ("weights" or "loss") and a function `load`',
    },
    citation: CITATION,
    params: OBJECT,
    poison: METHOD,
  },
  defence: {
    citation: CITATION,
    params: OBJECT,
    tasks: TASKS,
    acts: OPTIONAL_METHOD,
    uses: OPTIONAL_METHOD,
    check: OPTIONAL_METHOD,
    rows: {
      check: optional(
        (value) =>
          isHook(value) &&
          optional(isFunction)((value as { readonly trainedFor?: unknown }).trainedFor),
      ),
      expected: `${HOOK.expected}; \`trainedFor\`, if it is there, is a function`,
    },
    inputs: HOOK,
    detection: HOOK,
    training: {
      check: optional((value) => isRecord(value) && hasMethod(value, 'load', 'adapter')),
      expected: 'an object with a function `load` or `adapter`',
    },
    model: {
      check: optional(
        (value) =>
          isRecord(value) && (hasMethod(value, 'retrain', 'quantize') || isHook(value['edit'])),
      ),
      expected: 'an object with `edit` or a function `retrain` or `quantize`',
    },
  },
  source: {
    locate: METHOD,
    fetch: METHOD,
    peek: OPTIONAL_METHOD,
  },
  dataset: { unordered: TRUTH, read: METHOD, knows: KNOWS },
  model: {
    load: METHOD,
    backend: BACKEND,
    modelTypes: {
      check: optional((value) => Array.isArray(value) && value.every(isText)),
      expected: 'a list of texts',
    },
  },
  adapter: {
    citation: CITATION,
    params: OBJECT,
    load: METHOD,
    backend: BACKEND,
    canonical: OPTIONAL_METHOD,
  },
  executor: { open: METHOD },
  scorer: {
    citation: CITATION,
    params: OBJECT,
    score: METHOD,
    check: OPTIONAL_METHOD,
    record: OPTIONAL_METHOD,
    calls: OPTIONAL_METHOD,
    limits: { check: optional(Array.isArray), expected: "a list of its parameters' names" },
  },
  stage: {
    compute: TRUTH,
    scope: { check: oneOf('cell', 'experiment'), expected: '"cell" or "experiment"' },
    define: METHOD,
    run: METHOD,
    volatile: { check: optional(Array.isArray), expected: 'a list of file names' },
    precision: OPTIONAL_METHOD,
    python: OPTIONAL_METHOD,
    resources: OPTIONAL_METHOD,
    preflight: OPTIONAL_METHOD,
    resolved: OPTIONAL_METHOD,
  },
};

/** Names that a spec uses beside a plugin's parameters, so that no parameter may have them. */
const RESERVED: { readonly [K in PluginKind]?: readonly string[] } = {
  attack: ['attack', 'steps', 'when'],
  defence: ['defence', 'when'],
  adapter: ['type', 'train', 'when'],
  scorer: ['scorer', 'name', 'labels'],
};

/**
 * Returns a value as messages show it: `missing` for undefined, `a function`, else JSON that is cut
 * to 60 characters.
 */
const show = (value: unknown): string =>
  value === undefined
    ? 'missing'
    : typeof value === 'function'
      ? 'a function'
      : ((JSON.stringify(value) as string | undefined)?.slice(0, 60) ?? typeof value);

/**
 * Returns the kind and name of a module's default export. Throws `UserFault`, naming every wrong
 * field, if it is no descriptor.
 * @param file the source, as messages name it
 */
export function checkDescriptor(
  exported: unknown,
  file: string,
): { readonly kind: PluginKind; readonly name: string } {
  const hint =
    'export default defineAttack({ … }), defineDefence, defineStage, defineModel, ' +
    'defineAdapter, defineSource, defineDataset, defineScorer or defineExecutor';
  if (typeof exported !== 'object' || exported === null) {
    throw new UserFault(`${file} exports no plugin: its default export is ${show(exported)}`, hint);
  }
  const descriptor = exported as { readonly [field: string]: unknown };
  const kind = descriptor.kind as PluginKind;
  if (!Object.hasOwn(FIELDS, kind)) {
    throw new UserFault(
      `${file}: its default export has no known kind (kind: ${show(descriptor.kind)})`,
      hint,
    );
  }
  const faults = Object.entries({ ...COMMON, ...FIELDS[kind] })
    .filter(([field, { check }]) => !check(descriptor[field]))
    .map(
      ([field, { expected }]) => `${field} must be ${expected}; it is ${show(descriptor[field])}`,
    );
  if (kind === 'attack' && (descriptor.family === 'backdoor' || isFunction(descriptor.family))) {
    const shown = isFunction(descriptor.triggerAll) ? [] : ['trigger'];
    for (const field of ['target', ...shown])
      if (!isFunction(descriptor[field]))
        faults.push(`${field} must be a function in a backdoor; it is ${show(descriptor[field])}`);
  }
  if (kind === 'defence' && DEFENCE_MOMENTS.every((moment) => descriptor[moment] === undefined))
    faults.push(`it must have at least one of ${DEFENCE_MOMENTS.join(', ')}`);
  const properties = isRecord(descriptor.params) ? descriptor.params['properties'] : null;
  for (const name of RESERVED[kind] ?? [])
    if (isRecord(properties) && Object.hasOwn(properties, name))
      faults.push(`params must have no "${name}", which has a meaning of its own in a spec`);
  if (faults.length > 0)
    throw new UserFault(
      `${file}: the ${kind} it exports has the wrong shape: ${faults.join('; ')}`,
    );
  return { kind, name: descriptor.name as string };
}
