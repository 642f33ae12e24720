/** The recursion over `define`: from goals to every stage they need, each once. */
import { closest } from 'fastest-levenshtein';
import type {
  AnyPlugin,
  Cell,
  Digest,
  Json,
  JsonObject,
  Problem,
  Resources,
  StageDefinition,
  StageDescriptor,
  UserFault,
} from '../api.ts';
import type { Diagnostic } from '../experiment/types.ts';
import { canonical } from './canonical.ts';
import { definitionFault, resourcesFault } from './definition.ts';
import { cellFingerprints } from './fingerprint.ts';
import { definitionKey } from './keys.ts';
import type { DefinitionKey } from './types.ts';

export type PluginKind = AnyPlugin['kind'];

/** What planning needs of a registry. */
export interface PlanRegistry {
  get(
    kind: PluginKind,
    name: string,
  ): { readonly descriptor: AnyPlugin; readonly code: Digest; readonly file?: string } | undefined;
  names(kind: PluginKind): readonly string[];
}

/** One distinct definition: a stage of the plan to be. */
export interface Draft {
  readonly index: number;
  readonly kind: string;
  readonly descriptor: StageDescriptor;
  readonly params: StageDefinition['params'];
  readonly assets: NonNullable<StageDefinition['assets']>;
  readonly uses: NonNullable<StageDefinition['uses']>;
  readonly key: DefinitionKey;
  readonly code: { readonly [plugin: string]: Digest };
  readonly inputs: { readonly [name: string]: Draft };
  readonly resources: Resources;
  readonly pack: string | null;
  /** Of the cell that it was first asked for: the section that its fields come from (`StageRequest.section`). */
  readonly section: string | null;
  /** As it was first asked for (`StageRequest.with`). */
  readonly with: JsonObject;
}

/** One distinct (kind, cell, with): many of them may share a draft. */
export interface Node {
  readonly kind: string;
  readonly fingerprint: string;
  readonly with: JsonObject;
  readonly draft: Draft;
  readonly children: readonly Node[];
}

export interface Graph {
  /** In order of creation: inputs before what reads them. */
  readonly drafts: readonly Draft[];
  node(kind: string, cell: Cell, request?: JsonObject, section?: string | null): Node | null;
  fingerprint(cell: Cell): string;
}

/** What a definition leaves out is one object for all: there may be a hundred thousand. */
const noWith: JsonObject = {},
  noAssets: Draft['assets'] = {},
  noUses: Draft['uses'] = [],
  oneCore: Resources = { cpu: 1 };

/** `attacks/badnets`: how a plugin is named in keys and in explanations. */
export const pluginPath = (kind: string, name: string): string => `${kind}s/${name}`;

/**
 * A graph that grows as nodes are asked for. Faults (unknown kinds, cycles, plugins that throw) go to `onFault`, with the
 * field of the cell then asked for that they concern, if they name one; a node that can't be made is null.
 */
