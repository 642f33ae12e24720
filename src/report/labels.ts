/** Names attacks, adapters and settings by what varies over the grid, and by nothing else. */
import { basePrefix, type JsonObject } from '../api.ts';
import { baseTitle } from '../api/cell.ts';
import { formatValue, list } from './format.ts';
import { contentKey, distinct, groupBy } from './groups.ts';
import type { ReportCell } from './types.ts';

export interface Labels {
  /** `badnets, rate 0.1` */
  readonly attackLabel: string;
  /** `LoRA r = 4`, followed by what varies in its training: `LoRA r = 4, learning rate = 0.001`. */
  readonly adapterLabel: string;
  /** The defence, if any cell has one, and other axes that vary: `no defence, limit = 600`. */
  readonly setting: string;
  /** The defence with what varies in it: `onion, at = rows`; '' if the cell has none. */
  readonly defence: string;
}

/** Names a block: an attack at one dose in one setting, within which conditions are compared. */
export const blockLabel = ({
  attackLabel,
  setting,
}: Pick<Labels, 'attackLabel' | 'setting'>): string =>
  setting === '' ? attackLabel : `${attackLabel} · ${setting}`;

const DOSE = /^poisoning\.(steps\.[^.]+\.)?(rate|count)$/;
/** Returns the unit of a dose: `rate` for `poisoning.steps.badnets.rate`; null for other paths. */
export const doseUnit = (path: string): 'rate' | 'count' | null =>
  (DOSE.exec(path)?.[2] ?? null) as 'rate' | 'count' | null;

const NAMES: Readonly<Record<string, string>> = {
  'adapter.rank': 'r',
  'adapter.alpha': 'α',
  'adapter.init.variance': 'σ²',
  'adapter.init.distribution': 'init',
  'adapter.use_dora': 'DoRA',
  'adapter.lora_plus_ratio': 'LoRA+ ratio',
  'train.learning_rate': 'learning rate',
  'adapter.train.learning_rate': 'learning rate',
};
/**
 * Returns `σ²` for `adapter.init.variance`, `base r` for `base.adapter.rank`, and `badnets rate`
 * for `poisoning.steps.badnets.rate`.
 */
export function axisName(path: string): string {
  const prefix = basePrefix(path);
  if (prefix !== '') return `${baseTitle(prefix)} ${axisName(path.slice(prefix.length))}`;
  const withoutSection = path
    .replace(/^poisoning\.steps\.([^.]+)\./, 'poisoning.$1 ')
    .split('.')
    .slice(1)
    .join('.');
  return NAMES[path] ?? withoutSection;
}

/** Names a training before a cell's own: `the base`, or `training 1` of a chain. */
export const sectionTitle = (section: string): string =>
  baseTitle(section).replace(/^base$/, 'the base');

/** Names an attack and the base that it is on, if any: `badnets`, `badnets in training 1`. */
export const placedAttack = (attack: string, ofBase: string | null = null): string =>
  ofBase === null ? attack : `${attack} in ${sectionTitle(ofBase)}`;

const ATTACK = 'poisoning.attack';

/** Returns the attacks on the trainings before a cell's own, in their order. */
export const earlierAttacks = (
  axes: JsonObject,
): readonly { readonly path: string; readonly section: string; readonly name: string }[] =>
  Object.entries(axes)
    .flatMap(([path, attack]) => {
      const section = basePrefix(path).slice(0, -1);
      return section !== '' && path === `${section}.${ATTACK}` && attack !== 'none'
        ? [{ path, section, name: placedAttack(formatValue(attack), section) }]
        : [];
    })
    .sort((a, b) => a.section.localeCompare(b.section, 'en', { numeric: true }));

/** Names the attack that a cell studies: its own or, without one, the last on its bases. */
export const studiedAttack = (axes: JsonObject): string =>
  (axes[ATTACK] === 'none' ? earlierAttacks(axes).at(-1)?.name : undefined) ??
  formatValue(axes[ATTACK]);

/** Returns ` after badnets in the base`; '' without attacks. */
const afterText = (attacks: ReturnType<typeof earlierAttacks>): string =>
  attacks.length === 0 ? '' : ` after ${list(attacks.map(({ name }) => name))}`;

/**
 * Returns a cell's axis values for a table with the axes `shown`. The value of `poisoning.attack`
 * also names attacks on the cell's bases that the table does not show: `none after badnets in the
 * base`.
 */
export function withBasesNamed(axes: JsonObject, shown: readonly string[]): JsonObject {
  const hidden = earlierAttacks(axes).filter(({ path }) => !shown.includes(path));
  return hidden.length === 0 || axes[ATTACK] === undefined
    ? axes
    : { ...axes, [ATTACK]: `${formatValue(axes[ATTACK])}${afterText(hidden)}` };
}

