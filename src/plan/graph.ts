/**
 * Builds the graph of stages. Calls `define` once for each distinct request (kind, cell and
 * `with`), for the goals and for every stage that they need.
 */
import { closest } from 'fastest-levenshtein';
import type {
  AnyPlugin,
  Cell,
  DefineRequest,
  Digest,
  JsonObject,
  Problem,
  Resources,
  StageDefinition,
  StageDescriptor,
  UserFault,
  Work,
} from '../api.ts';
import type { UsedKind } from '../api/stage.ts';
import { canonical } from '../base/canonical.ts';
import { defined } from '../base/defined.ts';
import { emptyRecord } from '../base/record.ts';
import { isRecord } from '../base/untrusted/json.ts';
import type { Diagnostic } from '../spec/types.ts';
import { cellFingerprints, definitionKey } from './keys.ts';
import type { DefinitionKey } from './types.ts';

export type PluginKind = AnyPlugin['kind'];

/** The part of a registry that planning needs. */
export interface PlanRegistry {
  get(
    kind: PluginKind,
    name: string,
  ): { readonly descriptor: AnyPlugin; readonly code: Digest; readonly file?: string } | undefined;
  names(kind: PluginKind): readonly string[];
}

/** One distinct definition, which becomes a stage of the plan. */
export interface Draft {
  readonly index: number;
  readonly kind: string;
  readonly descriptor: StageDescriptor;
  readonly params: StageDefinition['params'];
  readonly assets: NonNullable<StageDefinition['assets']>;
  readonly uses: NonNullable<StageDefinition['uses']>;
  readonly limits: JsonObject | undefined;
  readonly work: Work | undefined;
  readonly key: DefinitionKey;
  readonly code: { readonly [plugin: string]: Digest };
  readonly inputs: { readonly [name: string]: Draft };
  readonly resources: Resources;
  /**
   * From the first request for this draft: the section of the spec in which the fields of the cell
   * are written; null if they are at the top of the spec.
   */
  readonly section: string | null;
  /** The `with` of the first request for this draft; {} if it has none. */
  readonly with: JsonObject;
}

/** One distinct request: a kind, a cell and a `with`. Many nodes may share a draft. */
export interface Node {
  readonly kind: string;
  /** The cell's fingerprint; `*` for a stage that joins the grid. */
  readonly fingerprint: string;
  readonly with: JsonObject;
  readonly draft: Draft;
  readonly children: readonly Node[];
}

/** The field of the cell that a fault concerns. */
export interface FaultField {
  readonly path: Problem['path'];
  /**
   * As in `Draft`: the section of the spec in which the field is written; null if it is at the top.
   */
  readonly section: string | null;
}

/**
 * What stands for parts that a request or a plugin leaves out. Up to a hundred thousand stages
 * share each object.
 */
const noWith: JsonObject = {},
  noAssets: Draft['assets'] = {},
  noUses: Draft['uses'] = [],
  oneCore: Resources = { cpu: 1 };

/** The longest chain of stages, each of which reads the next. Real chains are a few stages long. */
const LONGEST_CHAIN = 200;

/** Returns `attacks/badnets` for the attack `badnets`. */
const pluginPath = (kind: string, name: string): string => `${kind}s/${name}`;

interface Asked {
  readonly kind: string;
  readonly descriptor: StageDescriptor;
  /** The code version of the stage's plugin, without those of the plugins that it uses. */
  readonly code: Digest;
  /** The cells for `define`: the whole grid for a stage that joins it, otherwise one. */
  readonly cells: readonly Cell[];
  readonly fingerprint: string;
  readonly with: JsonObject;
  readonly section: string | null;
}

/**
 * A graph that grows as nodes are asked for. Faults (unknown kinds, circles, plugins that throw)
 * are reported to `onFault` while `node` runs, and concern the cell that `node` was called for.
 */