export function createGraph(
  cells: readonly Cell[],
  goals: readonly string[],
  registry: PlanRegistry,
  onFault: (
    fault: Diagnostic,
    field?: { readonly path: Problem['path']; readonly section: string | null },
  ) => void,
): Graph {
  const fingerprint = cellFingerprints();
  const drafts = new Map<DefinitionKey, Draft>();
  const nodes = new Map<string, Node | null | 'open'>();
  const reported = new Set<string>();
  const trail: string[] = [];

  const fault = (
    code: string,
    message: string,
    hint?: string,
    path?: Problem['path'],
    section: string | null = null,
  ): null => {
    if (!reported.has(message)) {
      reported.add(message);
      onFault(
        { code, message, range: null, ...(hint === undefined ? {} : { hint }) },
        path && { path, section },
      );
    }
    return null;
  };

  const didYouMean = (kind: PluginKind, word: string): string => {
    const names = registry.names(kind);
    return names.length > 0
      ? `did you mean "${closest(word, [...names])}"? The ${kind}s are ${[...names].sort().join(', ')}.`
      : `no ${kind} plugin is there`;
  };

  const plugin = <D>(kind: PluginKind, name: string): D | undefined =>
    registry.get(kind, name)?.descriptor as D | undefined;

  const fileOf = (kind: string): string =>
    registry.get('stage', kind)?.file ?? `${pluginPath('plugins/stage', kind)}.ts`;

  const node = (
    kind: string,
    cell: Cell,
    request: JsonObject = noWith,
    section: string | null = null,
  ): Node | null => {
    const entry = registry.get('stage', kind);
    if (!entry) {
      const reader = trail.at(-1);
      return fault(
        'unknown-stage',
        reader
          ? `stage "${reader}" reads a stage of the kind "${kind}", which no plugin provides`
          : `no plugin provides the stage "${kind}"`,
        didYouMean('stage', kind),
      );
    }
    const descriptor = entry.descriptor as StageDescriptor;
    const whole = descriptor.scope === 'experiment';
    const cellName = whole ? '*' : fingerprint(cell);
    const name = `${kind} ${request === noWith ? '{}' : canonical(request)} ${cellName}`;
    const known = nodes.get(name);
    if (known === 'open')
      return fault(
        'stage-cycle',
        `stages read each other in a circle: ${[...trail.slice(trail.indexOf(kind)), kind].join(' → ')}`,
      );
    if (known !== undefined) return known;
    // A circle in which each turn changes the cell never meets itself: real chains are a few stages long.
    if (trail.length > 200)
      return fault(
        'stage-cycle',
        `stages read each other without end: … ${trail.slice(-4).join(' → ')} → ${kind}`,
      );
    nodes.set(name, 'open');
    trail.push(kind);
    const made = make(
      kind,
      descriptor,
      entry.code,
      whole ? cells : [cell],
      request,
      cellName,
      section,
    );
    trail.pop();
    nodes.set(name, made);
    return made;
  };

  /** Equal code is one object: there are far fewer than stages. */
  const codes = new Map<string, Draft['code']>();
  const codeOf = (
    kind: string,
    own: Digest,
    uses: NonNullable<StageDefinition['uses']>,
  ): Draft['code'] | null => {
    const name = uses.reduce((text, use) => `${text} ${use.kind}/${use.name}`, kind);
    const known = codes.get(name);
    if (known) return known;
    const code: { [plugin: string]: Digest } = { [pluginPath('stage', kind)]: own };
    let complete = true;
    for (const use of uses) {
      const used = registry.get(use.kind, use.name);
      if (used) code[pluginPath(use.kind, use.name)] = used.code;
      else {
        complete = false;
        fault(
          `unknown-${use.kind}`,
          `no plugin provides the ${use.kind} "${use.name}"`,
          didYouMean(use.kind, use.name),
        );
      }
    }
    if (!complete) return null;
    codes.set(name, code);
    return code;
  };

  const make = (
    kind: string,
    descriptor: StageDescriptor,
    ownCode: Digest,
    of: readonly Cell[],
    request: JsonObject,
    cellName: string,
    section: string | null,
  ): Node | null => {
    let definition: StageDefinition, resources: Resources, pack: string | null;
    try {
      definition = descriptor.define(of, { with: request, goals, plugin });
      resources = descriptor.resources?.(definition.params) ?? oneCore;
      pack = descriptor.pack?.key(definition) ?? null;
    } catch (error) {
      const { name, message, hint, path } = error as Error & Pick<UserFault, 'hint' | 'path'>;
      if (name === 'UserFault') return fault('stage-definition', message, hint, path, section);
      return fault(
        'plugin-fault',
        `the stage plugin "${kind}" threw while planning: ${message}`,
        `this is a fault of ${fileOf(kind)}, not of the spec`,
      );
    }
    const wrong = definitionFault(definition) ?? resourcesFault(resources);
    if (wrong !== null)
      return fault(
        'plugin-fault',
        `the stage plugin "${kind}" ${wrong}`,
        `\`define\` in ${fileOf(kind)} returns { params, inputs, assets?, uses? }`,
      );

    let complete = true;
    const inputs: { [name: string]: Draft } = {},
      inputKeys: { [name: string]: DefinitionKey } = {};
    const children: Node[] = [];
    for (const [name, wanted] of Object.entries(definition.inputs)) {
      const child = node(wanted.kind, wanted.cell, wanted.with, wanted.section ?? section);
      if (!child) {
        complete = false;
        continue;
      }
      inputs[name] = child.draft;
      inputKeys[name] = child.draft.key;
      children.push(child);
    }
    const { params, assets = noAssets, uses = noUses } = definition; // the requests are let go: each holds a cell
    const code = codeOf(kind, ownCode, uses);
    if (!complete || !code) return null;

    let key: DefinitionKey;
    try {
      key = definitionKey({ kind, code, params, inputs: inputKeys, assets });
    } catch (error) {
      return fault(
        'plugin-fault',
        `the stage plugin "${kind}" returned parameters that are not JSON: ${(error as Error).message}`,
      );
    }
    let draft = drafts.get(key);
    if (!draft)
      drafts.set(
        key,
        (draft = {
          index: drafts.size,
          kind,
          descriptor,
          params,
          assets,
          uses,
          key,
          code,
          inputs,
          resources,
          pack,
          section,
          with: request,
        }),
      );
    return { kind, fingerprint: cellName, with: request, draft, children };
  };

  return {
    get drafts() {
      return [...drafts.values()];
    },
    node,
    fingerprint,
  };
}

/** `data(train)`: a stage's place in its cell, when a kind stands there more than once. */
export function nodeLabel(node: Pick<Node, 'kind' | 'with'>): string {
  const narrowed = Object.values(node.with);
  return narrowed.length === 0
    ? node.kind
    : `${node.kind}(${narrowed.map((value: Json) => (typeof value === 'string' ? value : canonical(value))).join(',')})`;
}