/** Says under whose triggers success rates are measured; null if no cell is on a poisoned base. */
export function triggerNote(cells: readonly JsonObject[]): string | null {
  const based = cells.map((axes) => ({ axes, attacks: earlierAttacks(axes) })),
    studied = based.flatMap(({ axes, attacks }) =>
      axes[ATTACK] === 'none' ? attacks.slice(-1) : [],
    );
  if (based.every(({ attacks }) => attacks.length === 0)) return null;
  const names = distinct(studied.map(({ name }) => name)),
    hasOthers = based.some(
      ({ axes, attacks }) => attacks.length > (axes[ATTACK] === 'none' ? 1 : 0),
    );
  return (
    'Rates of success are under the trigger of a cell’s own attack' +
    (names.length === 0
      ? ', not of those on its bases.'
      : ` or, where it has none, of the last one before it: ${list(names)}.`) +
    (hasOthers ? ' A rate that names a training is under the trigger of that training.' : '')
  );
}

/** Returns an axis's short name as a table's heading: `adapter` for the axis `adapter.type`. */
export function headName(path: string): string {
  const prefix = basePrefix(path);
  if (!path.includes('.')) return path;
  return prefix === ''
    ? ({ 'adapter.type': 'adapter' }[path] ?? axisName(path))
    : `${baseTitle(prefix)} ${headName(path.slice(prefix.length))}`;
}

/** Writes the name of an adapter: `LoRA` for `lora`; that of a plugin as it is. */
export const adapterTitle = (adapter: string): string =>
  ({ full: 'full', lora: 'LoRA', vera: 'VeRA' })[adapter] ?? adapter;

/** The axis that names a cell's defence; a cell without one lacks the axis. */
export const DEFENCE = 'defence.defence';
export const NO_DEFENCE = 'no defence';

/** Returns the name of a cell's defence; null if it has none. */
export const defenceOf = ({ axes }: Pick<ReportCell, 'axes'>): string | null => {
  const name = axes[DEFENCE];
  return typeof name === 'string' ? name : null;
};

type Named = Pick<ReportCell, 'axes' | 'also'>;
/** Returns the axis values under each of a cell's names. */
export const axesByName = ({ axes, also = [] }: Named): readonly JsonObject[] => [axes, ...also];
const pathsOf = (cell: Named): string[] =>
  distinct(axesByName(cell).flatMap((axes) => Object.keys(axes)));

/**
 * Returns the axis that names the attack, defence or adapter to which a field belongs:
 * `base.adapter.type` for `base.adapter.rank`. Null for a field of anything else.
 */
function namingAxis(path: string): string | null {
  const prefix = basePrefix(path);
  const [section = ''] = path.slice(prefix.length).split('.');
  const owners: Readonly<Record<string, string>> = {
    poisoning: ATTACK,
    defence: DEFENCE,
    adapter: 'adapter.type',
    train: 'adapter.type', // an adapter may have training settings of its own
  };
  const owner = owners[section];
  return owner === undefined ? null : `${prefix}${owner}`;
}

/**
 * Returns the paths that take several values among these cells. Lacking a path counts as a value
 * only if another cell of the same attack, defence or adapter has the path.
 */
export function varyingPaths(cells: readonly Named[]): ReadonlySet<string> {
  const all = cells.flatMap(axesByName);
  // Whether a path is lacking where another cell of the same owner has it (see above).
  const isLacking = (path: string, having: readonly JsonObject[]): boolean => {
    const owner = namingAxis(path);
    if (owner === null || having.length === all.length) return false;
    const owners = new Set(having.map((axes) => axes[owner]));
    return all.some((axes) => axes[path] === undefined && owners.has(axes[owner]));
  };
  const paths = distinct(all.flatMap((axes) => Object.keys(axes)));
  return new Set(
    paths.filter((path) => {
      const having = all.filter((axes) => axes[path] !== undefined);
      const values = new Set(having.map((axes) => contentKey(axes[path])));
      return values.size > 1 || isLacking(path, having);
    }),
  );
}

/** Returns a function that says whether a path varies among the cells that share a cell's key. */
function varyingWithin(
  cells: readonly ReportCell[],
  key: (cell: ReportCell) => string,
): (cell: ReportCell, path: string) => boolean {
  const groups = new Map([...groupBy(cells, key)].map(([name, of]) => [name, varyingPaths(of)]));
  return (cell, path) => groups.get(key(cell))?.has(path) ?? false;
}

/**
 * Returns a function that says whether an adapter's label names an axis of training. The label does
 * so if the axis varies among cells that are equal on all axes of the adapter. A learning rate that
 * differs only between adapters is not named.
 */
function namesTrainingAxis(
  cells: readonly ReportCell[],
): (cell: ReportCell, path: string) => boolean {
  const named = new Set<string>();
  const adapterKey = ({ axes }: ReportCell): string =>
    contentKey(Object.entries(axes).filter(([path]) => path.startsWith('adapter.')));
  for (const group of groupBy(cells, adapterKey).values())
    for (const path of varyingPaths(group))
      if (path.startsWith('train.')) named.add(contentKey([group[0].adapter, path]));
  return ({ adapter }, path) => named.has(contentKey([adapter, path]));
}