export class Graph {
  readonly #drafts = new Map<DefinitionKey, Draft>();
  /**
   * The nodes by kind, `with` and fingerprint: 'open' while a node is being made, null if it can't
   * be made.
   */
  readonly #nodes = new Map<string, Node | null | 'open'>();
  readonly #reported = new Set<string>();
  /** The kinds of the stages that are being defined, each asked for by the one before it. */
  readonly #trail: string[] = [];
  /**
   * `Draft.code` by the names of a stage and of the plugins that it uses. Many drafts share one
   * object.
   */
  readonly #codes = new Map<string, Draft['code']>();

  /** Returns a short name for a cell, the same for cells of equal content (`cellFingerprints`). */
  readonly fingerprint: (cell: Cell) => string = cellFingerprints();

  constructor(
    readonly cells: readonly Cell[],
    readonly asked: Pick<DefineRequest, 'goals' | 'report'>,
    readonly registry: PlanRegistry,
    readonly onFault: (fault: Diagnostic, field?: FaultField) => void,
  ) {}

  /** Every draft. Inputs come before the drafts that read them. */
  get drafts(): readonly Draft[] {
    return [...this.#drafts.values()];
  }

  /**
   * Returns the node of a stage. A new node is made after the nodes of all stages that it needs.
   * Returns null, after reporting it, if no plugin provides the stage, if stages read each other in
   * a circle or in too long a chain, or if this node or one that it needs can't be made.
   * @param request the `with` of the request
   * @param section see `Draft.section`
   */
  node(
    kind: string,
    cell: Cell,
    request: JsonObject = noWith,
    section: string | null = null,
  ): Node | null {
    const entry = this.registry.get('stage', kind);
    if (entry?.descriptor.kind !== 'stage') return this.#reportUnknownStage(kind);
    const { descriptor, code } = entry;
    const joinsGrid = descriptor.scope === 'experiment';
    const trail = this.#trail;
    let fingerprint: string, name: string;
    try {
      fingerprint = joinsGrid ? '*' : this.fingerprint(cell);
      name = `${kind} ${request === noWith ? '{}' : canonical(request)} ${fingerprint}`;
    } catch (error) {
      const reader = trail.at(-1);
      if (reader === undefined) throw error; // the cells of the spec are JSON
      return this.#fault(
        'plugin-fault',
        `the stage plugin "${reader}" returned an input "${kind}" whose \`cell\` or \`with\` ` +
          `is not JSON: ${(error as Error).message}`,
        `this is a fault of ${this.#fileOf(reader)}, not of the spec`,
      );
    }
    const known = this.#nodes.get(name);
    if (known === 'open') {
      const circle = [...trail.slice(trail.indexOf(kind)), kind].join(' → ');
      return this.#fault('stage-cycle', `stages read each other in a circle: ${circle}`);
    }
    if (known !== undefined) return known;
    // If every turn of a circle changes the cell, the circle never comes back to an open node.
    if (trail.length > LONGEST_CHAIN)
      return this.#fault(
        'stage-cycle',
        `stages read each other without end: … ${trail.slice(-4).join(' → ')} → ${kind}`,
      );
    this.#nodes.set(name, 'open');
    trail.push(kind);
    const cells = joinsGrid ? this.cells : [cell];
    const made = this.#make({ kind, descriptor, code, cells, fingerprint, with: request, section });
    trail.pop();
    this.#nodes.set(name, made);
    return made;
  }

  /**
   * Returns a new node, whose children are the nodes of its inputs. Null if it or one of its inputs
   * can't be made.
   */
  #make(asked: Asked): Node | null {
    const { kind, descriptor, fingerprint, section } = asked;
    const defined = this.#define(asked);
    if (defined === null) return null;
    const { resources } = defined;

    let complete = true;
    const requests = defined.definition.inputs,
      names = Object.keys(requests);
    const inputs = emptyRecord<Draft>(names.length),
      inputKeys = emptyRecord<DefinitionKey>(names.length);
    const children: Node[] = [];
    for (const name of names) {
      const wanted = requests[name];
      if (wanted === undefined) continue;
      const child = this.node(wanted.kind, wanted.cell, wanted.with, wanted.section ?? section);
      if (!child) {
        complete = false;
        continue;
      }
      inputs[name] = child.draft;
      inputKeys[name] = child.draft.key;
      children.push(child);
    }
    // The draft keeps these parts, not the definition itself: each request in `inputs` holds a
    // whole cell.
    const { params, assets = noAssets, uses = noUses, limits, work } = defined.definition;
    const code = this.#codeOf(kind, asked.code, uses);
    if (!complete || !code) return null;

    let key: DefinitionKey;
    try {
      key = definitionKey({ kind, code, params, inputs: inputKeys, assets });
    } catch (error) {
      return this.#fault(
        'plugin-fault',
        `the stage plugin "${kind}" returned parameters that are not JSON: ` +
          (error as Error).message,
      );
    }
    let draft = this.#drafts.get(key);
    if (!draft) {
      draft = {
        index: this.#drafts.size,
        kind,
        descriptor,
        params,
        assets,
        uses,
        limits,
        work,
        key,
        code,
        inputs,
        resources,
        section,
        with: asked.with,
      };
      this.#drafts.set(key, draft);
    }
    return { kind, fingerprint, with: asked.with, draft, children };
  }

  /** Returns the descriptor of a plugin; undefined if there is none. */
  readonly #plugin = ((kind: UsedKind, name: string): unknown =>
    this.registry.get(kind, name)?.descriptor) as NonNullable<DefineRequest['plugin']>;

  /**
   * Returns what `define` and `resources` return; null, after reporting it, if one of them throws
   * or returns something faulty.
   */
  #define({ kind, descriptor, cells, with: request, section }: Asked) {
    let definition: StageDefinition, resources: Resources;
    try {
      definition = descriptor.define(cells, {
        with: request,
        ...this.asked,
        plugin: this.#plugin,
      });
      resources = descriptor.resources?.(definition.params) ?? oneCore;
    } catch (error) {
      const { name, message, hint, path } = error as Error & Pick<UserFault, 'hint' | 'path'>;
      if (name === 'UserFault')
        return this.#fault('stage-definition', message, hint, path && { path, section });
      return this.#fault(
        'plugin-fault',
        `the stage plugin "${kind}" threw while planning: ${message}`,
        `this is a fault of ${this.#fileOf(kind)}, not of the spec`,
      );
    }
    const wrong = definitionFault(definition) ?? resourcesFault(resources);
    if (wrong === null) return { definition, resources };
    return this.#fault(
      'plugin-fault',
      `the stage plugin "${kind}" ${wrong}`,
      `\`define\` in ${this.#fileOf(kind)} returns { params, inputs, assets?, uses? }`,
    );
  }

  /**
   * Returns the code versions, by plugin, of a stage and of the plugins that it uses. Null, after
   * reporting it, if no plugin has one of these names.
   */
  #codeOf(kind: string, stageCode: Digest, uses: Draft['uses']): Draft['code'] | null {
    const name = uses.reduce((text, use) => `${text} ${use.kind}/${use.name}`, kind);
    const known = this.#codes.get(name);
    if (known) return known;
    const code: { [plugin: string]: Digest } = { [pluginPath('stage', kind)]: stageCode };
    let complete = true;
    for (const use of uses) {
      const used = this.registry.get(use.kind, use.name);
      if (used) code[pluginPath(use.kind, use.name)] = used.code;
      else {
        complete = false;
        this.#fault(
          `unknown-${use.kind}`,
          `no plugin provides the ${use.kind} "${use.name}"`,
          this.#didYouMean(use.kind, use.name),
        );
      }
    }
    if (!complete) return null;
    this.#codes.set(name, code);
    return code;
  }

  /** Reports a fault, unless its message was reported before. Returns null. */
  #fault(code: string, message: string, hint?: string, field?: FaultField): null {
    if (!this.#reported.has(message)) {
      this.#reported.add(message);
      this.onFault({ code, message, range: null, ...defined({ hint }) }, field);
    }
    return null;
  }

  /**
   * Reports that no plugin provides a stage and, if another stage reads it, which. Returns null.
   */
  #reportUnknownStage(kind: string): null {
    const reader = this.#trail.at(-1);
    return this.#fault(
      'unknown-stage',
      reader === undefined
        ? `no plugin provides the stage "${kind}"`
        : `stage "${reader}" reads a stage of the kind "${kind}", which no plugin provides`,
      this.#didYouMean('stage', kind),
    );
  }

  /**
   * Returns a hint: the plugin of this kind whose name is most like `word`, and the names of all.
   */
  #didYouMean(kind: PluginKind, word: string): string {
    const names = [...this.registry.names(kind)].sort();
    return names.length > 0
      ? `did you mean "${closest(word, names)}"? The ${kind}s are ${names.join(', ')}.`
      : `there is no ${kind} plugin`;
  }

  /**
   * Returns the path of a stage plugin's file; if the registry has none, the path that it would
   * have as a built-in plugin.
   */
  #fileOf(kind: string): string {
    return this.registry.get('stage', kind)?.file ?? `${pluginPath('plugins/stage', kind)}.ts`;
  }
}

/**
 * Returns a stage's name within its cell: its kind, with the values of its `with` in brackets if
 * there are any, as in `data(train)`.
 */
export function nodeLabel(node: Pick<Node, 'kind' | 'with'>): string {
  const narrowed = Object.values(node.with);
  if (narrowed.length === 0) return node.kind;
  const values = narrowed.map((value) => (typeof value === 'string' ? value : canonical(value)));
  return `${node.kind}(${values.join(',')})`;
}

const isText = (value: unknown): boolean => typeof value === 'string';

const isUse = (use: unknown): boolean =>
  isRecord(use) && typeof use['kind'] === 'string' && typeof use['name'] === 'string';

/** Whether a value is a number other than NaN and the infinities. */
const isFiniteNumber = (number: unknown): number is number =>
  typeof number === 'number' && Number.isFinite(number);

const isWork = (work: unknown): boolean =>
  isRecord(work) &&
  isFiniteNumber(work['amount']) &&
  work['amount'] > 0 &&
  typeof work['of'] === 'string';

/**
 * Returns what is wrong with a definition, in words that follow "the plugin …"; null if nothing is.
 */
function definitionFault(value: unknown): string | null {
  if (!isRecord(value)) {
    const found = value === null ? 'null' : Array.isArray(value) ? 'a list' : typeof value;
    return `returned ${found}, not { params, inputs }`;
  }
  const { params, inputs, assets, uses, work } = value;
  if (!isRecord(params)) return 'returned no `params` object';
  if (!isRecord(inputs)) return 'returned no `inputs` object';
  for (const name of Object.keys(inputs)) {
    const request = inputs[name];
    if (!isRecord(request) || typeof request['kind'] !== 'string' || !isRecord(request['cell']))
      return `returned an input "${name}" without \`kind\` and \`cell\``;
  }
  if (assets !== undefined && !(isRecord(assets) && Object.values(assets).every(isText)))
    return 'returned `assets` that are not source URIs';
  if (work !== undefined && !isWork(work))
    return 'returned a `work` that is not { amount, of }, a number over 0 and a text';
  return uses === undefined || (Array.isArray(uses) && uses.every(isUse))
    ? null
    : 'returned `uses` that are not { kind, name }';
}

/**
 * Returns what is wrong with resources, in words that follow "the plugin …"; null if nothing is.
 * Resources must be right, since a scheduler would wait forever for NaN cores.
 */
export function resourcesFault(value: unknown): string | null {
  const { cpu, memoryMB, gpu, devices = 1 } = isRecord(value) ? value : {};
  const fault = (what: string): string =>
    `returned resources ${what}: ${(JSON.stringify(value) as string | undefined) ?? typeof value}`;
  if (!isFiniteNumber(cpu) || cpu <= 0) return fault('without a positive `cpu`');
  if (memoryMB !== undefined && (!isFiniteNumber(memoryMB) || memoryMB < 0))
    return fault('whose `memoryMB` is not a number of megabytes');
  if (gpu !== undefined && !(Number.isInteger(gpu) && Number(gpu) >= 0))
    return fault('whose `gpu` is not a whole number');
  return Number.isInteger(devices) && Number(devices) > 0
    ? null
    : fault('whose `devices` is not a positive whole number');
}