/** Returns `r = 4`, `rate 0.1` or, if a cell is written as α = r and as α = 16, `α = r = 16`. */
function axisText(path: string, cell: Named, prefix = ''): string {
  const values = distinct(
    axesByName(cell)
      .map((axes) => axes[`${prefix}${path}`])
      .filter((value) => value !== undefined)
      .map((value) => formatValue(value)),
  ).join(' = ');
  return doseUnit(path) === null ? `${axisName(path)} = ${values}` : `${axisName(path)} ${values}`;
}

/**
 * Returns a function that names a cell by what varies over the grid. The labels leave out the axes
 * at the paths `drawn`, which a figure shows instead.
 */
export function createLabeller(
  cells: readonly ReportCell[],
): (cell: ReportCell, drawn?: readonly string[]) => Labels {
  const vary = varyingPaths(cells);
  const variesInAttack = varyingWithin(cells, ({ attack }) => attack);
  const variesInAdapter = varyingWithin(cells, ({ adapter }) => adapter);
  const variesInDefence = varyingWithin(cells, (cell) => defenceOf(cell) ?? '');
  const defended = cells.some((cell) => defenceOf(cell) !== null);
  const namesTraining = namesTrainingAxis(cells);

  const attackLabel = (cell: ReportCell, drawn: readonly string[]): string => {
    if (cell.family === 'none') return 'no attack';
    const prefix = cell.ofBase === undefined ? '' : `${cell.ofBase}.`;
    const parts = pathsOf(cell)
      .filter((path) => path.startsWith(`${prefix}poisoning.`))
      .map((path) => path.slice(prefix.length))
      .filter((path) => path !== ATTACK)
      .filter((path) => ![path, `${prefix}${path}`].some((one) => drawn.includes(one)))
      .filter((path) => doseUnit(path) !== null || variesInAttack(cell, `${prefix}${path}`))
      .map((path) => axisText(path, cell, prefix));
    // If the attack on a base varies over the grid, the setting names it.
    const others = earlierAttacks(cell.axes).filter(
      ({ path, section }) => section !== cell.ofBase && !vary.has(path),
    );
    return [placedAttack(cell.attack, cell.ofBase), ...parts].join(', ') + afterText(others);
  };

  const adapterLabel = (cell: ReportCell, drawn: readonly string[]): string => {
    const isNamed = (path: string): boolean =>
      namesTraining(cell, path) ||
      (path.startsWith('adapter.') && (path === 'adapter.rank' || variesInAdapter(cell, path)));
    const paths = pathsOf(cell)
      .filter((path) => path !== 'adapter.type' && !drawn.includes(path))
      .filter(isNamed);
    const title = adapterTitle(cell.adapter);
    if (paths.length === 0) return title;
    const parts = paths.map((path) => axisText(path, cell)).join(', ');
    return `${title}${paths[0] === 'adapter.rank' ? ' ' : ', '}${parts}`;
  };

  // Returns the name of the defence and the texts of what varies in it; [] if no cell of the grid
  // has a defence, or if the figure shows it.
  const defenceLabel = (cell: ReportCell, drawn: readonly string[]): readonly string[] => {
    const name = defenceOf(cell);
    if (!defended || drawn.includes(DEFENCE)) return [];
    if (name === null) return [NO_DEFENCE];
    const paths = pathsOf(cell)
      .filter((path) => path.startsWith('defence.') && path !== DEFENCE)
      .filter((path) => !drawn.includes(path) && variesInDefence(cell, path));
    return [name, ...paths.map((path) => axisText(path, cell))];
  };

  const otherAxisTexts = (cell: ReportCell, drawn: readonly string[]): readonly string[] =>
    pathsOf(cell)
      .filter((path) => !/^(poisoning|defence|adapter|train)\./.test(path))
      .filter((path) => !drawn.includes(path) && vary.has(path))
      // The label of the attack names the poisoning of the base that is attacked (`ofBase`), or is
      // “no attack”. The poisoning of another base is named here, beside an attack.
      .filter((path) => {
        const prefix = basePrefix(path);
        if (prefix === '' || !path.startsWith('poisoning.', prefix.length)) return true;
        return cell.family !== 'none' && prefix !== `${cell.ofBase ?? ''}.`;
      })
      .map((path) => axisText(path, cell));

  return (cell, drawn = []) => ({
    attackLabel: attackLabel(cell, drawn),
    adapterLabel: adapterLabel(cell, drawn),
    setting: [...defenceLabel(cell, drawn), ...otherAxisTexts(cell, drawn)].join(', '),
    defence: defenceOf(cell) === null ? '' : defenceLabel(cell, drawn).join(', '),
  });
}
